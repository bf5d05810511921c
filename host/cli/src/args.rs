//! The command line, parsed.

use crate::output;
use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ErrorKind as ClapErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use consul_session::Error;
use consul_session_core::{Address, parameters, session_id, terminal};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const AFTER_HELP: &str = "\
Connection options, explained by `consul-session help connection`:
  --address --dev --token-file --ca-file --client-cert --client-key --insecure
  --tls-server-name --timeout --datacenter --namespace --partition
Environment: CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and others, explained there
Exit status: 0 success, 1 failure, 2 usage error; `lock` and `run` have more";

const AFTER_CONNECTION_HELP: &str = "\
Environment variables (options and parameters win):
  CONSUL_HTTP_ADDR        Address; the default port is 80 or 443
  CONSUL_HTTP_TOKEN       ACL token
  CONSUL_HTTP_TOKEN_FILE  File with the ACL token; wins over CONSUL_HTTP_TOKEN
  CONSUL_HTTP_SSL         Use https if true
  CONSUL_HTTP_SSL_VERIFY  Skip certificate verification if false
  CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME,
  CONSUL_NAMESPACE, CONSUL_PARTITION
                          Same as the options of these names

There is no option for the token itself, because the process list would show it.";

/// Manage sessions and locks of HashiCorp Consul in a sandbox
#[derive(Parser)]
#[command(
    name = "consul-session",
    bin_name = "consul-session",
    version,
    after_help = AFTER_HELP,
    subcommand_value_name = "COMMAND",
    disable_help_subcommand = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Print `table` or `json` [default: table on a terminal]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub(crate) output: Option<Format>,
    /// Print help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where Consul is, and how to connect to it.
#[derive(Args)]
pub(crate) struct ConnectionArgs {
    /// Use this agent [default: http://localhost:8500]
    #[arg(long, global = true, value_name = "URL", value_parser = address)]
    pub(crate) address: Option<Address>,
    /// Use a development agent started for this command
    #[arg(long, global = true, conflicts_with = "address")]
    pub(crate) dev: bool,
    /// Read the ACL token from a file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust only the certificates in a PEM file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Present a client certificate from a PEM file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Read the client certificate's key from this PEM file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// Verify the server's certificate for this name
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
    /// Skip certificate verification (an impostor would receive the token)
    #[arg(long, global = true)]
    pub(crate) insecure: bool,
    /// Set the time limit of the call, such as 500ms [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Use this datacenter [default: the agent's own]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) datacenter: Option<String>,
    /// Use this namespace (Consul Enterprise)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Use this admin partition (Consul Enterprise)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) partition: Option<String>,
}

