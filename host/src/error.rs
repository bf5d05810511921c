//! How a call fails.

use crate::bindings::types;
use consul_session_guest::types as guest;
use std::fmt;

pub use types::{ErrorKind, Exchange};

/// A call failed: in Consul, on the way there, in the component, or by the host's own rules.
///
/// Its text says what happened, where and what to do, and never holds a token.
#[derive(Clone)]
pub struct Error(Box<types::Error>);

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::from(types::Error {
            kind,
            message: message.into(),
            exchange: None,
            maybe_applied: false,
        })
    }

    pub(crate) fn invalid(parameter: &str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid(parameter.to_owned()), message)
    }

    /// What went wrong, for programs.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What happened, where, and what to do about it, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP exchange that failed, with Consul's own words, if there was one.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.0.exchange.as_ref()
    }

    /// A write went out and its outcome is not known: look before repeating it.
    pub fn maybe_applied(&self) -> bool {
        self.0.maybe_applied
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn is_retryable(&self) -> bool {
        guest::Error::from(self).kind.retryable()
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// Whether permission is missing, in Consul or in the host's policy.
    pub fn is_denied(&self) -> bool {
        self.0.kind == ErrorKind::Denied
    }

    /// The failure object of the action door.
    pub fn to_json(&self) -> serde_json::Value {
        guest::Error::from(self).to_json()
    }

    /// The same without a secret in its message.
    #[cfg(feature = "cli")]
    pub(crate) fn without(mut self, secret: &str) -> Error {
        self.0.message = crate::client::without(secret, &self.0.message);
        self
    }

    /// Adds what the host knows and the component cannot.
    pub(crate) fn explain(mut self, detail: &str) -> Error {
        self.0.message = explained(&self.0.message, detail);
        self
    }
}

/// A message with the host's detail behind it.
pub(crate) fn explained(message: &str, detail: &str) -> String {
    format!("{message} [{detail}]")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Error {
        Error(Box::new(error))
    }
}

// The guest crate, linked natively for its rules about connection settings, has the same contract from its own bindgen.

impl From<Box<guest::Error>> for Error {
    fn from(error: Box<guest::Error>) -> Error {
        Error::from(types::Error {
            kind: match error.kind {
                guest::ErrorKind::Invalid(parameter) => ErrorKind::Invalid(parameter),
                guest::ErrorKind::Denied => ErrorKind::Denied,
                guest::ErrorKind::NotFound => ErrorKind::NotFound,
                guest::ErrorKind::Conflict => ErrorKind::Conflict,
                guest::ErrorKind::Unavailable => ErrorKind::Unavailable,
                guest::ErrorKind::Timeout => ErrorKind::Timeout,
                guest::ErrorKind::Transport => ErrorKind::Transport,
                guest::ErrorKind::Tls => ErrorKind::Tls,
                guest::ErrorKind::Protocol => ErrorKind::Protocol,
                guest::ErrorKind::Unsupported => ErrorKind::Unsupported,
                guest::ErrorKind::Other => ErrorKind::Other,
            },
            message: error.message,
            exchange: error.exchange.map(|exchange| Exchange {
                method: exchange.method,
                path: exchange.path,
                status: exchange.status,
                text: exchange.text,
            }),
            maybe_applied: error.maybe_applied,
        })
    }
}

impl From<&Error> for guest::Error {
    fn from(error: &Error) -> guest::Error {
        guest::Error {
            kind: match &error.0.kind {
                ErrorKind::Invalid(parameter) => guest::ErrorKind::Invalid(parameter.clone()),
                ErrorKind::Denied => guest::ErrorKind::Denied,
                ErrorKind::NotFound => guest::ErrorKind::NotFound,
                ErrorKind::Conflict => guest::ErrorKind::Conflict,
                ErrorKind::Unavailable => guest::ErrorKind::Unavailable,
                ErrorKind::Timeout => guest::ErrorKind::Timeout,
                ErrorKind::Transport => guest::ErrorKind::Transport,
                ErrorKind::Tls => guest::ErrorKind::Tls,
                ErrorKind::Protocol => guest::ErrorKind::Protocol,
                ErrorKind::Unsupported => guest::ErrorKind::Unsupported,
                ErrorKind::Other => guest::ErrorKind::Other,
            },
            message: error.0.message.clone(),
            exchange: error.0.exchange.as_ref().map(|exchange| guest::Exchange {
                method: exchange.method.clone(),
                path: exchange.path.clone(),
                status: exchange.status,
                text: exchange.text.clone(),
            }),
            maybe_applied: error.0.maybe_applied,
        }
    }
}
