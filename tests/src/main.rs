//! The program under test, with the same `main` function as `host/cli/src/main.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    consul_session_cli::main()
}
