//! The program under test: the same few lines as `host/cli/src/main.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    consul_session_cli::main()
}
