//! How an operation fails: constructors of the contract's `error`, and what a caller asks of one.

use crate::session::object;
use crate::types::{Error, ErrorKind};
use serde_json::{Map, Value};

/// A parameter that is refused before any request.
pub fn invalid(parameter: &str, message: impl Into<String>) -> Fault {
    failure(ErrorKind::Invalid(parameter.to_owned()), message)
}

/// A failure in which no request was made or none was at fault.
pub fn failure(kind: ErrorKind, message: impl Into<String>) -> Fault {
    Box::new(Error {
        kind,
        message: message.into(),
        exchange: None,
        maybe_applied: false,
    })
}

/// A name as it stands in a message: not longer than a line of it.
pub fn shown(name: &str) -> &str {
    name.get(..name.floor_char_boundary(100)).unwrap_or(name)
}

/// An error on its way to the caller; boxed, as it is large, and every `?` that hands one on is code.
pub type Fault = Box<Error>;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        *fault
    }
}

impl ErrorKind {
    /// The name of the case in kebab-case, as the action door says it.
    pub fn as_str(&self) -> &'static str {
        match self {
            ErrorKind::Invalid(_) => "invalid",
            ErrorKind::Denied => "denied",
            ErrorKind::NotFound => "not-found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Transport => "transport",
            ErrorKind::Tls => "tls",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Other => "other",
        }
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Transport
        )
    }
}

impl Error {
    /// The same error, its message led by what was being done when it happened.
    pub fn context(self, doing: &str) -> Fault {
        Box::new(Error {
            message: format!("{doing}: {}", self.message),
            ..self
        })
    }

    /// The failure object of the action door.
    pub fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("kind".into(), self.kind.as_str().into());
        error.insert("retryable".into(), self.kind.retryable().into());
        if let ErrorKind::Invalid(parameter) = &self.kind {
            error.insert("parameter".into(), parameter.as_str().into());
        }
        if let Some(exchange) = &self.exchange {
            error.insert("method".into(), exchange.method.as_str().into());
            error.insert("path".into(), exchange.path.as_str().into());
            error.insert("status".into(), exchange.status.into());
            error.insert("text".into(), exchange.text.as_str().into());
        }
        error.insert("maybe_applied".into(), self.maybe_applied.into());
        object([
            ("failed", true.into()),
            ("msg", self.message.as_str().into()),
            ("error", error.into()),
        ])
    }
}
