//! Where a connection is made or refused: resolve the name, check each address, connect, and negotiate TLS, each under a
//! timeout.

use super::connections::{Connection, Permits, Share};
use super::error::{Kind, RequestError};
use crate::policy::{Policy, host_of, port_of};
use crate::trust::Trust;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

tokio::task_local! {
    /// The deadline for connecting on behalf of the current request; a client's connector serves all of its calls. It is a
    /// little earlier than the request's own, so that a slow connection attempt is reported as such: nothing was sent.
    pub(super) static DIAL_BY: Instant;
}

/// Makes connections for one client.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    policy: Arc<Policy>,
    trust: Trust,
    tls: OnceLock<Result<TlsConnector, String>>,
    timeout: Duration,
    share: Arc<Share>,
}

impl Connector {
    pub(super) fn new(
        policy: Arc<Policy>,
        trust: Trust,
        timeout: Duration,
        share: Arc<Share>,
    ) -> Connector {
        Connector(Arc::new(Inner {
            policy,
            trust,
            tls: OnceLock::new(),
            timeout,
            share,
        }))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, RequestError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = self.0.clone();
        let dial_by = DIAL_BY.try_with(|dial_by| *dial_by).ok();
        Box::pin(async move { inner.connect(&uri, dial_by).await })
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri, dial_by: Option<Instant>) -> Result<Stream, RequestError> {
        let host = uri.host().unwrap_or_default();
        let until = || {
            let own = Instant::now() + self.timeout;
            dial_by.map_or(own, |dial_by| own.min(dial_by))
        };
        let permits = self.share.permits(until()).await?;
        let tcp = self.dial(host, port_of(uri), until()).await?;
        let open = |stream: Box<dyn Bytestream>| Stream::new(stream, &self.share, permits);
        if uri.scheme_str() != Some("https") {
            return Ok(open(Box::new(tcp)));
        }
        let tls = self.tls.get_or_init(|| {
            let config = self.trust.client_config()?;
            Ok(TlsConnector::from(Arc::new(config)))
        });
        let untrusted = |why: String| RequestError::new(Kind::Certificate, why);
        let tls = tls.as_ref().map_err(|why| untrusted(why.clone()))?;
        let name = self.trust.expected_name(host).map_err(untrusted)?;
        match timeout_at(until(), tls.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(open(Box::new(stream))),
            Ok(Err(error)) => Err(RequestError::from_handshake(&error)),
            Err(_) => Err(RequestError::new(
                Kind::ConnectTimeout,
                "the TLS handshake took too long",
            )),
        }
    }

    /// Tries the addresses of a name in turn. Each address gets an equal share of the remaining time, so a black-holed one
    /// cannot starve the rest.
    async fn dial(&self, host: &str, port: u16, until: Instant) -> Result<TcpStream, RequestError> {
        let too_long = |_| RequestError::new(Kind::ConnectTimeout, "connecting took too long");
        let name = host_of(host);
        let addresses = timeout_at(until, self.resolve(name, port))
            .await
            .map_err(too_long)?
            .map_err(|error| RequestError::from_lookup(&error))?;
        let mut last = RequestError::new(Kind::Resolve, format!("{name} has no address"));
        let mut left = addresses.len() as u32;
        for address in addresses {
            let share = until.saturating_duration_since(Instant::now()) / left.max(1);
            left -= 1;
            if let Err(why) = self.policy.check_address(host, address.ip()) {
                last = RequestError::new(Kind::AddressDenied, why);
                continue;
            }
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A request is written in two parts, and Nagle's algorithm would delay the second.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = RequestError::from_dial(&error),
                Err(elapsed) => last = too_long(elapsed),
            }
        }
        Err(last)
    }
}

impl Inner {
    /// The addresses of a name. The system's lookup goes on when nobody waits for it any more, and takes a thread, so a
    /// client makes few at once.
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let permit = self.share.lookup().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let addresses = (name.as_str(), port).to_socket_addrs()?;
            Ok(addresses.collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}

/// A connection, plain or TLS.
pub(super) struct Stream {
    io: TokioIo<Box<dyn Bytestream>>,
    connection: Arc<Connection>,
    /// Runs while the server takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Since when something waits to be taken by the server.
    writing: Option<Instant>,
    shutting_down: Option<Instant>,
    _permits: Permits,
}

/// How long a server may take nothing of what is written. A call has its own, shorter deadline; this ends what goes on
/// after it.
const STALLED: Duration = Duration::from_secs(10);
/// How long a server may take for all of it.
const WRITTEN: Duration = Duration::from_secs(300);
/// How long the last bytes of a connection may take.
const SHUT_DOWN: Duration = Duration::from_secs(5);

impl Stream {
    fn new(stream: Box<dyn Bytestream>, share: &Arc<Share>, permits: Permits) -> Stream {
        Stream {
            io: TokioIo::new(stream),
            connection: Connection::new(share.clone()),
            stalled: None,
            writing: None,
            shutting_down: None,
            _permits: permits,
        }
    }

    /// What a poll of the stream says, or an error if it has been pending for too long.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        until: Instant,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let until = until.min(Instant::now() + STALLED);
        let timer = || Box::pin(tokio::time::sleep_until(until));
        let stalled = self.stalled.get_or_insert_with(timer).as_mut();
        stalled.poll(context).map(|()| {
            let why = "the server does not take what is sent";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.closed();
    }
}

impl connect::Connection for Stream {
    fn connected(&self) -> connect::Connected {
        // A request learns from it which connection it uses.
        connect::Connected::new().extra(self.connection.clone())
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.closes(cx) {
            // As if the server had closed it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.writes();
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.connection.wrote(bytes);
        }
        if polled.is_ready() && self.writing.is_none() {
            return polled;
        }
        let until = *self.writing.get_or_insert_with(Instant::now) + WRITTEN;
        self.within(cx, until, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        if polled.is_ready() {
            (self.writing, self.stalled) = (None, None);
            self.connection.flushed();
            return polled;
        }
        let until = *self.writing.get_or_insert_with(Instant::now) + WRITTEN;
        self.within(cx, until, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        if polled.is_pending() && self.shutting_down.is_none() {
            // The time for the last bytes begins, whatever happened before.
            self.stalled = None;
        }
        let until = *self.shutting_down.get_or_insert_with(Instant::now) + SHUT_DOWN;
        self.within(cx, until, polled)
    }
}
