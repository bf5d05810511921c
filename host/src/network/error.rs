//! Why a request failed: the kind that the component sees, and the detail that only the host knows.

use super::tls_error;
use consul_session_core::descriptors;
use rustls::AlertDescription;
use std::error::Error as StdError;
use std::fmt;
use std::io;

/// A failed request.
#[derive(Debug)]
pub(crate) struct RequestError {
    kind: Kind,
    /// The reason, for people.
    detail: String,
}

/// The kinds of failure, each with a code of its own in `wasi:http` and a case of its own in `wit/embedded.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The component's request is not HTTP.
    Malformed,
    Denied,
    TooMany,
    AddressDenied,
    Resolve,
    ConnectTimeout,
    Refused,
    Unreachable,
    Certificate,
    Handshake,
    Alert,
    ReadTimeout,
    Terminated,
    Incomplete,
    TooLarge,
    NotHttp,
    Internal,
}

impl RequestError {
    /// The component has too many requests under way.
    pub(crate) fn too_many() -> RequestError {
        RequestError::new(Kind::TooMany, "too many requests at once")
    }

    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> RequestError {
        RequestError {
            kind,
            detail: detail.into(),
        }
    }

    /// The error of the pooled client: the connector's own, or hyper's.
    pub(super) fn from_client(error: hyper_util::client::legacy::Error) -> RequestError {
        let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(current) = source {
            if let Some(error) = current.downcast_ref::<RequestError>() {
                return RequestError::new(error.kind, error.detail.clone());
            }
            if let Some(error) = current.downcast_ref::<hyper::Error>() {
                return RequestError::from_hyper(error);
            }
            source = current.source();
        }
        RequestError::new(Kind::Internal, error.to_string())
    }

    pub(super) fn from_hyper(error: &hyper::Error) -> RequestError {
        let mut source = error.source();
        while let Some(current) = source {
            if let Some(error) = current.downcast_ref::<io::Error>() {
                return RequestError::from_io(error);
            }
            source = current.source();
        }
        let kind = if error.is_incomplete_message() {
            Kind::Incomplete
        } else if error.is_parse() {
            Kind::NotHttp
        } else if error.is_closed() || error.is_canceled() || error.is_body_write_aborted() {
            Kind::Terminated
        } else {
            Kind::Internal
        };
        RequestError::new(kind, error.to_string())
    }

    /// An error of an open connection, plain or TLS. A request may have been sent on it. The exception is a server that
    /// rejects the client's certificate: under TLS 1.3 its alert arrives after the client's side of the handshake, but
    /// before the server reads a request.
    fn from_io(error: &io::Error) -> RequestError {
        match tls_error::tls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) if tls_error::rejects_client(*alert) => {
                RequestError::from_alert(*alert)
            }
            None if error.kind() == io::ErrorKind::TimedOut => {
                RequestError::new(Kind::ReadTimeout, error.to_string())
            }
            _ => RequestError::new(Kind::Terminated, error.to_string()),
        }
    }

    /// An error while resolving a name. Without descriptors, the system says that it does not know the name.
    pub(super) fn from_lookup(error: &io::Error) -> RequestError {
        if out_of_descriptors() {
            return RequestError::new(Kind::TooMany, OUT_OF_DESCRIPTORS);
        }
        RequestError::new(Kind::Resolve, error.to_string())
    }

    /// An error while connecting to an address.
    pub(super) fn from_dial(error: &io::Error) -> RequestError {
        if descriptors::is_lack(error) {
            return RequestError::new(Kind::TooMany, OUT_OF_DESCRIPTORS);
        }
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::TimedOut => Kind::ConnectTimeout,
            _ => Kind::Unreachable,
        };
        RequestError::new(kind, error.to_string())
    }

    /// An error during the TLS handshake.
    pub(super) fn from_handshake(error: &io::Error) -> RequestError {
        match tls_error::tls_error(error) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                RequestError::new(Kind::Certificate, tls_error::certificate(reason))
            }
            Some(rustls::Error::AlertReceived(alert)) => RequestError::from_alert(*alert),
            Some(other) => RequestError::new(Kind::Handshake, tls_error::handshake(other)),
            None => RequestError::new(
                Kind::Handshake,
                format!("the server closed the connection during the handshake: {error}"),
            ),
        }
    }

    fn from_alert(alert: AlertDescription) -> RequestError {
        RequestError::new(Kind::Alert, tls_error::alert(alert))
    }

    /// Whether the server cannot have seen the request.
    pub(crate) fn is_before_sending(&self) -> bool {
        match self.kind {
            Kind::Malformed
            | Kind::Denied
            | Kind::TooMany
            | Kind::AddressDenied
            | Kind::Resolve
            | Kind::ConnectTimeout
            | Kind::Refused
            | Kind::Unreachable
            | Kind::Certificate
            | Kind::Handshake
            | Kind::Alert => true,
            Kind::ReadTimeout
            | Kind::Terminated
            | Kind::Incomplete
            | Kind::TooLarge
            | Kind::NotHttp
            | Kind::Internal => false,
        }
    }

    /// The kind of failure.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The detail, if the component does not see it. The codes of `wasi:http` carry few details, and a component must
    /// not see what it could use to explore the network.
    pub(crate) fn hidden_detail(&self) -> Option<&str> {
        match self.kind {
            Kind::Denied
            | Kind::TooMany
            | Kind::AddressDenied
            | Kind::ConnectTimeout
            | Kind::Certificate
            | Kind::Handshake
            | Kind::NotHttp => Some(&self.detail),
            _ => None,
        }
    }

    /// The detail, if the component sees it.
    pub(crate) fn visible_detail(&self) -> Option<&str> {
        match self.kind {
            Kind::Malformed | Kind::Resolve | Kind::Alert | Kind::Internal => Some(&self.detail),
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl StdError for RequestError {}

/// The message when no descriptor is left.
pub(crate) const OUT_OF_DESCRIPTORS: &str =
    "this process may open no more files or connections; raise its limit (`ulimit -n`)";

/// Whether there are fewer descriptors left than looking up a name takes.
pub(crate) fn out_of_descriptors() -> bool {
    descriptors::lack(3).is_some()
}
