//! The program `consul-session`. Whatever talks to Consul is carried out by the sandboxed component.
//!
//! | file | what happens there |
//! |---|---|
//! | `args.rs` | the command line, parsed |
//! | `connect.rs` | from options, parameters and `CONSUL_*` variables to a client |
//! | `action.rs` | one action: `apply`, and the commands on sessions |
//! | `lock.rs` | a command that runs while a lock or a session is held |
//! | `child.rs` | its process: terminal, signals, exit status |
//! | `held.rs` | writes under the lock, and who holds it |
//! | `table.rs` | results for people |
//! | `output.rs` | everything that is printed |
//! | `agent.rs`, `demo.rs`, `artifact.rs` | the commands `agent`, `demo` and `component` |
//!
//! The library exists for the program and its tests; it has no stable API.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod action;
mod agent;
mod args;
mod artifact;
#[cfg(unix)]
mod child;
mod connect;
mod demo;
mod held;
#[cfg(unix)]
mod lock;
mod output;
mod table;

use args::{Cli, Command};
use consul_session::{Error, ErrorKind};
use consul_session_core::descriptors;
use std::process::ExitCode;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    // Libraries panic where the machine refuses something that it hardly ever refuses.
    std::panic::set_hook(Box::new(|panic| {
        let why = panic.payload_as_str().unwrap_or("unknown");
        let place = panic.location().map(|place| format!(" ({place})"));
        output::error(&format!(
            "stopped: {why}{}; is the machine out of memory, descriptors or threads?",
            place.unwrap_or_default()
        ));
    }));
    std::panic::catch_unwind(run).unwrap_or(output::FAILURE)
}

fn run() -> ExitCode {
    let Cli {
        connection,
        output,
        command,
        ..
    } = match args::parse() {
        Ok(cli) => cli,
        Err(error) => return args::report(&error),
    };
    if let Some(name) = command.without_connection()
        && let Some(option) = connection.first_set(&command)
    {
        output::error(&format!("{option} has no effect on `{name}`"));
        return output::USAGE_ERROR.into();
    }
    match command {
        Command::Agent(arguments) => agent::serve(&arguments, connection.datacenter.as_deref()),
        Command::Apply { parameters } => action::apply(&connection, &parameters),
        Command::Component {
            artifact,
            output_file,
        } => artifact::write(artifact, &output_file),
        #[cfg(unix)]
        Command::Lock(arguments) => lock::run(&connection, lock::Wanted::lock(arguments)),
        #[cfg(unix)]
        Command::Run(arguments) => lock::run(&connection, lock::Wanted::session(arguments)),
        #[cfg(not(unix))]
        Command::Lock(_) | Command::Run(_) => {
            output::error("`lock` and `run` need a Unix system, with signals and process groups");
            125.into()
        }
        Command::Put { key, value } => held::put(&connection, &key, &value),
        Command::Holder { prefix } => held::holder(&connection, output, &prefix),
        Command::Demo => demo::run(),
        Command::Help { topic } => args::help(topic.as_deref()),
        Command::Sessions(command) => action::run(&connection, output, command),
    }
}

/// The executor of one command.
fn executor() -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Without as many descriptors it would panic.
    descriptors::lack(8)
        .map_or_else(|| builder.enable_all().build(), Err)
        .map_err(|error| Error::new(ErrorKind::Other, format!("cannot start: {error}")))
}
