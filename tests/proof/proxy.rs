//! A proxy that counts requests.

use consul_session_tests::bad_server::{Request, Server};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// A proxy in front of a Consul.
pub(crate) struct Proxy {
    server: Server,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that the proxy has passed on.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
}

impl Proxy {
    /// Starts a proxy for this address, `http://host:port`.
    pub(crate) fn start(http: &str) -> Proxy {
        let upstream = http.strip_prefix("http://").unwrap().to_owned();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = seen.clone();
        let server = Server::raw(move |client, _| {
            let upstream = TcpStream::connect(&upstream)?;
            client.set_nodelay(true)?;
            upstream.set_nodelay(true)?;
            let mut back = (upstream.try_clone()?, client.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut back.0, &mut back.1);
                let _ = back.1.shutdown(Shutdown::Both);
            });
            let passed = pass(client, &upstream, &all);
            let _ = upstream.shutdown(Shutdown::Both);
            passed
        });
        Proxy { server, seen }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Passes the requests of a connection on.
fn pass(client: TcpStream, mut upstream: &TcpStream, seen: &Mutex<Vec<Seen>>) -> io::Result<()> {
    let mut copied = Copied {
        source: client,
        bytes: Vec::new(),
    };
    while let Some(request) = Request::read(&mut copied)? {
        let chunked = request.header("transfer-encoding").is_some();
        assert!(!chunked, "the proxy cannot read chunks: {request:?}");
        seen.lock().unwrap().push(Seen {
            at: Instant::now(),
            method: request.method,
            path: request.path,
        });
        upstream.write_all(&std::mem::take(&mut copied.bytes))?;
    }
    Ok(())
}

/// Keeps what is read.
struct Copied {
    source: TcpStream,
    bytes: Vec<u8>,
}

impl Read for Copied {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes.extend(&buffer[..read]);
        Ok(read)
    }
}
