//! Servers on the loopback interface for everything that a real Consul does not do on demand: wrong answers, late ones,
//! none. Every server records the requests that it read. They are threads, one per connection, so that a server that never
//! comes to an end holds up nobody; it notices the end of its client when it writes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// How long a server waits for a client that does nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server; it takes no more connections once this is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, if its length was declared.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request; none if the client left without one.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Request>> {
        // Byte by byte, so that nothing of the body is taken with it.
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                return Ok(None);
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request = Request {
            method: first.next().unwrap_or_default().to_owned(),
            path: first.next().unwrap_or_default().to_owned(),
            headers,
            body: Vec::new(),
        };
        let length = request
            .header("content-length")
            .and_then(|length| length.parse().ok());
        request.body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

impl Server {
    /// A server that does what it likes with each connection, and records the requests that it says it read.
    pub fn raw(
        serve: impl Fn(TcpStream, &dyn Fn(Request)) -> io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            stopped: Arc::default(),
        };
        let serve = Arc::new(serve);
        let (requests, stopped) = (server.requests.clone(), server.stopped.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (serve, requests) = (serve.clone(), requests.clone());
                thread::spawn(move || {
                    // An error is the client's leaving.
                    let _ = serve(stream, &|request| requests.lock().unwrap().push(request));
                });
            }
        });
        server
    }

    /// A server that reads one request per connection, then does what it likes.
    pub fn after_request(
        serve: impl Fn(&Request, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        Server::raw(move |mut stream, record| {
            if let Some(request) = Request::read(&mut stream)? {
                record(request.clone());
                serve(&request, &mut stream)?;
                finish(&mut stream);
            }
            Ok(())
        })
    }

    /// A server that accepts connections and says nothing until its client leaves.
    pub fn silent() -> Server {
        Server::raw(|mut stream, _| io::copy(&mut stream, &mut io::sink()).map(|_| ()))
    }

    /// A server that answers every request with these bytes and closes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = bytes.into();
        Server::after_request(move |_, stream| stream.write_all(&bytes))
    }

    /// A server that answers every request properly, and always the same.
    pub fn answering(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Server {
        let mut bytes = Vec::new();
        answer(&mut bytes, status, headers, &body.into()).unwrap();
        Server::bytes(bytes)
    }

    /// `127.0.0.1:port`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests read so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// Writes a complete answer and announces the end of the connection.
pub fn answer(
    stream: &mut impl Write,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.flush()
}

/// Closes without a reset, which could overtake the answer: says that nothing more comes, and waits for the client to
/// have read it.
fn finish(stream: &mut TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = io::copy(stream, &mut io::sink());
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    // Unread input makes a close a reset; SO_LINGER would do it too, but is not in the standard library.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.peek(&mut [0]).map(|_| ())
}

/// A port on which nobody listens. It is the near end of a connection that stays open, so that no other test or process is
/// given it to listen on.
pub fn closed_port() -> u16 {
    static HELD: LazyLock<(TcpListener, TcpStream)> = LazyLock::new(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, stream)
    });
    HELD.1.local_addr().unwrap().port()
}
