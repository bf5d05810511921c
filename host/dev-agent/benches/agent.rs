//! What the development agent bears: `cargo bench -p consul-session-dev-agent`. Figures, no judgement.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it prints figures, or panics"
)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the client belongs to the conformance tests"
)]

use consul_session_dev_agent::DevAgent;
use server::start;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[path = "../tests/conformance/server.rs"]
mod server;

fn main() {
    ten_thousand_sessions_and_a_thousand_blocked_queries();
    a_thousand_watchers_of_one_long_list();
}

/// Resident memory of this process, in kilobytes; it holds agent and clients.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Keep-alive client without a pool, for a thousand of them.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut expected = usize::MAX;
    while bytes.len() < expected {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "closed");
        bytes.extend_from_slice(&buffer[..read]);
        if expected == usize::MAX {
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let mut lines = head.lines();
                let length = lines.find_map(|line| line.strip_prefix("content-length: "));
                expected = head.len() + 4 + length.unwrap().parse::<usize>().unwrap();
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Ten thousand sessions with a TTL and a key each, a thousand blocked queries, and requests in
/// between.
fn ten_thousand_sessions_and_a_thousand_blocked_queries() {
    const SESSIONS: usize = 10_000;
    const WAITERS: usize = 1_000;
    let (agent, server) = start(DevAgent::builder());
    let address = agent.address().trim_start_matches("http://").to_owned();
    let before = resident();
    let mut stream = TcpStream::connect(&address).unwrap();
    let body = r#"{"TTL":"1h","LockDelay":0}"#;
    let create = format!(
        "PUT /v1/session/create HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let started = Instant::now();
    let mut ids = Vec::new();
    for number in 0..SESSIONS {
        let answer = ask(&mut stream, &create);
        let id = answer.split('"').nth(3).unwrap().to_owned();
        let acquire = format!(
            "PUT /v1/kv/load/{number}?acquire={id} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        );
        assert!(ask(&mut stream, &acquire).ends_with("true\n"));
        ids.push(id);
    }
    let filled = started.elapsed();
    let with_sessions = resident();

    // Each waits for its own key.
    let mut waiters: Vec<TcpStream> = Vec::new();
    for number in 0..WAITERS {
        let index = server.get(&format!("/v1/kv/load/{number}")).index();
        let mut stream = TcpStream::connect(&address).unwrap();
        let query =
            format!("GET /v1/kv/load/{number}?index={index}&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(query.as_bytes()).unwrap();
        waiters.push(stream);
    }
    let with_waiters = resident();

    // Nobody is disturbed, and a renew costs what it costs.
    let renew = |stream: &mut TcpStream, id: &str| {
        let request =
            format!("PUT /v1/session/renew/{id} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let started = Instant::now();
        assert!(ask(stream, &request).starts_with("HTTP/1.1 200"));
        started.elapsed()
    };
    let mut took: Vec<Duration> = ids
        .iter()
        .take(5_000)
        .map(|id| renew(&mut stream, id))
        .collect();
    took.sort_unstable();
    let (median, worst) = (took[took.len() / 2], took[took.len() * 999 / 1000]);

    let started = Instant::now();
    for id in &ids[..WAITERS] {
        server.destroy(id);
    }
    for stream in &mut waiters {
        assert!(answer(stream).starts_with("HTTP/1.1 200"));
    }
    let woken = started.elapsed();
    println!(
        "{SESSIONS} sessions and keys in {filled:?}, {} KiB; {WAITERS} blocked queries, {} KiB; \
         renew {median:?} median, {worst:?} 99.9 %; {WAITERS} ended and woken in {woken:?}",
        with_sessions - before,
        with_waiters.saturating_sub(with_sessions),
    );
}

/// A thousand watchers of the list of five thousand sessions wake at once, and again and again.
fn a_thousand_watchers_of_one_long_list() {
    const SESSIONS: usize = 5_000;
    const WATCHERS: usize = 1_000;
    let (agent, server) = start(DevAgent::builder());
    let address = agent.address().trim_start_matches("http://").to_owned();
    for _ in 0..SESSIONS {
        server.create("");
    }
    let length = server.get("/v1/session/list").body.len();
    let mut watchers: Vec<TcpStream> = (0..WATCHERS)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let before = resident();
    for round in 0..2 {
        let index = server.get("/v1/session/list").index();
        let query =
            format!("GET /v1/session/list?index={index}&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n");
        for stream in &mut watchers {
            stream.write_all(query.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        server.create("");
        let created = started.elapsed();
        for stream in &mut watchers {
            assert!(answer(stream).len() > length);
        }
        let grown = resident().saturating_sub(before);
        println!("round {round}: the write took {created:?}, memory grew by {grown} KiB");
    }
}
