//! Servers that cost as little as possible, in a thread of their own.

use anyhow::Result;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";

/// What Consul 1.8.7 sends for a session.
const SESSION: &str = r#"[{"ID":"2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11","Name":"bench","Node":"node","LockDelay":15000000000,"Behavior":"release","TTL":"","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":11,"ModifyIndex":11}]"#;

/// A running server. It runs until the process ends.
pub(crate) struct Server(SocketAddr);

impl Server {
    /// A server that answers every request from memory as Consul answers a read or a create.
    pub(crate) fn canned() -> Result<Server> {
        let created = response(&format!("{{\"ID\":\"{ID}\"}}"));
        let session = response(SESSION);
        Server::start(move |mut stream| {
            let (created, session) = (created.clone(), session.clone());
            async move {
                let mut buffer = vec![0; 4096];
                loop {
                    // A client on the same machine sends small requests in one piece.
                    let read = stream.read(&mut buffer).await?;
                    let answer = match buffer[..read].first() {
                        None => return Ok(()),
                        Some(b'P') => &created,
                        Some(_) => &session,
                    };
                    stream.write_all(answer.as_bytes()).await?;
                }
            }
        })
    }

    /// A server that reads requests and never answers.
    pub(crate) fn silent() -> Result<Server> {
        Server::start(async |mut stream| {
            let mut buffer = [0; 512];
            while stream.read(&mut buffer).await? > 0 {}
            Ok(())
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0)
    }

    fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Result<Server>
    where
        F: Future<Output = std::io::Result<()>> + 'static,
    {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    tokio::task::spawn_local(serve(stream));
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            })
        });
        Ok(Server(address))
    }
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Accept-Encoding\r\nX-Consul-Index: 11\r\nX-Consul-Knownleader: true\r\nX-Consul-Lastcontact: 0\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
