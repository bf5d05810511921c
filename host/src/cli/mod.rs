//! The program `consul-session`: every command is one action, carried out by the sandboxed component.

mod agent;
mod args;
mod connect;
mod demo;
mod output;

use crate::{Error, ErrorKind, Runtime};
use args::{Artifact, Cli, Command, ConnectionArgs, Format};
use clap::{CommandFactory, Parser};
use consul_session_dev_agent::DevAgent;
use consul_session_guest::connection::Settings;
use consul_session_guest::words::{self, Words};
use serde_json::{Map, Value};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let Cli {
        mut connection,
        output,
        command,
    } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let terminal = std::io::stdout().is_terminal();
    let format = output.unwrap_or(if terminal {
        Format::Table
    } else {
        Format::Json
    });
    let parameters = match command {
        Command::Apply { parameters } => return apply(&connection, &parameters),
        Command::Component {
            artifact,
            output_file,
        } => {
            return refuse_options(&connection, "component")
                .unwrap_or_else(|| component(artifact, &output_file));
        }
        Command::Agent(arguments) => {
            let datacenter = connection.datacenter.take();
            return refuse_options(&connection, "agent")
                .unwrap_or_else(|| agent::serve(&arguments, datacenter.as_deref()));
        }
        Command::Demo => return refuse_options(&connection, "demo").unwrap_or_else(demo::run),
        Command::Create(create) => create.parameters(),
        Command::Destroy(which) => which.parameters("absent"),
        Command::Info(which) => which.parameters("info"),
        Command::Renew(which) => which.parameters("renew"),
        Command::List => state("list"),
        Command::Node { node } => {
            let mut map = state("node");
            map.insert("node".to_owned(), node.into());
            map
        }
    };
    let dry_run = parameters.contains_key("check_mode");
    match perform(&connection, parameters) {
        Ok(result) => {
            let text = match format {
                Format::Json => words::printable(format!("{result}\n")),
                Format::Table => output::tell(&result, dry_run),
            };
            print(&text)
        }
        Err(failure) => {
            complain(failure["msg"].as_str().unwrap_or("failed"));
            let typed =
                failure["error"]["kind"] == "invalid" && failure["error"].get("method").is_none();
            ExitCode::from(if typed { WRONG_USAGE } else { FAILED })
        }
    }
}

/// Options that say where Consul is mean nothing to a command that talks to none.
fn refuse_options(connection: &ConnectionArgs, command: &str) -> Option<ExitCode> {
    let option = connection.set()?;
    complain(&format!("{option} means nothing to `{command}`"));
    Some(ExitCode::from(WRONG_USAGE))
}

/// Whoever calls `apply` reads JSON, whatever happens.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let understood = Cli::command().ignore_errors(true).try_get_matches();
    let apply = understood.is_ok_and(|matches| matches.subcommand_name() == Some("apply"));
    if !error.use_stderr() || !apply {
        let steers = |c: char| words::steers(c) && !matches!(c, '\n' | '\t');
        if !text.contains(steers) {
            error.exit();
        }
        // Not in colour, but what was typed cannot steer the terminal.
        let lines: Vec<String> = text.lines().map(output::sanitize).collect();
        let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
        return ExitCode::from(WRONG_USAGE);
    }
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let message = format!("{what}; for help: consul-session apply --help");
    let failure = Error::invalid("params", message).to_json();
    print(&words::printable(format!("{failure}\n")));
    ExitCode::from(WRONG_USAGE)
}

fn state(state: &str) -> Map<String, Value> {
    Map::from_iter([("state".to_owned(), state.into())])
}

/// The action door: whatever happens, one JSON object on standard output.
fn apply(connection: &ConnectionArgs, arguments: &[String]) -> ExitCode {
    if let Ok(Words::Help) = Words::read(arguments) {
        return help("apply");
    }
    let (result, code) = match parameters(arguments) {
        Err(error) => (error.to_json(), ExitCode::from(WRONG_USAGE)),
        Ok(parameters) => match perform(connection, parameters) {
            Ok(result) => (result, ExitCode::SUCCESS),
            Err(failure) => (failure, ExitCode::from(FAILED)),
        },
    };
    let text = if std::io::stdout().is_terminal() {
        format!("{result:#}\n")
    } else {
        format!("{result}\n")
    };
    match print(&words::printable(text)) {
        ExitCode::SUCCESS => code,
        failed => failed,
    }
}

