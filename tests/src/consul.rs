//! Real Consul agents in development mode: one of each kind per test process, shared by its tests, or one for a single
//! test that needs the agent to itself.
//!
//! Where no Consul can be had, the development agent stands in for [`plain`]; [`with_acl`], [`with_tls`] and
//! [`Agent::start`] say so on standard error and give nothing, and the test returns. Where `CI` is set all of them fail,
//! so that nothing is skipped unseen.

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

/// The name of every agent's own node; in mixed case, as Consul finds a node in any.
pub const NODE: &str = "Harness";
/// A leader is there after 1 to 3 s, on a busy machine later.
const START: Duration = Duration::from_secs(120);
/// Another process may take a free port before the agent does.
const ATTEMPTS: u32 = 5;

/// A running agent. It ends when this is dropped, or with the test process.
pub struct Agent {
    /// Its API, with every right.
    pub api: Api,
    /// Its address, `http://127.0.0.1:port`.
    pub http: String,
    /// Its address with TLS, if it has any: `https://127.0.0.1:port`.
    pub https: String,
    guard: Guard,
}

/// An agent that denies by default, and tokens for it.
pub struct AclAgent {
    /// The agent.
    pub agent: Agent,
    /// May do everything.
    pub management: String,
    /// May read sessions and nodes.
    pub reader: String,
    /// May read and write sessions, on any node.
    pub writer: String,
    /// Known to Consul, and may do nothing.
    pub powerless: String,
}

/// An agent that demands a client certificate on its TLS port, and the files to pass.
pub struct TlsAgent {
    /// The agent.
    pub agent: Agent,
    /// Who signed its certificate, and whose client certificates it accepts.
    pub authority: Authority,
}

/// The shared agent without access control. Where no Consul can be had the development agent stands in for it.
pub fn plain() -> Option<&'static Agent> {
    static AGENT: OnceLock<Result<Agent, String>> = OnceLock::new();
    if program().is_err() && env::var_os("CI").is_none() {
        let agent = AGENT.get_or_init(|| {
            let _ = writeln!(
                io::stderr(),
                "no Consul can be had: the development agent stands in for it; set CONSUL_BIN to test against a real one"
            );
            start(&Kind::StandIn)
        });
        return Some(agent.as_ref().unwrap_or_else(|why| panic!("{why}")));
    }
    shared(&AGENT, || start(&Kind::Plain))
}

/// The shared agent without access control, if it is a real Consul.
pub fn real() -> Option<&'static Agent> {
    had()?;
    plain()
}

/// The shared agent with access control.
pub fn with_acl() -> Option<&'static AclAgent> {
    static AGENT: OnceLock<Result<AclAgent, String>> = OnceLock::new();
    shared(&AGENT, start_with_acl)
}

/// The shared agent with TLS.
pub fn with_tls() -> Option<&'static TlsAgent> {
    static AGENT: OnceLock<Result<TlsAgent, String>> = OnceLock::new();
    shared(&AGENT, start_with_tls)
}

impl Agent {
    /// An agent for one test.
    pub fn start() -> Option<Agent> {
        had()?;
        Some(start(&Kind::Plain).unwrap_or_else(|why| panic!("{why}")))
    }
}

/// A failure is kept too: the other tests are not to wait for the same.
fn shared<A>(
    agent: &'static OnceLock<Result<A, String>>,
    start: fn() -> Result<A, String>,
) -> Option<&'static A> {
    had()?;
    match agent.get_or_init(start) {
        Ok(agent) => Some(agent),
        Err(why) => panic!("{why}"),
    }
}

/// The Consul program, or why none can be had.
pub fn program() -> Result<&'static Path, &'static str> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("consul.sh");
        let test = env::current_exe().unwrap();
        // The target folder, three levels above the test executable.
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

fn had() -> Option<()> {
    let why = match program() {
        Ok(_) => return Some(()),
        Err(why) => why,
    };
    assert!(
        env::var_os("CI").is_none(),
        "no Consul to test against: {why}"
    );
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by eprintln!, whose output the test runner hides where a test passes.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED: {test} needs Consul; set CONSUL_BIN to a Consul program ({why})"
    );
    None
}

fn start_with_acl() -> Result<AclAgent, String> {
    let mut agent = start(&Kind::Acl)?;
    // Refused until the leader has set its tables up.
    let until = Instant::now() + START;
    let management = loop {
        match agent.api.put("/v1/acl/bootstrap", &Value::Null) {
            Ok(token) => break secret(&token),
            Err(why) if Instant::now() > until => return Err(format!("no ACL bootstrap: {why}")),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    };
    agent.api = Api::with_token(&agent.http, &management);
    // So that the agent may register its node, and with it serfHealth.
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
    // The agent reads these files when it starts, and then never again.
    let agent = start(&Kind::Tls {
        configuration: file("tls.json", &configuration.to_string()),
    })?;
    Ok(TlsAgent { agent, authority })
}

/// What sets an agent apart.
enum Kind {
    StandIn,
    Plain,
    Acl,
    Tls { configuration: String },
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
    if let Kind::StandIn = kind {
        return try_start_stand_in();
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
        Kind::StandIn | Kind::Plain => {}
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
        // It registers its node when it has a token to do so.
        Kind::Acl => wait_until(&agent.guard, || leads(&agent.api))?,
        _ => wait_until_healthy(&agent)?,
    }
    Ok(agent)
}

/// The development agent, in a process of its own like the real one.
fn try_start_stand_in() -> Result<Agent, String> {
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

/// Consul 1.14 and later have one more port, which would be the same for all agents.
fn has_grpc_tls(program: &Path) -> bool {
    Command::new(program)
        .args(["agent", "-help"])
        .output()
        .is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("-grpc-tls-port"))
}

/// The node's check comes a little after the leader; until then no session can be created.
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

/// Free at this moment.
fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that they differ.
    let held: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    std::array::from_fn(|place| held[place].local_addr().unwrap().port())
}

/// A process that ends when this is dropped, and also when the test process ends without dropping anything, as it does
/// with what is in a static, or when it is killed: a shell stands in between and waits for the end of its standard input.
/// (Linux could do without the shell, but ties a child to the *thread* that made it, and every test is a thread.)
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
    /// The shell lets go of the output, so that its end is the end of the process; and an interrupt from the terminal
    /// must not end the shell before it has done its duty.
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
