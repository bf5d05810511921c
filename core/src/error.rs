//! The error of every operation, and its JSON form: the failure object of the action interface.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error from Consul, the network, the component or the host's policy.
///
/// The message says what happened, where, and what to do. Neither it nor the exchange contains a token.
///
/// Only this project creates errors: the constructors are hidden, and may change in any release.
///
/// An error serializes to the failure object of the action interface:
///
/// ```
/// # use consul_session_core::Error;
/// let error = Error::invalid("ttl", "`ttl` must be 10 seconds to 24 hours");
/// assert_eq!(
///     serde_json::to_string(&error).unwrap(),
///     r#"{"failed":true,"msg":"`ttl` must be 10 seconds to 24 hours","error":{"kind":"invalid","retryable":false,"parameter":"ttl","maybe_applied":false}}"#
/// );
/// ```
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    exchange: Option<Exchange>,
    maybe_applied: bool,
}

/// What went wrong, for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named parameter is wrong, according to this library or to Consul.
    Invalid(String),
    /// Permission is missing: Consul's ACL, a list that Consul filtered, or the host's policy.
    Denied,
    /// The session, node, check or datacenter does not exist.
    NotFound,
    /// A session of this name exists with other attributes, or several share the name where one is needed.
    Conflict,
    /// Consul cannot serve the request now: no leader, another 5xx status, or 429.
    Unavailable,
    /// No response arrived in time.
    Timeout,
    /// No connection could be made, or it broke.
    Transport,
    /// The TLS handshake failed, a certificate is not trusted, or the scheme is wrong.
    Tls,
    /// The response is not Consul's: a redirect, HTML, broken JSON, or too large.
    Protocol,
    /// This host or this Consul does not support the operation.
    Unsupported,
    /// Anything else.
    Other,
}

/// The HTTP exchange that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exchange {
    /// The HTTP method.
    pub method: String,
    /// The path with its query, as sent.
    pub path: String,
    /// The HTTP status, or none if no response arrived.
    pub status: Option<u16>,
    /// What Consul said, shortened to 1 KiB; empty if it said nothing.
    pub text: String,
}

impl Exchange {
    /// A request that got no response.
    #[doc(hidden)]
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Exchange {
        Exchange {
            method: method.into(),
            path: path.into(),
            status: None,
            text: String::new(),
        }
    }

    /// The same exchange with the status and text of its response.
    #[doc(hidden)]
    #[must_use]
    pub fn answered(self, status: u16, text: impl Into<String>) -> Exchange {
        Exchange {
            status: Some(status),
            text: text.into(),
            ..self
        }
    }
}

impl ErrorKind {
    /// Every kind; `Invalid` without a parameter.
    #[doc(hidden)]
    pub const ALL: [ErrorKind; 11] = [
        ErrorKind::Invalid(String::new()),
        ErrorKind::Denied,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Transport,
        ErrorKind::Tls,
        ErrorKind::Protocol,
        ErrorKind::Unsupported,
        ErrorKind::Other,
    ];

    /// The kind's name in kebab-case, as in the WIT package and in the failure object.
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

    /// Returns whether the same call may succeed later with nothing changed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Transport
        )
    }
}

