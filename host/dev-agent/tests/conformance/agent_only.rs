//! Features of the development agent alone: limits, start and shutdown, TLS, and load.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use consul_session_dev_agent::{DevAgent, Limits};
use serde_json::json;

use super::server::{RUNTIME, Server, start, until};

const SOON: Duration = Duration::from_secs(60);

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// Sends a blocking query to an agent that has room for one, and returns when it has taken the place.
fn blocked(server: &Server, path: &str, index: u64) -> TcpStream {
    let address = server.base_url.trim_start_matches("http://");
    let query = format!("GET {path}?index={index}&wait=600s HTTP/1.1\r\nHost: x\r\n\r\n");
    let probe = format!("{path}?index={index}&wait=1ms");
    let deadline = Instant::now() + SOON;
    'again: loop {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(query.as_bytes()).unwrap();
        while server.get(&probe).status != 429 {
            assert!(Instant::now() < deadline, "the query does not block");
            // The probe may have had the place when the query came, which was refused then.
            stream.set_nonblocking(true).unwrap();
            if stream.peek(&mut [0]).is_ok() {
                continue 'again;
            }
        }
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        return stream;
    }
}

#[test]
fn a_full_agent_says_so_and_goes_on() {
    let (_agent, server) = start(DevAgent::builder().limits(limits(|limits| {
        limits.sessions = 2;
        limits.keys = 1;
        limits.value_bytes = 10;
        limits.body_bytes = 1_000;
        limits.waiters = 1;
    })));
    let [one, _] = [(), ()].map(|()| server.create(""));
    let full = "the development agent is at its limit of 2 sessions";
    server.put("/v1/session/create", "").is(503, full);
    server.put("/v1/kv/a", "0123456789").is(200, "true");
    server
        .put("/v1/kv/b", "")
        .is(503, "the development agent is at its limit of 1 keys");
    server
        .put("/v1/kv/a", "0123456789+")
        .begins(413, "Request body(11 bytes) too large");
    server
        .put_chunked("/v1/kv/a", b"0123456789+")
        .begins(413, "Request body(>10 bytes)");
    server
        .put("/v1/session/create", vec![b' '; 1_001])
        .begins(413, "Request body(1001 bytes)");
    // As much as the agent still reads, so that the client is not cut off while it writes.
    server
        .put("/v1/kv/a", vec![b' '; 1_000_000].as_slice())
        .begins(413, "Request body(1000000");

    let path = "/v1/kv/a";
    let index = server.get(path).index();
    let mut first = blocked(&server, path, index);
    server.get(&format!("{path}?index={index}")).is(
        429,
        "the development agent is at its limit of 1 blocked queries",
    );
    server.put(path, "changed").is(200, "true");
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.get(&format!("{path}?index={index}&wait=1ms"));
    server.destroy(&one);
    server.create("");
}

#[test]
fn one_connection_too_many_is_closed() {
    let (agent, _) = start(DevAgent::builder().limits(limits(|limits| limits.connections = 2)));
    let address = agent.address().trim_start_matches("http://");
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).map(|()| answer)
    };
    let mut streams = [(), ()].map(|()| TcpStream::connect(address).unwrap());
    for stream in &mut streams {
        assert_eq!(&ask(stream).unwrap(), b"HTTP/1.1 200");
    }
    assert!(ask(&mut TcpStream::connect(address).unwrap()).is_err());
    drop(streams);
    until(SOON, || {
        ask(&mut TcpStream::connect(address).unwrap()).is_ok()
    });
}

