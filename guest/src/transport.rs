//! What the operations need from HTTP. `http.rs` implements it over `wasi:http`; tests bring their own.

use crate::request::Request;
use consul_session_core::Address;

/// Maximum size of a response body: 10,000 sessions take 2.2 MiB, or 3.5 MiB if the agent pretty-prints.
pub const MAX_RESPONSE: usize = 8 << 20;

/// Sends requests.
pub trait Transport {
    /// Sends one request and reads the whole response, up to [`MAX_RESPONSE`].
    fn send(&self, call: &Call<'_>, request: &Request) -> Result<Response, TransportError>;
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
    /// The body.
    pub body: Vec<u8>,
}

/// An error that prevented a response.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportError {
    /// The kind of failure.
    pub kind: TransportErrorKind,
    /// The host's description.
    pub text: String,
    /// Whether the request may have reached the server.
    pub maybe_sent: bool,
}

/// The kinds of failure to get a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The host's policy forbids the request.
    Denied,
    /// Time ran out.
    Timeout,
    /// The TLS handshake failed or the certificate is not trusted.
    Tls,
    /// No connection could be made, or it broke.
    Broken,
    /// The response is not HTTP as Consul speaks it.
    NotHttp,
    /// The host failed in another way.
    Other,
}
