//! One action: `apply`, which reads parameters and prints JSON, or a command on sessions, which prints for people.

use crate::args::{self, ConnectionArgs, Format, SessionCommand};
use crate::{connect, executor, output, table};
use consul_session::{Error, ErrorKind, Outcome, Policy, Runtime};
use consul_session_core::arguments::{self, Arguments};
use consul_session_core::settings::ConnectionSettings;
use consul_session_dev_agent::DevAgent;
use serde_json::{Map, Value};
use std::io::IsTerminal;
use std::process::ExitCode;

/// Runs `apply`, which always prints exactly one JSON object.
///
/// Exits with 1 for invalid parameters, because they are data.
pub(crate) fn apply(connection: &ConnectionArgs, parameters: &[String]) -> ExitCode {
    if let Ok(Arguments::Help) = Arguments::parse(parameters) {
        return args::help(Some("apply"));
    }
    let result = parse(parameters).and_then(|parameters| perform(connection, parameters));
    match result {
        Ok(outcome) => output::json(&outcome),
        Err(error) => {
            output::json(&with_tls_hint(error));
            output::FAILURE
        }
    }
}

fn with_tls_hint(error: Error) -> Error {
    if *error.kind() != ErrorKind::Tls {
        return error;
    }
    error.with_detail("the TLS settings are `ca_path`, `client_cert`, `client_key` and `validate_certs`, and the options of `consul-session help connection`")
}

fn parse(parameters: &[String]) -> Result<Map<String, Value>, Error> {
    match Arguments::parse(parameters)? {
        // Do not wait for typed input unless `-` requests it.
        Arguments::Input if parameters.is_empty() && std::io::stdin().is_terminal() => {
            Err(Error::invalid(
                "params",
                "no parameters; pass them as KEY=VALUE, as in `state=list`, or write a JSON object to standard input",
            ))
        }
        Arguments::Parameters(parameters) => Ok(parameters),
        // `apply` itself prints help.
        Arguments::Input | Arguments::Help => arguments::from_reader(std::io::stdin()),
    }
}

/// Runs a command on sessions.
///
/// Exits with 2 if the component refuses an argument before it sends any request.
pub(crate) fn run(
    connection: &ConnectionArgs,
    format: Option<Format>,
    command: SessionCommand,
) -> ExitCode {
    let parameters = command.parameters();
    let dry_run = parameters.contains_key("check_mode");
    let format = format.unwrap_or(if std::io::stdout().is_terminal() {
        Format::Table
    } else {
        Format::Json
    });
    match perform(connection, parameters) {
        Ok(outcome) => match format {
            Format::Json => output::json(&outcome),
            Format::Table => match table::describe(&outcome, dry_run) {
                Ok(text) => output::print(&text),
                Err(error) => fail(&error),
            },
        },
        Err(error) => fail(&error),
    }
}

/// Reports an error, and what may help.
pub(crate) fn explain(error: &Error) {
    output::error(&with_option_names(error.message()));
    match error.kind() {
        ErrorKind::Tls => output::hint(
            "the TLS options are --ca-file, --client-cert, --tls-server-name and --insecure",
        ),
        ErrorKind::Transport if error.message().contains("is Consul running there?") => {
            output::hint("start Consul, or set --address or CONSUL_HTTP_ADDR");
        }
        _ => {}
    }
}

pub(crate) fn fail(error: &Error) -> ExitCode {
    explain(error);
    if error.is_invalid() && error.exchange().is_none() {
        output::USAGE_ERROR.into()
    } else {
        output::FAILURE
    }
}

/// Names the option in place of the parameter that it sets.
fn with_option_names(message: &str) -> String {
    [
        ("`ttl`", "--ttl"),
        ("`delay`", "--delay"),
        ("`behavior`", "--behavior"),
        ("`lock_delay`", "--lock-delay"),
        ("`prefix`", "PREFIX"),
        ("`key`", "KEY"),
        ("`ca_path`", "--ca-file"),
        ("`client_cert`", "--client-cert"),
        ("`client_key`", "--client-key"),
        ("`recreate: true`", "--recreate"),
        ("(`unique: false`)", "(without --ensure)"),
    ]
    .into_iter()
    .fold(message.to_owned(), |message, (parameter, option)| {
        message.replace(parameter, option)
    })
}

/// Carries out one action.
fn perform(connection: &ConnectionArgs, parameters: Map<String, Value>) -> Result<Outcome, Error> {
    let executor = executor()?;
    let result = executor.block_on(perform_async(connection, parameters));
    // Dropping the runtime would block on a pending DNS lookup.
    executor.shutdown_background();
    result
}

async fn perform_async(
    connection: &ConnectionArgs,
    mut parameters: Map<String, Value>,
) -> Result<Outcome, Error> {
    let runtime = Runtime::with_calls(1)?;
    if connection.dev {
        let given = |name: &&&str| ConnectionSettings::is_given(&parameters, name);
        if let Some(name) = ConnectionSettings::ADDRESS_PARAMETERS.iter().find(given) {
            let message = format!("`{name}` cannot be used with --dev, which starts its own agent");
            return Err(Error::invalid(name, message));
        }
    }
    let agent = connect::dev_agent(connection).await?;
    let address = agent.as_ref().map(DevAgent::address);
    // Whoever runs the program may do what their token permits.
    let policy = Policy::deny_all().locks([""]).guarded_writes([""]);
    let client = connect::client(connection, address, &mut parameters, policy, &runtime)?;
    client.trusted_action(parameters).await
}
