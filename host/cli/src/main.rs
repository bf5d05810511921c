//! The program `consul-session`.

use std::process::ExitCode;

fn main() -> ExitCode {
    consul_session_cli::main()
}
