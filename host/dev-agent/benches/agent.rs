//! The memory and the latency of an agent under load. Run with
//! `cargo bench -p consul-session-dev-agent`; it prints figures and checks none.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it prints figures, or panics"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use consul_session_dev_agent::DevAgent;
use tokio::runtime::Runtime;

fn main() {
    let runtime = Runtime::new().unwrap();
    let start = || runtime.block_on(DevAgent::start()).unwrap();
    renew_among_ten_thousand_sessions(&start());
    wake_a_thousand_watchers_of_a_long_list(&start());
}

/// Returns the resident memory of this process, which holds the agent and its clients, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A keep-alive connection. An HTTP client with a pool would need a thread for each of a thousand
/// blocked queries.
struct Connection(TcpStream);

impl Connection {
    fn open(agent: &DevAgent) -> Connection {
        let address = agent.address().trim_start_matches("http://");
        Connection(TcpStream::connect(address).unwrap())
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// Reads a response of status 200.
    fn receive(&mut self) -> Response {
        let mut reader = BufReader::new(&self.0);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = reader.read_line(&mut head).unwrap();
            assert_ne!(read, 0, "the agent closed the connection");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut response = Response {
            head: head.to_lowercase(),
            body: String::new(),
        };
        let length = response.header("content-length").parse().unwrap();
        let mut body = reader.take(length);
        body.read_to_string(&mut response.body).unwrap();
        assert_eq!(response.body.len() as u64, length);
        response
    }

    fn request(&mut self, method: &str, path: &str, body: &str) -> Response {
        self.send(method, path, body);
        self.receive()
    }

    /// Creates a session and returns its id.
    fn create(&mut self, body: &str) -> String {
        let response = self.request("PUT", "/v1/session/create", body);
        response.body.split('"').nth(3).unwrap().to_owned()
    }
}

struct Response {
    /// In lower case.
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).unwrap().1
    }

    fn index(&self) -> &str {
        self.header("x-consul-index")
    }
}

/// Renews sessions while there are ten thousand with a TTL and a key each, and a thousand blocked
/// queries; then wakes the queries.
fn renew_among_ten_thousand_sessions(agent: &DevAgent) {
    const SESSIONS: usize = 10_000;
    const QUERIES: usize = 1_000;
    let before = resident();
    let mut connection = Connection::open(agent);
    let started = Instant::now();
    let mut ids = Vec::new();
    for number in 0..SESSIONS {
        let id = connection.create(r#"{"TTL":"1h","LockDelay":0}"#);
        let acquire = format!("/v1/kv/load/{number}?acquire={id}");
        assert_eq!(connection.request("PUT", &acquire, "").body, "true\n");
        ids.push(id);
    }
    let filled = started.elapsed();
    let with_sessions = resident();

    // Each query blocks on a key of its own.
    let mut blocked = Vec::new();
    for number in 0..QUERIES {
        let path = format!("/v1/kv/load/{number}");
        let response = connection.request("GET", &path, "");
        let mut query = Connection::open(agent);
        query.send(
            "GET",
            &format!("{path}?index={}&wait=60s", response.index()),
            "",
        );
        blocked.push(query);
    }
    let with_queries = resident();

    let mut latencies: Vec<Duration> = Vec::new();
    for id in ids.iter().take(5_000) {
        let started = Instant::now();
        connection.request("PUT", &format!("/v1/session/renew/{id}"), "");
        latencies.push(started.elapsed());
    }
    latencies.sort_unstable();
    let (median, worst) = (
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 999 / 1000],
    );

    let started = Instant::now();
    for id in &ids[..QUERIES] {
        connection.request("PUT", &format!("/v1/session/destroy/{id}"), "");
    }
    for query in &mut blocked {
        query.receive();
    }
    let woken = started.elapsed();
    println!(
        "{SESSIONS} sessions and keys created in {filled:?}, {} KiB; \
         {QUERIES} blocked queries, {} KiB; \
         renewal {median:?} median, {worst:?} 99.9th percentile; \
         {QUERIES} sessions destroyed and queries woken in {woken:?}",
        with_sessions.saturating_sub(before),
        with_queries.saturating_sub(with_sessions),
    );
}

/// Wakes a thousand watchers of the list of five thousand sessions at once, twice.
fn wake_a_thousand_watchers_of_a_long_list(agent: &DevAgent) {
    const SESSIONS: usize = 5_000;
    const WATCHERS: usize = 1_000;
    let mut connection = Connection::open(agent);
    for _ in 0..SESSIONS {
        connection.create("");
    }
    let length = connection.request("GET", "/v1/session/list", "").body.len();
    let mut watchers: Vec<Connection> = (0..WATCHERS).map(|_| Connection::open(agent)).collect();
    let before = resident();
    for round in 1..=2 {
        let list = connection.request("GET", "/v1/session/list", "");
        let query = format!("/v1/session/list?index={}&wait=60s", list.index());
        for watcher in &mut watchers {
            watcher.send("GET", &query, "");
        }
        // Until all of them block.
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        connection.create("");
        let created = started.elapsed();
        for watcher in &mut watchers {
            assert!(watcher.receive().body.len() > length);
        }
        let grown = resident().saturating_sub(before);
        println!("round {round}: session created in {created:?}, memory grew by {grown} KiB");
    }
}
