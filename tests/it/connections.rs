//! The bounds on connections: how many are open, and how many of them are idle.

use crate::client::runtime;
use consul_session::{Client, Policy, Runtime};
use consul_session_tests::bad_server::{Request, Server};
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
    servers.visit(&client(&runtime)).await;
    until("32 are left", || servers.open() == 32).await;
}
