//! The words of the command line.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Sessions of HashiCorp Consul, carried out by a sandboxed WebAssembly component.
#[derive(Parser)]
#[command(
    name = "consul-session",
    version,
    after_help = "\
Examples:
  consul-session demo
  consul-session list
  consul-session create deploy --ttl 30s --ensure
  consul-session info --name deploy
  consul-session destroy --name deploy
  consul-session apply state=present name=deploy ttl=30s delay=5s
  echo '{\"state\": \"list\"}' | consul-session apply

Exit status: 0 done, 1 failed, 2 wrong usage.
Environment: CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_HTTP_SSL, CONSUL_HTTP_SSL_VERIFY,
CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME, CONSUL_NAMESPACE, CONSUL_PARTITION,
as Consul's own tools read them; arguments win."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    /// How to print results; by default a table on a terminal, JSON otherwise.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub(super) output: Option<Format>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where Consul is, and how to get there.
#[derive(Args)]
#[command(next_help_heading = "Connection options")]
pub(super) struct ConnectionArgs {
    /// Address of a Consul agent [default: CONSUL_HTTP_ADDR, else http://localhost:8500].
    #[arg(long, global = true, value_name = "URL")]
    pub(super) address: Option<String>,
    /// Talk to a development agent that lives as long as this command.
    #[arg(long, global = true, conflicts_with = "address")]
    pub(super) dev: bool,
    /// File with the ACL token. There is no option for the token itself: the process list would show it.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// PEM file with the only certificates to trust [default: CONSUL_CACERT, else the system's].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate, and its key if --client-key is not given.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) client_cert: Option<PathBuf>,
    /// PEM file with the key of the client's certificate.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) client_key: Option<PathBuf>,
    /// Name that the server's certificate must be for, if not the address's.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) tls_server_name: Option<String>,
    /// Believe any certificate. Whoever answers gets the token.
    #[arg(long, global = true)]
    pub(super) insecure: bool,
    /// How long the whole call may take, as in 5s or 500ms [default: 10s].
    #[arg(long, global = true, value_name = "DURATION")]
    pub(super) timeout: Option<String>,
    /// Datacenter [default: the agent's own]; of `agent`, its own name [default: dc1].
    #[arg(long, global = true, value_name = "DC")]
    pub(super) datacenter: Option<String>,
    /// Namespace (Consul Enterprise).
    #[arg(long, global = true, value_name = "NS")]
    pub(super) namespace: Option<String>,
    /// Admin partition (Consul Enterprise).
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) partition: Option<String>,
}

impl ConnectionArgs {
    /// The first option that is set, for commands that talk to no Consul.
    pub(super) fn set(&self) -> Option<&'static str> {
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
            ("--datacenter", self.datacenter.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--partition", self.partition.is_some()),
        ]
        .into_iter()
        .find_map(|(option, set)| set.then_some(option))
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(super) enum Format {
    Json,
    Table,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a session.
    #[command(after_help = "Examples:
  consul-session create deploy --ttl 30s
  consul-session create deploy --ttl 30s --ensure     only if none of that name exists
  consul-session create leader --delay 0 --behavior delete --no-checks")]
    Create(Create),
    /// Destroy a session by id, or all of a name.
    Destroy(Change),
    /// Look up a session by id or name.
    Info(Which),
    /// List the sessions of a node.
    Node {
        /// The node's name.
        node: String,
    },
    /// List all sessions.
    List,
    /// Start the TTL of a session anew.
    Renew(Change),
    /// Run one action in the words of the automation module: parameters in, one JSON object out.
    #[command(after_help = "Examples:
  consul-session apply state=present name=deploy ttl=30s
  consul-session apply state=absent name=deploy check_mode=yes diff=yes
  echo '{\"name\": \"deploy\", \"checks\": []}' | consul-session apply

A failure is a JSON object too: {\"failed\": true, \"msg\": …, \"error\": {\"kind\": …, …}}, with exit status 1.")]
    Apply {
        /// Parameters, or a state as a word of its own; without any, a JSON object is read from standard input.
        #[arg(value_name = "KEY=VALUE")]
        parameters: Vec<String>,
    },
    /// Show every operation against an agent of its own: needs no Consul.
    Demo,
    /// Serve as a development agent: an imitation of Consul, in memory, until interrupted.
    Agent(AgentArgs),
    /// Write the component itself to a file, for other hosts.
    Component {
        /// Which artifact.
        #[arg(value_enum, default_value = "plugin")]
        artifact: Artifact,
        /// The file; `-` is standard output.
        #[arg(short, long, value_name = "FILE", id = "file")]
        output_file: PathBuf,
    },
}

/// What the development agent is like.
#[derive(Args)]
pub(super) struct AgentArgs {
    /// Address to listen on; port 0 takes a free one and prints it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8500")]
    pub(super) listen: String,
    /// Name of its node.
    #[arg(long, default_value = "dev-agent")]
    pub(super) node: String,
    /// Deny everything to requests without this token.
    #[arg(long, value_name = "TOKEN")]
    pub(super) acl_token: Option<String>,
    /// Serve TLS with a self-made certificate, whose CA is written to FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "consul-session-agent-ca.pem")]
    pub(super) tls: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Artifact {
    /// Plain functions over wasi:http, for embedding.
    Plugin,
    /// The same, and a command for `wasmtime run -S http`.
    Command,
}

#[derive(Args)]
pub(super) struct Create {
    /// The session's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Node to bind it to [default: the agent's own].
    #[arg(long)]
    node: Option<String>,
    /// Lock delay, 0 to 60s [default: 15s].
    #[arg(long, value_name = "DURATION")]
    delay: Option<String>,
    /// Time to live without a renewal, 10s to 24h [default: none].
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// What happens to its locks when it ends: release or delete [default: release].
    #[arg(long)]
    behavior: Option<String>,
    /// Node check it depends on; may be repeated [default: serfHealth].
    #[arg(long = "node-check", value_name = "CHECK")]
    node_checks: Vec<String>,
    /// Service check it depends on; may be repeated.
    #[arg(long = "service-check", value_name = "CHECK")]
    service_checks: Vec<String>,
    /// Depend on no check, not even the node's health.
    #[arg(long, conflicts_with_all = ["node_checks", "service_checks"])]
    no_checks: bool,
    /// Only if none of that name exists; one that differs is an error.
    #[arg(long, requires = "name")]
    ensure: bool,
    /// As --ensure, but replace one that differs.
    #[arg(long, requires = "name")]
    recreate: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A session, by id or by name.
#[derive(Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["id", "name"]))]
pub(super) struct Which {
    /// The session's id.
    id: Option<String>,
    /// The session's name.
    #[arg(long)]
    name: Option<String>,
    /// Only on this node.
    #[arg(long, requires = "name")]
    node: Option<String>,
}

/// A session that is to change.
#[derive(Args)]
#[group(skip)]
pub(super) struct Change {
    #[command(flatten)]
    which: Which,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub(super) fn parameters(self) -> Map<String, Value> {
        let mut map = Map::new();
        set(&mut map, "state", Some("present"));
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

impl Which {
    pub(super) fn parameters(self, state: &str) -> Map<String, Value> {
        let mut map = Map::new();
        set(&mut map, "state", Some(state));
        set(&mut map, "id", self.id);
        set(&mut map, "name", self.name);
        set(&mut map, "node", self.node);
        map
    }
}

impl Change {
    pub(super) fn parameters(self, state: &str) -> Map<String, Value> {
        let mut map = self.which.parameters(state);
        set(&mut map, "check_mode", self.dry_run.then_some(true));
        map
    }
}

fn set(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}
