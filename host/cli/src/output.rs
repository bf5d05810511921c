//! Everything that the program prints. Texts that may come from Consul or from a caller are escaped, so that they cannot
//! control the terminal.

use anstyle::{AnsiColor, Style};
use consul_session_core::terminal::{escape, escape_json};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// Exit status of a command that failed.
pub(crate) const FAILURE: ExitCode = ExitCode::FAILURE;
/// Exit status of a command line that could not be understood.
pub(crate) const USAGE_ERROR: u8 = 2;

/// Prints an error.
pub(crate) fn error(message: &str) {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let message = escape(message);
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {message}");
}

/// Prints a hint below an error.
pub(crate) fn hint(message: &str) {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    let _ = writeln!(anstream::stderr(), "{style}hint:{style:#} {message}");
}

/// Prints a line to standard error.
pub(crate) fn note(message: &str) {
    let _ = writeln!(anstream::stderr(), "{}", escape(message));
}

/// Prints one JSON value: indented on a terminal, else on one line.
pub(crate) fn json(value: &impl Serialize) -> ExitCode {
    let text = if std::io::stdout().is_terminal() {
        // Raw JSON would keep its own layout.
        serde_json::to_value(value).and_then(|value| serde_json::to_string_pretty(&value))
    } else {
        serde_json::to_string(value)
    };
    match text {
        Ok(text) => print(&escape_json(format!("{text}\n"))),
        Err(why) => {
            error(&format!("cannot write the result: {why}"));
            FAILURE
        }
    }
}

/// Prints to standard output. A closed pipe is a failure, but not worth a message.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            if why.kind() != ErrorKind::BrokenPipe {
                error(&format!("cannot write the result: {why}"));
            }
            FAILURE
        }
    }
}
