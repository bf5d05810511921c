//! What the operations need from HTTP. `http.rs` is the one implementation over `wasi:http`; tests bring their own.

use crate::connection::Address;
use crate::request::Request;

/// How much of an answer is read: 10,000 sessions take 2.2 MiB, 3.5 if the agent prints them for people.
pub const MAX_ANSWER: usize = 8 << 20;

/// Sends requests.
pub trait Transport {
    /// Sends one request and reads the whole answer, up to [`MAX_ANSWER`].
    fn send(&self, call: &Call<'_>, request: &Request) -> Result<Answer, Breach>;
}

/// What the requests of one call have in common.
pub struct Call<'a> {
    /// Where to.
    pub address: &'a Address,
    /// In whose name; none where the host injects the token.
    pub token: Option<&'a str>,
    /// How long to wait for a connection and for each part of the answer, in nanoseconds.
    pub timeout: u64,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// The header `Location`.
    pub location: Option<String>,
    /// The header `X-Consul-Results-Filtered-By-ACLs` says true.
    pub filtered: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// The kind of failure.
    pub kind: BreachKind,
    /// The host's words for it.
    pub text: String,
    /// Whether the request may have reached the server.
    pub maybe_sent: bool,
}

/// The kinds of failure to get an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreachKind {
    /// The host's policy forbids the request.
    Denied,
    /// Time ran out.
    Timeout,
    /// No trust.
    Tls,
    /// No connection, or it broke.
    Broken,
    /// What came back is not HTTP as Consul speaks it.
    NotHttp,
    /// The host failed in another way.
    Other,
}
