//! Real Consul agents in development mode: one of each kind per test process, shared by its tests, or a separate one
//! for a test that needs an agent to itself.
//!
//! Without a Consul program, [`plain`] returns the development agent, whereas [`real`], [`with_acl`], [`with_tls`] and
//! [`Agent::start`] print a note to standard error and return `None`, which skips the test. If `CI` is set, all of them
//! panic instead, so that no test is skipped unnoticed.

use crate::api::Api;
use crate::ca::Authority;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The node name of every agent. It is in mixed case, because Consul compares node names without regard to case.
pub const NODE: &str = "Harness";
/// Time limit for starting an agent. Electing a leader takes 1 to 3 s, longer on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Number of attempts to start an agent: another process may take a free port first.
const ATTEMPTS: u32 = 5;

/// A running agent. It is killed when this is dropped or the test process exits.
pub struct Agent {
    /// A client for the agent's API, with all permissions.
    pub api: Api,
    /// The agent's address, `http://127.0.0.1:port`.
    pub http: String,
    /// The agent's address for TLS, `https://127.0.0.1:port`. Only the agent of [`with_tls`] listens on it.
    pub https: String,
    guard: Guard,
}

/// An agent whose ACLs deny by default, and tokens for it.
pub struct AclAgent {
    /// The agent.
    pub agent: Agent,
    /// A token with all permissions.
    pub management: String,
    /// A token that may read sessions and nodes.
    pub reader: String,
    /// A token that may read and write sessions, on any node.
    pub writer: String,
    /// A token that Consul knows, without permission to read or write sessions.
    pub powerless: String,
}

/// An agent that requires a client certificate on its TLS port, and its certificate authority.
pub struct TlsAgent {
    /// The agent.
    pub agent: Agent,
    /// The authority that signed the agent's certificate, and whose client certificates the agent accepts.
    pub authority: Authority,
}

/// Returns the shared agent without ACLs; the development agent if there is no Consul program.
pub fn plain() -> Option<&'static Agent> {
    static AGENT: OnceLock<Result<Agent, String>> = OnceLock::new();
    if program().is_err() && env::var_os("CI").is_none() {
        let agent = AGENT.get_or_init(|| {
            let _ = writeln!(
                io::stderr(),
                "no Consul program: testing against the development agent; set CONSUL_BIN to test against a real Consul"
            );
            start(&Kind::DevAgent)
        });
        return Some(agent.as_ref().unwrap_or_else(|why| panic!("{why}")));
    }
    shared(&AGENT, || start(&Kind::Plain))
}

/// Returns the shared agent without ACLs, if it is a real Consul.
pub fn real() -> Option<&'static Agent> {
    skip_without_consul()?;
    plain()
}

/// Returns the shared agent with ACLs.
pub fn with_acl() -> Option<&'static AclAgent> {
    static AGENT: OnceLock<Result<AclAgent, String>> = OnceLock::new();
    shared(&AGENT, start_with_acl)
}

/// Returns the shared agent with TLS.
pub fn with_tls() -> Option<&'static TlsAgent> {
    static AGENT: OnceLock<Result<TlsAgent, String>> = OnceLock::new();
    shared(&AGENT, start_with_tls)
}

impl Agent {
    /// Starts an agent for a single test.
    pub fn start() -> Option<Agent> {
        skip_without_consul()?;
        Some(start(&Kind::Plain).unwrap_or_else(|why| panic!("{why}")))
    }

    /// Starts an agent that accepts up to 2,000 connections, for a benchmark.
    pub fn start_for_load() -> Option<Agent> {
        skip_without_consul()?;
        Some(start(&Kind::Busy).unwrap_or_else(|why| panic!("{why}")))
    }
}

/// Starts a shared agent on first use. A failure is kept too, so that the other tests fail at once.
fn shared<A>(
    agent: &'static OnceLock<Result<A, String>>,
    start: fn() -> Result<A, String>,
) -> Option<&'static A> {
    skip_without_consul()?;
    match agent.get_or_init(start) {
        Ok(agent) => Some(agent),
        Err(why) => panic!("{why}"),
    }
}

/// Returns the path of the Consul program, or the reason why there is none.
pub fn program() -> Result<&'static Path, &'static str> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("consul.sh");
        let test = env::current_exe().unwrap();
        // The target directory is three levels above the test executable.
        let output = Command::new("bash")
            .arg(script)
            .arg(test.ancestors().nth(3).unwrap())
            .output()
            .map_err(|error| format!("bash: {error}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(why.trim_end().to_owned());
        }
        let path = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
        Ok(PathBuf::from(path.trim_end()))
    });
    program.as_deref().map_err(String::as_str)
}

