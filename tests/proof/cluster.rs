//! Three Consul servers on 127.0.0.2 to 127.0.0.4.

use consul_session_tests::api::Api;
use consul_session_tests::background::{eventually, signal, wait_until};
use consul_session_tests::consul;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an election may take on a busy machine.
const ELECTION: Duration = Duration::from_secs(120);

/// A cluster. It ends when this is dropped, and also when this process ends.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    ports: [u16; 4],
    addresses: Vec<Ipv4Addr>,
}

pub(crate) struct Server {
    pub(crate) address: Ipv4Addr,
    pub(crate) http: String,
    pub(crate) api: Api,
    folder: TempDir,
    process: Option<Process>,
}

/// A server's process, below a shell that kills it at the end of the shell's input: as in the harness of the tests.
struct Process {
    shell: Child,
    id: u32,
}

const GUARD: &str = r#"trap '' INT HUP
log=$1; shift
"$@" </dev/null >>"$log" 2>&1 & process=$!
echo "$process"
exec >/dev/null 2>&1
cat
kill -KILL "$process"
wait "$process""#;

impl Cluster {
    /// Starts so many servers, if there is a Consul program.
    pub(crate) fn start(size: u8) -> Option<Cluster> {
        if let Err(why) = consul::program() {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            println!("SKIPPED: it needs a Consul program ({why})");
            return None;
        }
        let addresses: Vec<Ipv4Addr> = (2..2 + size).map(|n| Ipv4Addr::new(127, 0, 0, n)).collect();
        let ports = free_ports(&addresses);
        let servers = addresses.iter().map(|address| {
            let http = format!("http://{address}:{}", ports[0]);
            Server {
                address: *address,
                api: Api::new(&http),
                http,
                folder: TempDir::new().unwrap(),
                process: None,
            }
        });
        let mut cluster = Cluster {
            servers: servers.collect(),
            ports,
            addresses,
        };
        for number in 0..cluster.servers.len() {
            cluster.launch(number);
        }
        for server in &cluster.servers {
            eventually("serving", || server.serves());
        }
        Some(cluster)
    }

    /// Starts a server that does not run.
    pub(crate) fn launch(&mut self, number: usize) {
        let [http, rpc, lan, wan] = self.ports.map(|port| port.to_string());
        let server = &mut self.servers[number];
        let (address, folder) = (server.address.to_string(), server.folder.path());
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "guard"])
            .arg(folder.join("log"))
            .arg(consul::program().unwrap())
            .args(["agent", "-server", "-log-level", "warn"])
            .args(["-bootstrap-expect", &self.addresses.len().to_string()])
            .args(["-node", &format!("proof-{number}")])
            .args(["-bind", &address, "-client", &address])
            .args(["-http-port", &http, "-server-port", &rpc])
            .args(["-serf-lan-port", &lan, "-serf-wan-port", &wan])
            .args(["-dns-port", "-1", "-grpc-port", "-1"])
            .args(["-hcl", "performance { raft_multiplier = 1 }"])
            .args(["-hcl", "limits { http_max_conns_per_client = 2000 }"])
            .arg("-data-dir")
            .arg(folder.join("data"));
        for other in &self.addresses {
            command.args(["-retry-join", &format!("{other}:{lan}")]);
        }
        command.args(["-retry-interval", "1s"]);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let id = line.trim().parse().unwrap();
        server.process = Some(Process { shell, id });
    }

    /// The number of the leader, as the servers that run know it.
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        eventually("elected", || {
            leader = self.servers.iter().find_map(Server::known_leader);
            leader.is_some()
        });
        let leader = leader.unwrap();
        let place = self
            .servers
            .iter()
            .position(|server| leader.starts_with(&format!("{}:", server.address)));
        place.unwrap()
    }

    /// Waits until writes are served through this server, and returns how long that took.
    pub(crate) fn wait_for_writes(&self, number: usize) -> Duration {
        let start = Instant::now();
        let served = wait_until(ELECTION, || self.servers[number].serves());
        assert!(served, "no writes after {ELECTION:?}");
        start.elapsed()
    }
}

impl Server {
    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.as_ref().unwrap().id, name);
    }

    fn serves(&self) -> bool {
        let session = json!({"Name": "proof-cluster", "TTL": "10s", "NodeChecks": []});
        let created = self.api.put("/v1/session/create", &session);
        let Ok(Value::Object(created)) = created else {
            return false;
        };
        let id = created["ID"].as_str().unwrap();
        let path = format!("/v1/session/destroy/{id}");
        self.api.put(&path, &Value::Null).is_ok()
    }

    fn known_leader(&self) -> Option<String> {
        // A stopped one would not respond.
        self.process.as_ref()?;
        let leader = self.api.get("/v1/status/leader").ok()?;
        let leader = leader.as_str().filter(|leader| !leader.is_empty())?;
        Some(leader.to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Ports that are free at all addresses at this moment.
fn free_ports(addresses: &[Ipv4Addr]) -> [u16; 4] {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    while ports.len() < 4 {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let rest = addresses[1..]
            .iter()
            .map(|address| TcpListener::bind((*address, port)));
        if let Ok(rest) = rest.collect::<Result<Vec<_>, _>>() {
            ports.push(port);
            held.push((first, rest));
        }
    }
    ports.try_into().unwrap()
}