fn help(command: &str) -> ExitCode {
    let mut commands = Cli::command();
    commands.build();
    match commands.find_subcommand_mut(command) {
        Some(command) => print(&command.render_help().to_string()),
        None => ExitCode::from(FAILED),
    }
}

fn parameters(arguments: &[String]) -> Result<Map<String, Value>, Error> {
    match Words::read(arguments)? {
        // Nobody expects a command without arguments to wait for what they type; with `-` they do.
        Words::Input if arguments.is_empty() && std::io::stdin().is_terminal() => {
            Err(Error::invalid(
                "params",
                "no parameters: give them as KEY=VALUE, as in `state=list`, or a JSON object on standard input",
            ))
        }
        Words::Parameters(parameters) => Ok(parameters),
        Words::Input | Words::Help => Ok(words::input(std::io::stdin())?),
    }
}

/// Carries out one action; either value is a JSON object.
fn perform(connection: &ConnectionArgs, parameters: Map<String, Value>) -> Result<Value, Value> {
    let executor = executor().map_err(|error| error.to_json())?;
    let done = executor.block_on(action(connection, parameters));
    // Not by dropping it: that waits for a name that is still being resolved, however late it is.
    executor.shutdown_background();
    done.map_err(|failure| match failure {
        Failure::Here(error) => error.to_json(),
        Failure::InComponent(failure) => failure,
    })
}

enum Failure {
    Here(Error),
    InComponent(Value),
}

async fn action(
    connection: &ConnectionArgs,
    mut parameters: Map<String, Value>,
) -> Result<Value, Failure> {
    let runtime = Runtime::with_calls(1).map_err(|error| Failure::Here(internal(&error)))?;
    let agent = if connection.dev {
        let elsewhere = |name: &&&str| Settings::given(&parameters, name);
        if let Some(name) = ["url", "host", "port", "scheme"].iter().find(elsewhere) {
            let message = format!(
                "`{name}` and --dev contradict each other: --dev brings an agent of its own"
            );
            return Err(Failure::Here(Error::invalid(name, message)));
        }
        let agent = DevAgent::start()
            .await
            .map_err(|error| Failure::Here(internal(&error.into())))?;
        parameters.insert("url".to_owned(), agent.address().into());
        Some(agent)
    } else {
        None
    };
    let client = connect::client(connection, &mut parameters, &runtime).map_err(Failure::Here)?;
    let done = client.action(&Value::Object(parameters).to_string()).await;
    drop(agent);
    let read = |text: &str| {
        serde_json::from_str(text)
            .map_err(|error| Failure::Here(internal(&anyhow::Error::from(error))))
    };
    match done {
        Ok(result) => read(&result),
        Err(failure) => Err(Failure::InComponent(read(&failure)?)),
    }
}

fn executor() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| internal(&error.into()))
}

fn internal(error: &anyhow::Error) -> Error {
    Error::new(ErrorKind::Other, format!("{error:#}"))
}

fn component(artifact: Artifact, file: &Path) -> ExitCode {
    let bytes = match artifact {
        Artifact::Plugin => Runtime::plugin(),
        Artifact::Command => Runtime::command(),
    };
    if bytes.is_empty() {
        complain("this build was made around another component and has no such artifact");
        return ExitCode::from(FAILED);
    }
    let written = if file == Path::new("-") {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            complain("a terminal is no place for a component: redirect it, or give -o FILE");
            return ExitCode::from(WRONG_USAGE);
        }
        out.write_all(bytes).and_then(|()| out.flush())
    } else {
        std::fs::write(file, bytes)
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write {}: {error}", file.display()));
            ExitCode::from(FAILED)
        }
    }
}

/// Prints a result. A reader that has gone away is no reason to panic.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                complain(&format!("cannot write the result: {error}"));
            }
            ExitCode::from(FAILED)
        }
    }
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "error: {}", output::sanitize(message));
}