#[test]
fn an_agent_ends_with_shutdown_or_drop() {
    for drop_it in [false, true] {
        let one = limits(|limits| limits.waiters = 1);
        let (agent, server) = start(DevAgent::builder().limits(one));
        let address = agent.address().trim_start_matches("http://").to_owned();
        let path = "/v1/session/list";
        let mut blocked = blocked(&server, path, server.get(path).index());
        if drop_it {
            drop(agent);
        } else {
            RUNTIME.block_on(agent.shutdown());
        }
        // The blocked query is cut off, and the port is closed.
        match blocked.read(&mut [0; 16]) {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        until(SOON, || TcpStream::connect(&address).is_err());
    }
}

#[test]
fn the_names_are_the_builder_s() {
    let builder = DevAgent::builder().node("Some-Node").datacenter("dc7");
    let (_agent, server) = start(builder.listen("127.0.0.1:0".parse().unwrap()));
    assert_eq!(server.node(), "Some-Node");
    server
        .get("/v1/session/list?dc=dc1")
        .is(500, "No path to datacenter");
    assert_eq!(server.get("/v1/session/list?dc=dc7").status, 200);
    let id = server.create(r#"{"Node":"some-node"}"#);
    assert_eq!(server.info(&id).unwrap()["Node"], "some-node");
    let leader = server.get("/v1/status/leader").json();
    assert!(server.base_url.ends_with(leader.as_str().unwrap()));
}

#[test]
fn tls() {
    let file = std::env::temp_dir().join(format!("dev-agent-ca-{}.pem", std::process::id()));
    let agent = RUNTIME
        .block_on(DevAgent::builder().ca_file(&file).start())
        .unwrap();
    let pem = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(agent.ca_pem(), Some(pem.as_str()));
    let address = agent.address().trim_start_matches("https://").to_owned();

    // A plain-text request gets a plain-text 400.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut refusal = String::new();
    plain.read_to_string(&mut refusal).unwrap();
    assert!(
        refusal.starts_with("HTTP/1.0 400 Bad Request\r\n"),
        "{refusal}"
    );
    assert!(refusal.contains("Client sent an HTTP request to an HTTPS server."));

    // A client that trusts the authority connects by both names; no other client does.
    for name in ["127.0.0.1", "localhost"] {
        let answer = get_over_tls(&address, name, Some(&pem)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert!(get_over_tls(&address, "example.com", Some(&pem)).is_err());
    assert!(get_over_tls(&address, "localhost", None).is_err());
}

fn get_over_tls(address: &str, name: &str, ca: Option<&str>) -> std::io::Result<String> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
    }
    let provider = crypto::ring::default_provider().into();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(config.into(), name).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(address)?);
    stream.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn without_tls_there_is_no_authority() {
    let (agent, _) = start(DevAgent::builder());
    assert_eq!(agent.ca_pem(), None);
}

#[test]
fn a_client_that_goes_away_gives_up_its_place() {
    let (_agent, server) = start(DevAgent::builder().limits(limits(|limits| limits.waiters = 1)));
    let path = "/v1/session/list";
    let index = server.get(path).index();
    let another = format!("{path}?index={index}&wait=1ms");
    for _ in 0..3 {
        let stream = blocked(&server, path, index);
        server
            .get(&another)
            .begins(429, "the development agent is at its limit");
        drop(stream);
        until(SOON, || server.get(&another).status == 200);
    }
}

#[test]
fn every_index_is_seen_by_a_watcher_of_a_busy_prefix() {
    const WRITERS: usize = 4;
    const WRITES: usize = 100;
    let (_agent, server) = start(DevAgent::builder());
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                for number in 0..WRITES {
                    server.put(&format!("/v1/kv/busy/{writer}"), number.to_string());
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        // After a lost wake-up the last read would block and return an old value.
        let mut index = 0;
        loop {
            let finished = done.load(Ordering::SeqCst) == WRITERS;
            let answer = server.get(&format!("/v1/kv/busy/?recurse&index={index}&wait=2s"));
            if answer.status == 404 {
                continue;
            }
            assert!(answer.index() >= index);
            index = answer.index();
            if finished {
                let rows = answer.json();
                let last = json!("OTk=");
                assert!(
                    rows.as_array()
                        .unwrap()
                        .iter()
                        .all(|row| row["Value"] == last)
                );
                break;
            }
        }
    });
}
