//! What the operations need from HTTP. `http.rs` implements it over `wasi:http`, and `steps.rs` for hosts that send the
//! requests themselves; tests bring their own.

use crate::request::{Method, Request};
use consul_session_core::Address;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Maximum size of a response body: 10,000 sessions take 2.2 MiB, or 3.5 MiB if the agent pretty-prints.
pub const MAX_RESPONSE: usize = 8 << 20;

/// Sends requests.
pub trait Transport {
    /// Sends one request and reads the whole response, up to [`MAX_RESPONSE`].
    fn send(
        &self,
        call: &Call<'_>,
        request: &Request,
    ) -> impl Future<Output = Result<Response, TransportError>>;
}

/// Runs an operation over a transport that blocks: its futures are ready at once.
///
/// # Panics
///
/// Panics if a future is not ready.
pub fn block_on<F: Future>(operation: F) -> F::Output {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the transport blocks"),
    }
}

/// What the requests of one call have in common.
pub struct Call<'a> {
    /// Where to send them.
    pub address: &'a Address,
    /// The token to send, or none if the host injects one.
    pub token: Option<&'a str>,
    /// The timeout for connecting and for each part of the response, in nanoseconds.
    pub timeout: u64,
}

/// The timeout for the first byte of the response, in nanoseconds. Consul holds a response back for up to a sixteenth
/// longer than it was asked to.
pub fn first_byte_timeout(call: &Call<'_>, request: &Request) -> u64 {
    let hold = request.hold.unwrap_or(0);
    call.timeout.saturating_add(hold).saturating_add(hold / 16)
}

impl Call<'_> {
    /// The headers of a request.
    pub fn headers(&self, request: &Request) -> Vec<(&'static str, String)> {
        let mut headers = vec![("accept", "application/json".to_owned())];
        if let Some(token) = self.token {
            headers.push(("x-consul-token", token.to_owned()));
        }
        if request.method == Method::Put {
            // Without it, Consul ignores the body and creates a default session.
            headers.push(("content-length", request.body.len().to_string()));
            if !request.body.is_empty() {
                headers.push(("content-type", "application/json".to_owned()));
            }
        }
        headers
    }
}

/// A response, whatever its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// The header `Location`.
    pub location: Option<String>,
    /// Whether the header `X-Consul-Results-Filtered-By-ACLs` is `true`.
    pub filtered: bool,
    /// The header `X-Consul-Index`.
    pub index: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response with these headers. Of headers that occur more than once, the first counts.
    pub fn new<N: AsRef<str>>(
        status: u16,
        headers: impl IntoIterator<Item = (N, String)>,
        body: Vec<u8>,
    ) -> Response {
        let mut response = Response {
            status,
            body,
            ..Response::default()
        };
        for (name, value) in headers {
            let place = match name.as_ref() {
                name if name.eq_ignore_ascii_case("content-type") => &mut response.content_type,
                name if name.eq_ignore_ascii_case("content-encoding") => {
                    &mut response.content_encoding
                }
                name if name.eq_ignore_ascii_case("location") => &mut response.location,
                name if name.eq_ignore_ascii_case("x-consul-index") => {
                    response.index = response.index.or(value.parse().ok());
                    continue;
                }
                name => {
                    response.filtered |= name
                        .eq_ignore_ascii_case("x-consul-results-filtered-by-acls")
                        && value.eq_ignore_ascii_case("true");
                    continue;
                }
            };
            place.get_or_insert(value);
        }
        response
    }
}

/// An error that prevented a response.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportError {
    /// The kind of failure.
    pub kind: TransportErrorKind,
    /// What the kind does not say: the host's own words.
    pub detail: Option<String>,
    /// Whether the request may have reached the server.
    pub maybe_sent: bool,
}

/// The kinds of failure to get a response. `wit/embedded.wit` describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented where hosts read it")]
pub enum TransportErrorKind {
    Denied,
    AddressDenied,
    Unresolved,
    ConnectTimeout,
    ConnectionRefused,
    Unreachable,
    TooManyConnections,
    UntrustedCertificate,
    TlsHandshake,
    TlsAlert,
    WriteTimeout,
    ResponseTimeout,
    Timeout,
    ConnectionClosed,
    Incomplete,
    HeadersTooLarge,
    BodyTooLarge,
    NotHttp,
    UnsupportedCoding,
    Misconfigured,
    Other,
}

impl TransportError {
    /// The failure as a phrase for people, with the first line of the host's detail.
    pub fn description(&self) -> String {
        use TransportErrorKind as Kind;
        let description = match self.kind {
            Kind::Denied => "request denied",
            Kind::AddressDenied => "destination address not allowed",
            Kind::Unresolved => "cannot resolve the name",
            Kind::ConnectTimeout => "could not connect in time",
            Kind::ConnectionRefused => "connection refused",
            Kind::Unreachable => "destination unavailable",
            Kind::TooManyConnections => "too many connections",
            Kind::UntrustedCertificate => "the server's certificate is not trusted",
            Kind::TlsHandshake => "TLS handshake failed",
            Kind::TlsAlert => "the server aborted the TLS handshake",
            Kind::WriteTimeout => "the server took too long to read the request",
            Kind::ResponseTimeout => "the server took too long to respond",
            Kind::Timeout => "connecting or waiting took too long",
            Kind::ConnectionClosed => "connection closed by the server",
            Kind::Incomplete => "the response ended too early",
            Kind::HeadersTooLarge => "the response's headers are too large",
            Kind::BodyTooLarge => "the response is too large",
            Kind::NotHttp => "the server closed the connection early or does not speak HTTP",
            Kind::UnsupportedCoding => "unsupported transfer or content coding",
            Kind::Misconfigured => "the host is misconfigured",
            Kind::Other => "internal error of the host",
        };
        let detail = self.detail.as_deref().and_then(|text| text.lines().next());
        match detail {
            Some(detail) => format!("{description}: {detail}"),
            None => description.to_owned(),
        }
    }
}