/// Returns `None` and reports the test as skipped if there is no Consul program. Panics if `CI` is set.
fn skip_without_consul() -> Option<()> {
    let why = match program() {
        Ok(_) => return Some(()),
        Err(why) => why,
    };
    assert!(
        env::var_os("CI").is_none(),
        "no Consul program to test against: {why}"
    );
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // The test runner hides the output of `eprintln!` if the test passes.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED: {test} needs Consul; set CONSUL_BIN to the path of a Consul program ({why})"
    );
    None
}

fn start_with_acl() -> Result<AclAgent, String> {
    let mut agent = start(&Kind::Acl)?;
    // Consul rejects this request until its leader has initialized the ACL system.
    let until = Instant::now() + START;
    let management = loop {
        match agent.api.put("/v1/acl/bootstrap", &Value::Null) {
            Ok(token) => break secret(&token),
            Err(why) if Instant::now() > until => {
                return Err(format!("cannot bootstrap the ACL system: {why}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    };
    agent.api = Api::with_token(&agent.http, &management);
    // The agent needs a token to register its node, and with it `serfHealth`.
    let own = token(
        &agent.api,
        "agent",
        r#"node_prefix "" { policy = "write" }"#,
    )?;
    agent
        .api
        .put("/v1/agent/token/agent", &json!({"Token": own}))?;
    wait_until_healthy(&agent)?;
    let api = &agent.api;
    Ok(AclAgent {
        management,
        reader: token(
            api,
            "reader",
            r#"session_prefix "" { policy = "read" } node_prefix "" { policy = "read" }"#,
        )?,
        writer: token(api, "writer", r#"session_prefix "" { policy = "write" }"#)?,
        powerless: token(api, "powerless", r#"key_prefix "" { policy = "read" }"#)?,
        agent,
    })
}

fn token(api: &Api, name: &str, rules: &str) -> Result<String, String> {
    api.put("/v1/acl/policy", &json!({"Name": name, "Rules": rules}))?;
    let token = api.put("/v1/acl/token", &json!({"Policies": [{"Name": name}]}))?;
    Ok(secret(&token))
}

fn secret(token: &Value) -> String {
    token["SecretID"].as_str().unwrap().to_owned()
}

fn start_with_tls() -> Result<TlsAgent, String> {
    let authority = Authority::new("the agent's authority");
    let server = authority.certify(&["localhost", "127.0.0.1", "server.dc1.consul"]);
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        fs::write(&path, pem).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let configuration = json!({
        "ca_file": file("ca.pem", &authority.pem()),
        "cert_file": file("server.pem", &server.certificate),
        "key_file": file("server-key.pem", &server.key),
        "verify_incoming": true,
    });
    // The agent reads these files only when it starts, so they need not outlive this function.
    let agent = start(&Kind::Tls {
        configuration: file("tls.json", &configuration.to_string()),
    })?;
    Ok(TlsAgent { agent, authority })
}

/// The kinds of agents.
enum Kind {
    DevAgent,
    Plain,
    /// For benchmarks: accepts more connections than the 200 that Consul accepts from one address by default.
    Busy,
    Acl,
    Tls {
        configuration: String,
    },
}

fn start(kind: &Kind) -> Result<Agent, String> {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match try_start(kind) {
            Ok(agent) => return Ok(agent),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn try_start(kind: &Kind) -> Result<Agent, String> {
    if let Kind::DevAgent = kind {
        return try_start_dev_agent();
    }
    let program = program()?;
    let [http, https, lan, wan, server] = free_ports().map(|port| port.to_string());
    let mut command = Command::new("sh");
    command
        .args(["-c", Guard::SCRIPT, "guard"])
        .arg(program)
        .args(["agent", "-dev", "-node", NODE])
        .args(["-bind", "127.0.0.1", "-client", "127.0.0.1"])
        .args(["-http-port", &http, "-dns-port", "-1", "-grpc-port", "-1"])
        .args(["-serf-lan-port", &lan, "-serf-wan-port", &wan])
        .args(["-server-port", &server]);
    if has_grpc_tls(program) {
        command.args(["-grpc-tls-port", "-1"]);
    }
    match kind {
        Kind::DevAgent | Kind::Plain => {}
        Kind::Busy => {
            command.args(["-hcl", "limits { http_max_conns_per_client = 2000 }"]);
        }
        Kind::Acl => {
            command.args(["-hcl", r#"acl { enabled = true, default_policy = "deny" }"#]);
        }
        Kind::Tls { configuration } => {
            command.args(["-https-port", &https, "-config-file", configuration]);
        }
    }
    let guard = Guard::spawn(command).map_err(|error| format!("cannot start Consul: {error}"))?;
    let http = format!("http://127.0.0.1:{http}");
    let agent = Agent {
        api: Api::new(&http),
        http,
        https: format!("https://127.0.0.1:{https}"),
        guard,
    };
    match kind {
        // The agent cannot register its node before it has a token.
        Kind::Acl => wait_until(&agent.guard, || leads(&agent.api))?,
        _ => wait_until_healthy(&agent)?,
    }
    Ok(agent)
}

/// Starts the development agent in a separate process, like a real agent.
fn try_start_dev_agent() -> Result<Agent, String> {
    let [port] = free_ports();
    let mut command = Command::new("sh");
    command
        .args(["-c", Guard::SCRIPT, "guard"])
        .arg(crate::program::path())
        .args(["agent", "--node", NODE, "--listen"])
        .arg(format!("127.0.0.1:{port}"));
    let guard =
        Guard::spawn(command).map_err(|error| format!("cannot start the agent: {error}"))?;
    let http = format!("http://127.0.0.1:{port}");
    let agent = Agent {
        api: Api::new(&http),
        https: String::new(),
        http,
        guard,
    };
    wait_until_healthy(&agent)?;
    Ok(agent)
}

/// Returns whether Consul has a port for gRPC over TLS, as 1.14 and later do. Two agents cannot both use the default
/// port.
fn has_grpc_tls(program: &Path) -> bool {
    Command::new(program)
        .args(["agent", "-help"])
        .output()
        .is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("-grpc-tls-port"))
}

/// Waits until sessions can be created: the node's check is registered shortly after the election of a leader.
fn wait_until_healthy(agent: &Agent) -> Result<(), String> {
    wait_until(&agent.guard, || {
        leads(&agent.api)
            && agent
                .api
                .get(&format!("/v1/health/node/{NODE}"))
                .is_ok_and(|checks| {
                    checks[0]["CheckID"] == "serfHealth" && checks[0]["Status"] == "passing"
                })
    })
}

fn leads(api: &Api) -> bool {
    api.get("/v1/status/leader")
        .is_ok_and(|leader| leader != "")
}

fn wait_until(guard: &Guard, done: impl Fn() -> bool) -> Result<(), String> {
    let until = Instant::now() + START;
    while !done() {
        let log = guard.log.lock().unwrap();
        if log.ended || Instant::now() > until {
            return Err(format!("Consul did not start:\n{}", log.text));
        }
        drop(log);
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Returns different ports that are free at this moment.
fn free_ports<const N: usize>() -> [u16; N] {
    // Keep every listener until all ports are known, so that the ports differ.
    let held: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    std::array::from_fn(|place| held[place].local_addr().unwrap().port())
}

/// A child process that is killed when this is dropped, and also when the test process exits without dropping it:
/// statics are never dropped, and the test process may be killed. The child runs under a shell that kills it at the end
/// of the shell's standard input. (`PR_SET_PDEATHSIG` on Linux would need no shell, but fires when the *thread* that
/// spawned the child exits, and each test runs in its own thread.)
struct Guard {
    shell: Child,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    text: String,
    ended: bool,
}

impl Guard {
    /// The shell closes its output, so that the end of the output is the end of the agent. It ignores interrupts from
    /// the terminal, which would end it before it has killed the agent.
    const SCRIPT: &str = r#"trap '' INT HUP
"$@" </dev/null 2>&1 & process=$!
exec >/dev/null 2>&1
cat
kill -KILL "$process""#;

    fn spawn(mut command: Command) -> io::Result<Guard> {
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let output = BufReader::new(shell.stdout.take().unwrap());
        thread::spawn({
            let log = log.clone();
            move || {
                for line in output.lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.text.push_str(&line);
                    log.text.push('\n');
                }
                log.lock().unwrap().ended = true;
            }
        });
        Ok(Guard { shell, log })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
