//! The bounds on connections: how many are open, and how many of them are idle.

use crate::client::runtime;
use consul_session::{Client, NewSession, Policy, Runtime, Trust};
use consul_session_tests::bad_server::{Request, Server};
use consul_session_tests::ca::Identity;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Servers that keep their connections open, and the number of these.
struct Servers {
    servers: Vec<Server>,
    open: Arc<AtomicUsize>,
}

impl Servers {
    /// Servers that close each connection after an answer.
    fn closing(count: usize) -> Servers {
        let start = |_| Server::answering(200, &[("Connection", "close")], "[]");
        Servers {
            servers: (0..count).map(start).collect(),
            open: Arc::default(),
        }
    }

    fn start(count: usize) -> Servers {
        let open = Arc::new(AtomicUsize::new(0));
        let start = |_| {
            let open = open.clone();
            Server::raw(move |mut stream, record| {
                open.fetch_add(1, Ordering::SeqCst);
                let result = answer_all(&mut stream, record);
                open.fetch_sub(1, Ordering::SeqCst);
                result
            })
        };
        Servers {
            servers: (0..count).map(start).collect(),
            open,
        }
    }

    /// Makes a call to each server, one after the other.
    async fn visit(&self, client: &Client) {
        for server in &self.servers {
            let list = format!(r#"{{"state": "list", "url": "{}"}}"#, server.url());
            client.action(&list).await.unwrap();
        }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

fn answer_all(stream: &mut TcpStream, record: &dyn Fn(Request)) -> std::io::Result<()> {
    while let Some(request) = Request::read(stream)? {
        record(request);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
        )?;
    }
    Ok(())
}

fn client(runtime: &Runtime) -> Client {
    Client::builder()
        .address("http://127.0.0.1:1")
        .policy(Policy::deny_all().allow("http://127.0.0.1:*").unwrap())
        .timeout(PATIENCE)
        .build(runtime)
        .unwrap()
}

/// Connections are closed by tasks of their own, so a moment later than the call that makes it necessary.
async fn until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_keeps_few_connections_whatever_their_origins() {
    let servers = Servers::start(40);
    let client = client(runtime());
    servers.visit(&client).await;
    until("32 are left", || servers.open() == 32).await;
    // The oldest were closed, so the newest is used again.
    let last = &servers.servers[39..];
    let list = format!(r#"{{"state": "list", "url": "{}"}}"#, last[0].url());
    client.action(&list).await.unwrap();
    assert_eq!(servers.open(), 32);
}

#[tokio::test]
async fn clients_of_a_runtime_share_the_bound_on_idle_connections() {
    let runtime = Runtime::with_calls(4).unwrap();
    let servers = Servers::start(30);
    let clients: Vec<Client> = (0..5).map(|_| client(&runtime)).collect();
    for client in &clients {
        servers.visit(client).await;
    }
    until("128 are left", || servers.open() == 128).await;
}

/// One call at a time, and 32 idle connections: the next one waits until there is room.
#[tokio::test]
async fn at_the_bound_an_idle_connection_makes_room() {
    let runtime = Runtime::with_calls(1).unwrap();
    let servers = Servers::start(70);
    let client = client(&runtime);
    servers.visit(&client).await;
    until("32 are left", || servers.open() == 32).await;
}

/// Connections that a server has closed count no longer.
#[tokio::test]
async fn closed_connections_are_forgotten() {
    let client = client(runtime());
    Servers::closing(80).visit(&client).await;
    let servers = Servers::start(32);
    servers.visit(&client).await;
    // A second time, without a new connection.
    servers.visit(&client).await;
    assert_eq!(servers.open(), 32);
}

/// Calls that race for a connection make more of them than they need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_made_in_vain_make_room() {
    let runtime = Runtime::with_calls(16).unwrap();
    let client = Client::builder()
        .address("http://127.0.0.1:1")
        .policy(Policy::deny_all().allow("http://127.0.0.1:*").unwrap())
        .max_calls(16)
        .timeout(PATIENCE)
        .build(&runtime)
        .unwrap();
    let servers = Arc::new(Servers::start(6));
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (client, servers) = (client.clone(), servers.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    servers.visit(&client).await;
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    until("32 are left", || servers.open() <= 32).await;
}

/// A server that takes nothing keeps no connection for longer than a few seconds.
#[tokio::test]
async fn servers_that_read_nothing_take_no_connection_for_good() {
    let identity = Identity::self_signed(&["127.0.0.1"]);
    let (deaf, good) = (identity.serve_nothing(), identity.serve());
    let secure = |server: &Server| format!("https://127.0.0.1:{}", server.port());
    let client = |timeout| {
        Client::builder()
            .address(&secure(&deaf))
            .policy(Policy::deny_all().allow(&secure(&good)).unwrap())
            .trust(Trust::only_pem(identity.certificate.as_bytes()).unwrap())
            .max_calls(8)
            .timeout(timeout)
    };
    // 8 at once, and 32 more.
    let runtime = Runtime::with_calls(8).unwrap();
    let client = client(Duration::from_secs(2)).build(&runtime).unwrap();
    let large = NewSession::named("x".repeat(4_000_000));
    for _ in 0..5 {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (client, large) = (client.clone(), large.clone());
                tokio::spawn(async move { client.create(&large).await })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap().unwrap_err().is_timeout());
        }
    }
    let list = format!(r#"{{"state": "list", "url": "{}"}}"#, secure(&good));
    let begun = Instant::now();
    while client.action(&list).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "no connection became free");
    }
}