impl Error {
    /// An error outside of any HTTP exchange.
    #[doc(hidden)]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            exchange: None,
            maybe_applied: false,
        }))
    }

    /// A parameter refused before any request.
    #[doc(hidden)]
    pub fn invalid(parameter: &str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid(parameter.to_owned()), message)
    }

    /// Returns what went wrong, for programs.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns the message for people: what failed, where, and what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the HTTP exchange that failed, if a request was made.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.0.exchange.as_ref()
    }

    /// Returns whether a write was sent whose outcome is unknown. Check before you retry.
    pub fn maybe_applied(&self) -> bool {
        self.0.maybe_applied
    }

    /// Returns whether the same call may succeed later with nothing changed.
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// Returns whether a parameter is wrong.
    pub fn is_invalid(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Invalid(_))
    }

    /// Returns whether permission is missing, in Consul or in the host's policy.
    pub fn is_denied(&self) -> bool {
        self.0.kind == ErrorKind::Denied
    }

    /// Returns whether the session, node, check or datacenter does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Returns whether time ran out.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// Sets the exchange that failed.
    #[doc(hidden)]
    #[must_use]
    pub fn with_exchange(mut self, exchange: Exchange) -> Error {
        self.0.exchange = Some(exchange);
        self
    }

    /// Sets whether a write of unknown outcome went out.
    #[doc(hidden)]
    #[must_use]
    pub fn with_maybe_applied(mut self, maybe_applied: bool) -> Error {
        self.0.maybe_applied = maybe_applied;
        self
    }

    /// Prefixes the message with the operation that failed.
    #[doc(hidden)]
    #[must_use]
    pub fn context(self, doing: &str) -> Error {
        let message = format!("{doing}: {}", self.0.message);
        self.with_message(message)
    }

    /// Appends a detail to the message, in brackets.
    #[doc(hidden)]
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Error {
        let message = format!("{} [{detail}]", self.0.message);
        self.with_message(message)
    }

    /// Replaces the message.
    #[doc(hidden)]
    #[must_use]
    pub fn with_message(mut self, message: String) -> Error {
        self.0.message = message;
        self
    }

    /// Rewrites every text that may come from outside: the message, the parameter, and the path and text of the exchange.
    #[doc(hidden)]
    #[must_use]
    pub fn map_texts(mut self, rewrite: impl Fn(&str) -> String) -> Error {
        self.0.message = rewrite(&self.0.message);
        if let ErrorKind::Invalid(parameter) = &mut self.0.kind {
            *parameter = rewrite(parameter);
        }
        if let Some(exchange) = &mut self.0.exchange {
            exchange.path = rewrite(&exchange.path);
            exchange.text = rewrite(&exchange.text);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("message", &inner.message)
            .field("exchange", &inner.exchange)
            .field("maybe_applied", &inner.maybe_applied)
            .finish()
    }
}

impl std::error::Error for Error {}

/// The failure object.
#[derive(Serialize)]
struct Failure<'a> {
    failed: bool,
    msg: &'a str,
    error: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    kind: &'static str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(flatten)]
    exchange: Option<&'a Exchange>,
    maybe_applied: bool,
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let inner = &self.0;
        let parameter = match &inner.kind {
            ErrorKind::Invalid(parameter) => Some(parameter.as_str()),
            _ => None,
        };
        Failure {
            failed: true,
            msg: &inner.message,
            error: Details {
                kind: inner.kind.as_str(),
                retryable: inner.kind.is_retryable(),
                parameter,
                exchange: inner.exchange.as_ref(),
                maybe_applied: inner.maybe_applied,
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Error, D::Error> {
        #[derive(Deserialize)]
        struct Failure {
            msg: String,
            error: Details,
        }
        #[derive(Deserialize)]
        struct Details {
            kind: String,
            #[serde(default)]
            parameter: String,
            method: Option<String>,
            #[serde(default)]
            path: String,
            status: Option<u16>,
            #[serde(default)]
            text: String,
            maybe_applied: bool,
        }
        let Failure { msg, error } = Failure::deserialize(deserializer)?;
        let known = ErrorKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == error.kind);
        let kind = match known {
            Some(ErrorKind::Invalid(_)) => ErrorKind::Invalid(error.parameter),
            Some(kind) => kind,
            // A newer component may know more kinds.
            None => ErrorKind::Other,
        };
        Ok(Error(Box::new(Inner {
            kind,
            message: msg,
            exchange: error.method.map(|method| Exchange {
                method,
                path: error.path,
                status: error.status,
                text: error.text,
            }),
            maybe_applied: error.maybe_applied,
        })))
    }
}

/// Truncates a name to 100 bytes for a message.
pub fn shown(name: &str) -> &str {
    name.get(..name.floor_char_boundary(100)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips() {
        let exchange = Exchange::new("PUT", "/v1/session/create");
        for kind in ErrorKind::ALL {
            for exchange in [
                None,
                Some(exchange.clone()),
                Some(exchange.clone().answered(500, "No cluster leader")),
            ] {
                let mut error = Error::new(kind.clone(), "why").with_maybe_applied(true);
                if let Some(exchange) = exchange {
                    error = error.with_exchange(exchange);
                }
                let json = serde_json::to_string(&error).unwrap();
                assert_eq!(serde_json::from_str::<Error>(&json).unwrap(), error);
            }
        }
        let json =
            serde_json::to_string(&Error::new(ErrorKind::Timeout, "t").with_exchange(exchange));
        assert_eq!(
            json.unwrap(),
            r#"{"failed":true,"msg":"t","error":{"kind":"timeout","retryable":true,"method":"PUT","path":"/v1/session/create","status":null,"text":"","maybe_applied":false}}"#
        );
    }
}