impl ConnectionArgs {
    /// The first option that is set and has no effect on a command that does not connect to Consul.
    pub(crate) fn first_set(&self, command: &Command) -> Option<&'static str> {
        // The development agent takes a name for its own datacenter.
        let datacenter = self.datacenter.is_some() && !matches!(command, Command::Agent(_));
        [
            ("--address", self.address.is_some()),
            ("--dev", self.dev),
            ("--token-file", self.token_file.is_some()),
            ("--ca-file", self.ca_file.is_some()),
            ("--client-cert", self.client_cert.is_some()),
            ("--client-key", self.client_key.is_some()),
            ("--tls-server-name", self.tls_server_name.is_some()),
            ("--insecure", self.insecure),
            ("--timeout", self.timeout.is_some()),
            ("--datacenter", datacenter),
            ("--namespace", self.namespace.is_some()),
            ("--partition", self.partition.is_some()),
        ]
        .into_iter()
        .find_map(|(option, set)| set.then_some(option))
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Table,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Sessions(SessionCommand),
    /// Run one action from JSON or key=value parameters
    #[command(after_help = "\
Without parameters, reads a JSON object from standard input. Prints one JSON
object: the result with exit status 0, or {\"failed\": true, \"msg\": …, \"error\":
{\"kind\": …, …}} with exit status 1, also for invalid parameters.

Examples:
  consul-session apply state=present name=deploy ttl=30s
  consul-session apply state=absent name=deploy check_mode=yes diff=yes
  echo '{\"name\": \"deploy\", \"checks\": []}' | consul-session apply")]
    Apply {
        /// Parameters; a state may be given without its key
        #[arg(value_name = "KEY=VALUE")]
        parameters: Vec<String>,
    },
    /// Run a command while a lock is held
    #[command(after_help = "\
The lock is that of `consul lock PREFIX`, and with -n N its semaphore.

COMMAND's environment has CONSUL_LOCK_HELD, CONSUL_LOCK_KEY,
CONSUL_LOCK_SESSION and CONSUL_LOCK_FENCING_TOKEN. In it, `consul-session put`
writes only while the lock is held.

Exit status: COMMAND's own, or 128+N if signal N ended it; 123 the lock was
lost meanwhile; 124 not acquired in time; 125 failed before COMMAND was
started; 126 COMMAND cannot be executed; 127 COMMAND is not found; 2 wrong usage

Examples:
  consul-session lock jobs/backup -- ./backup.sh
  consul-session lock --try jobs/backup -- ./backup.sh
  consul-session lock -n 3 --ttl 30s jobs/import -- ./import.sh --all")]
    Lock(LockArgs),
    /// Run a command while a session is kept alive
    #[command(after_help = "\
COMMAND's environment has CONSUL_LOCK_SESSION. The exit status is that of
`consul-session lock`; 123 means that the session has ended meanwhile.

Example:
  consul-session run worker --ttl 30s -- ./worker.sh")]
    Run(RunArgs),
    /// Write a key while the lock is held that the environment names
    #[command(after_help = "\
For commands that `consul-session lock` runs. Consul itself checks that the
lock is held. The key keeps its flags.

Example:
  consul-session lock jobs/backup -- sh -c 'consul-session put last \"$(date)\"'")]
    Put {
        /// The key to write
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The value, or - to read it from standard input
        value: std::ffi::OsString,
    },
    /// Show who holds the lock or semaphore of a prefix
    Holder {
        /// The prefix
        prefix: String,
    },
    /// Show every operation against a built-in agent
    Demo,
    /// Serve as a development agent that imitates Consul in memory
    Agent(AgentArgs),
    /// Write the component to a file, for other hosts
    Component {
        /// Which component to write
        #[arg(value_enum, default_value = "plugin")]
        artifact: Artifact,
        /// Write to this file, or to standard output if it is -
        #[arg(short, long, value_name = "FILE", id = "file")]
        output_file: PathBuf,
    },
    /// Explain a command, or with `connection` the connection options
    Help {
        /// The command, or `connection`
        topic: Option<String>,
    },
}

impl Command {
    /// The name of a command that does not connect to Consul.
    pub(crate) fn without_connection(&self) -> Option<&'static str> {
        match self {
            Command::Sessions(_)
            | Command::Apply { .. }
            | Command::Lock(_)
            | Command::Run(_)
            | Command::Put { .. }
            | Command::Holder { .. } => None,
            Command::Demo => Some("demo"),
            Command::Agent(_) => Some("agent"),
            Command::Component { .. } => Some("component"),
            Command::Help { .. } => Some("help"),
        }
    }
}

/// The commands that are one action each.
#[derive(Subcommand)]
pub(crate) enum SessionCommand {
    /// Create a session
    #[command(after_help = "\
Examples:
  consul-session create deploy --ttl 30s
  consul-session create deploy --ttl 30s --ensure
  consul-session create leader --delay 0 --behavior delete --no-checks")]
    Create(Create),
    /// Destroy a session by id, or every session of a name
    Destroy(Change),
    /// Show a session by id, or every session of a name
    Info(Target),
    /// List the sessions of a node
    Node {
        /// The node's name
        node: String,
    },
    /// List all sessions
    List,
    /// Renew a session, so that its TTL starts again
    Renew(Change),
}

impl SessionCommand {
    /// The parameters of the action.
    pub(crate) fn parameters(self) -> Map<String, Value> {
        match self {
            SessionCommand::Create(create) => create.parameters(),
            SessionCommand::Destroy(change) => change.parameters("absent"),
            SessionCommand::Info(target) => target.parameters("info"),
            SessionCommand::Renew(change) => change.parameters("renew"),
            SessionCommand::List => state("list"),
            SessionCommand::Node { node } => {
                let mut parameters = state("node");
                parameters.insert("node".to_owned(), node.into());
                parameters
            }
        }
    }
}

#[cfg_attr(not(unix), expect(dead_code))]
#[derive(Args)]
pub(crate) struct LockArgs {
    /// The prefix of the lock's keys; the lock itself is PREFIX/.lock
    pub(crate) prefix: String,
    /// Let N commands run at once: a semaphore
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Set how long to wait, such as 1m; 0 is --try [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
    /// Do not wait: exit with 124 if the lock is not free
    #[arg(long = "try", conflicts_with = "wait")]
    pub(crate) try_once: bool,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    /// Set how long the lock stays blocked if it is not released, 0 to 60s [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_delay: Option<Duration>,
    /// Name the session [default: consul-session lock PREFIX]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// The command, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[cfg_attr(not(unix), expect(dead_code))]
#[derive(Args)]
pub(crate) struct RunArgs {
    /// The session's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    /// The command, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// How a session is kept while a command runs.
#[cfg_attr(not(unix), expect(dead_code))]
#[derive(Args)]
pub(crate) struct KeptArgs {
    /// Set the session's TTL, 10s to 24h [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// When the lock or the session is lost, `terminate` COMMAND or let it `continue`
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "terminate",
        hide_possible_values = true
    )]
    pub(crate) on_lost: OnLost,
    /// Set the time between SIGTERM and SIGKILL [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) grace: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum OnLost {
    Terminate,
    Continue,
}

#[derive(Args)]
pub(crate) struct AgentArgs {
    /// Listen on this address; port 0 takes a free port and prints it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8500", value_parser = listen)]
    pub(crate) listen: String,
    /// Name the agent's node
    #[arg(long, value_name = "NAME", default_value = "dev-agent")]
    pub(crate) node: String,
    /// Deny requests without this token
    #[arg(long, value_name = "TOKEN")]
    pub(crate) acl_token: Option<String>,
    /// Serve TLS with a new certificate, and write its CA to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "consul-session-agent-ca.pem")]
    pub(crate) tls: Option<PathBuf>,
    /// Imitate this version of Consul
    #[arg(long, value_name = "VERSION", value_enum, default_value = "1.8")]
    pub(crate) imitate: crate::agent::Imitated,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Artifact {
    /// Without imports: the host sends the requests itself
    Embedded,
    /// Functions over wasi:http
    Plugin,
    /// Like plugin, and a command for `wasmtime run -S http`
    Command,
}

#[derive(Args)]
pub(crate) struct Create {
    /// The session's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Bind the session to this node [default: the agent's own]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Set the lock delay, 0 to 60s [default: 15s]
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
    /// Set the TTL, 10s to 24h; Consul may wait twice as long [default: none]
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// Release its locks when it ends, or delete their keys [default: release]
    #[arg(long, value_name = "release|delete")]
    behavior: Option<String>,
    /// Depend on this node check; may be repeated [default: serfHealth]
    #[arg(long = "node-check", value_name = "ID")]
    node_checks: Vec<String>,
    /// Depend on this service check; may be repeated
    #[arg(long = "service-check", value_name = "ID")]
    service_checks: Vec<String>,
    /// Depend on no checks, not even the node's health
    #[arg(long, conflicts_with_all = ["node_checks", "service_checks"])]
    no_checks: bool,
    /// Keep an existing session of this name; fail if its attributes differ
    #[arg(long, requires = "name")]
    ensure: bool,
    /// Like --ensure, but replace a session whose attributes differ
    #[arg(long, requires = "name")]
    recreate: bool,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A session, by id or by name.
#[derive(Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["id", "name"]))]
pub(crate) struct Target {
    /// The session's id
    #[arg(value_parser = id)]
    id: Option<String>,
    /// Find the session by its name
    #[arg(long)]
    name: Option<String>,
    /// Consider only sessions on this node
    #[arg(long, value_name = "NAME", requires = "name")]
    node: Option<String>,
}

/// A session to change.
#[derive(Args)]
#[group(skip)]
pub(crate) struct Change {
    #[command(flatten)]
    target: Target,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    fn parameters(self) -> Map<String, Value> {
        let mut map = state("present");
        set(&mut map, "name", self.name);
        set(&mut map, "node", self.node);
        set(&mut map, "delay", self.delay);
        set(&mut map, "ttl", self.ttl);
        set(&mut map, "behavior", self.behavior);
        if self.no_checks || !self.node_checks.is_empty() {
            set(&mut map, "node_checks", Some(self.node_checks));
        }
        if !self.service_checks.is_empty() {
            set(&mut map, "service_checks", Some(self.service_checks));
        }
        set(&mut map, "unique", Some(self.ensure || self.recreate));
        set(&mut map, "recreate", self.recreate.then_some(true));
        set(&mut map, "check_mode", self.dry_run.then_some(true));
        map
    }
}

impl Target {
    fn parameters(self, name: &str) -> Map<String, Value> {
        let mut map = state(name);
        set(&mut map, "id", self.id);
        set(&mut map, "name", self.name);
        set(&mut map, "node", self.node);
        map
    }
}

impl Change {
    fn parameters(self, state: &str) -> Map<String, Value> {
        let mut map = self.target.parameters(state);
        set(&mut map, "check_mode", self.dry_run.then_some(true));
        map
    }
}

fn state(state: &str) -> Map<String, Value> {
    Map::from_iter([("state".to_owned(), state.into())])
}

fn set(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

// Parsers of single values. The error completes clap's "invalid value … for …".

fn address(text: &str) -> Result<Address, Error> {
    Address::parse("--address", text)
}

fn timeout(text: &str) -> Result<Duration, Error> {
    match parameters::parse_duration("--timeout", text)? {
        0 => Err(Error::invalid("--timeout", "it must be more than 0")),
        nanoseconds => Ok(Duration::from_nanos(nanoseconds)),
    }
}

fn duration(text: &str) -> Result<Duration, Error> {
    Ok(Duration::from_nanos(parameters::parse_duration(
        "the time", text,
    )?))
}

fn listen(text: &str) -> Result<String, &'static str> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("it must be HOST:PORT, such as 127.0.0.1:8500"),
    }
}

fn id(text: &str) -> anyhow::Result<String> {
    session_id::parse(text).ok().with_context(|| {
        format!("a session id is a UUID; to use the session's name, write --name {text}")
    })
}

/// Commands that print JSON or nothing.
const JSON_OR_NOTHING: [&str; 4] = ["apply", "lock", "put", "run"];

/// The command line's definition. The connection options, which every command shares, are explained once: by `help
/// connection`.
fn definition() -> clap::Command {
    let mut definition = Cli::command();
    definition.build();
    let shared: Vec<clap::Id> = connection_help()
        .get_arguments()
        .map(|arg| arg.get_id().clone())
        .collect();
    let hide_shared = |arg: clap::Arg| {
        let hidden = shared.contains(arg.get_id());
        if hidden { arg.hide(true) } else { arg }
    };
    definition = definition.mut_args(hide_shared);
    let names: Vec<String> = definition
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        let connects = !matches!(name.as_str(), "demo" | "agent" | "component" | "help");
        definition = definition.mut_subcommand(&name, |command| {
            let command = command.mut_args(|arg| match arg.get_id().as_str() {
                "output" if !connects || JSON_OR_NOTHING.contains(&&*name) => arg.hide(true),
                "datacenter" if name == "agent" => {
                    arg.help("Name the agent's datacenter [default: dc1]")
                }
                _ => hide_shared(arg),
            });
            if !connects {
                return command;
            }
            let note = "Connection options: see `consul-session help connection`";
            let after = match command.get_after_help() {
                Some(help) => format!("{help}\n\n{note}"),
                None => note.to_owned(),
            };
            command.after_help(after)
        });
    }
    definition
}

/// The connection options as a command of their own, to render their help.
fn connection_help() -> clap::Command {
    ConnectionArgs::augment_args(clap::Command::new("consul-session"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .mut_args(|arg| arg.help_heading("Connection options"))
        .about("Options of every command that connects to Consul")
        .override_usage("consul-session <COMMAND> [CONNECTION OPTIONS]")
        .after_help(AFTER_CONNECTION_HELP)
}

/// Parses the arguments of the process.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&definition().try_get_matches()?)
}

/// Prints the help of a command or topic.
pub(crate) fn help(topic: Option<&str>) -> ExitCode {
    let mut definition = definition();
    let help = match topic {
        None => definition.render_help(),
        Some("connection") => connection_help().render_help(),
        Some(topic) => match definition.find_subcommand_mut(topic) {
            Some(command) => command.render_help(),
            None => {
                output::error(&format!("no command or topic is called `{topic}`"));
                return output::USAGE_ERROR.into();
            }
        },
    };
    output::print(&help.ansi().to_string())
}

/// Reports a command line that could not be parsed, or prints the requested help.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return output::print(&error.render().ansi().to_string());
    }
    let hidden = without_address(error);
    let text = match &hidden {
        Some(text) => text.clone(),
        None => error.render().to_string(),
    };
    // Callers of `apply` parse JSON, so its usage errors are JSON, too.
    let partial = definition()
        .ignore_errors(true)
        .try_get_matches()
        .is_ok_and(|matches| matches.subcommand_name() == Some("apply"));
    if partial {
        let what = text.lines().next().unwrap_or_default();
        let what = what.strip_prefix("error: ").unwrap_or(what);
        let message = format!("{what}; see `consul-session apply --help`");
        output::json(&Error::invalid("params", message));
    } else if hidden.is_some()
        || text.contains(|c: char| terminal::is_unsafe(c) && !matches!(c, '\n' | '\t'))
    {
        // Without color, and escaped: what was typed must not control the terminal.
        for line in text.lines() {
            output::note(line);
        }
    } else {
        let _ = error.print();
    }
    output::USAGE_ERROR.into()
}

/// The message about an address that cannot be used. clap's shows the value, in which there may be a password.
fn without_address(error: &clap::Error) -> Option<String> {
    let argument = error.get(ContextKind::InvalidArg)?.to_string();
    let is_address =
        error.kind() == ClapErrorKind::ValueValidation && argument.starts_with("--address");
    let why = std::error::Error::source(error).map(ToString::to_string);
    is_address.then(|| {
        format!(
            "error: {}",
            why.unwrap_or_else(|| "--address is no URL".to_owned())
        )
    })
}
