//! The program `consul-session`; all of it is in the library's module `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    consul_session::cli::main()
}
