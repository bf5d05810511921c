//! Servers on the loopback interface for what a real Consul does not do on demand: wrong, late and missing responses.
//! Every server records the requests it reads. Each connection has its own thread, so an endless response blocks no
//! other connection; it ends when a write fails because the client is gone.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// Read timeout for clients that neither send anything nor disconnect.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server. Dropping it stops it from accepting connections.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

/// A request as received.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body. Empty if the request has no `Content-Length`.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request. Returns `None` if the client disconnects before the end of the headers.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Request>> {
        // Read single bytes, so as not to consume a part of the body.
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

    /// Passes it on to another server, without headers.
    pub fn write(&self, stream: &mut impl Write, host: &str) -> io::Result<()> {
        let Request {
            method, path, body, ..
        } = self;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)
    }

    /// Returns the value of a header. The name must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

impl Server {
    /// Starts a server that passes each connection to `serve`, along with a function that records a request.
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
                    // An error means that the client has disconnected.
                    let _ = serve(stream, &|request| requests.lock().unwrap().push(request));
                });
            }
        });
        server
    }

    /// Starts a server that reads one request per connection, then calls `serve`.
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

    /// Starts a server that accepts connections and sends nothing until the client disconnects.
    pub fn silent() -> Server {
        Server::raw(|mut stream, _| io::copy(&mut stream, &mut io::sink()).map(|_| ()))
    }

    /// Starts a server that responds to every request with these bytes and closes the connection.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = bytes.into();
        Server::after_request(move |_, stream| stream.write_all(&bytes))
    }

    /// Starts a server that responds to every request with the same well-formed response.
    pub fn answering(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Server {
        let mut bytes = Vec::new();
        answer(&mut bytes, status, headers, &body.into()).unwrap();
        Server::bytes(bytes)
    }

    /// Returns `127.0.0.1:port`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Returns `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the requests read so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wake the thread that is blocked in `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

/// Writes a complete response with `Connection: close`.
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

/// Closes the connection without a reset, which could discard the response: shuts down the write half and waits for the
/// client to disconnect.
fn finish(stream: &mut TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(READ_TIMEOUT));
    let _ = io::copy(stream, &mut io::sink());
}

/// Closes the connection with a reset.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    // Closing a socket with unread input sends a reset. The standard library has no stable way to set SO_LINGER.
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.peek(&mut [0]).map(|_| ())
}

/// Returns a port on which nothing listens. It is the local port of a connection that stays open, so the system does
/// not assign it to another test or process.
pub fn closed_port() -> u16 {
    static HELD: LazyLock<(TcpListener, TcpStream)> = LazyLock::new(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, stream)
    });
    HELD.1.local_addr().unwrap().port()
}
