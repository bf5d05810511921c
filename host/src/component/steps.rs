//! The types of the interface `steps` in `wit/embedded.wit`: requests, responses and transport errors.

#![expect(
    dead_code,
    reason = "the types are complete, and only components create some of their cases"
)]

use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Method {
    #[component(name = "get")]
    Get,
    #[component(name = "put")]
    Put,
    #[component(name = "delete")]
    Delete,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Scheme {
    #[component(name = "http")]
    Http,
    #[component(name = "https")]
    Https,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A header of a response.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct ResponseHeader {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Timeouts {
    pub(crate) connect: u64,
    #[component(name = "first-byte")]
    pub(crate) first_byte: u64,
    #[component(name = "between-bytes")]
    pub(crate) between_bytes: u64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) scheme: Scheme,
    pub(crate) authority: String,
    #[component(name = "path-with-query")]
    pub(crate) path_with_query: String,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeouts: Timeouts,
    pub(crate) hold: Option<u64>,
    #[component(name = "max-body")]
    pub(crate) max_body: u64,
    pub(crate) writes: bool,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<ResponseHeader>,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum TransportErrorKind {
    #[component(name = "denied")]
    Denied,
    #[component(name = "address-denied")]
    AddressDenied,
    #[component(name = "unresolved")]
    Unresolved,
    #[component(name = "connect-timeout")]
    ConnectTimeout,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "unreachable")]
    Unreachable,
    #[component(name = "too-many-connections")]
    TooManyConnections,
    #[component(name = "untrusted-certificate")]
    UntrustedCertificate,
    #[component(name = "tls-handshake")]
    TlsHandshake,
    #[component(name = "tls-alert")]
    TlsAlert,
    #[component(name = "write-timeout")]
    WriteTimeout,
    #[component(name = "response-timeout")]
    ResponseTimeout,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "connection-closed")]
    ConnectionClosed,
    #[component(name = "incomplete")]
    Incomplete,
    #[component(name = "headers-too-large")]
    HeadersTooLarge,
    #[component(name = "body-too-large")]
    BodyTooLarge,
    #[component(name = "not-http")]
    NotHttp,
    #[component(name = "unsupported-coding")]
    UnsupportedCoding,
    #[component(name = "misconfigured")]
    Misconfigured,
    #[component(name = "other")]
    Other,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct TransportError {
    pub(crate) kind: TransportErrorKind,
    pub(crate) detail: Option<String>,
    #[component(name = "maybe-sent")]
    pub(crate) maybe_sent: bool,
}
