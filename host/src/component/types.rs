//! The types of `wit/types.wit` that operations take and return.

use crate::error::{Error, ErrorKind, Exchange};
use crate::outcome::MAX_FAILURE;
use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Agent {
    pub(crate) address: String,
    pub(crate) token: Option<String>,
    pub(crate) datacenter: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) timeout: Option<u64>,
}

#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Behavior {
    #[component(name = "release")]
    Release,
    #[component(name = "delete")]
    Delete,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct ServiceCheck {
    pub(crate) id: String,
    pub(crate) namespace: Option<String>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) node: String,
    #[component(name = "lock-delay")]
    pub(crate) lock_delay: i64,
    pub(crate) behavior: Behavior,
    pub(crate) ttl: Option<u64>,
    #[component(name = "node-checks")]
    pub(crate) node_checks: Vec<String>,
    #[component(name = "service-checks")]
    pub(crate) service_checks: Vec<ServiceCheck>,
    pub(crate) checks: Vec<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) partition: Option<String>,
    #[component(name = "create-index")]
    pub(crate) create_index: u64,
    #[component(name = "modify-index")]
    pub(crate) modify_index: u64,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct NewSession {
    pub(crate) name: Option<String>,
    pub(crate) node: Option<String>,
    #[component(name = "lock-delay")]
    pub(crate) lock_delay: Option<u64>,
    pub(crate) behavior: Option<Behavior>,
    pub(crate) ttl: Option<u64>,
    #[component(name = "node-checks")]
    pub(crate) node_checks: Option<Vec<String>>,
    #[component(name = "service-checks")]
    pub(crate) service_checks: Option<Vec<ServiceCheck>>,
    pub(crate) checks: Option<Vec<String>>,
}

impl NewSession {
    /// The size of its strings and lists in bytes, roughly.
    pub(crate) fn size(&self) -> usize {
        const ELEMENT: usize = 16;
        let string = |string: &Option<String>| string.as_ref().map_or(0, String::len);
        let strings = |list: &Option<Vec<String>>| {
            list.iter()
                .flatten()
                .map(|item| item.len() + ELEMENT)
                .sum::<usize>()
        };
        let checks = self.service_checks.iter().flatten();
        string(&self.name)
            + string(&self.node)
            + strings(&self.node_checks)
            + strings(&self.checks)
            + checks
                .map(|check| check.id.len() + string(&check.namespace) + ELEMENT)
                .sum::<usize>()
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Listing {
    pub(crate) sessions: Vec<Session>,
    pub(crate) filtered: bool,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum OnDifference {
    #[component(name = "refuse")]
    Refuse,
    #[component(name = "recreate")]
    Recreate,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Ensured {
    pub(crate) session: Session,
    pub(crate) created: bool,
    pub(crate) replaced: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum FailureKind {
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "denied")]
    Denied,
    #[component(name = "not-found")]
    NotFound,
    #[component(name = "conflict")]
    Conflict,
    #[component(name = "unavailable")]
    Unavailable,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "transport")]
    Transport,
    #[component(name = "tls")]
    Tls,
    #[component(name = "protocol")]
    Protocol,
    #[component(name = "unsupported")]
    Unsupported,
    #[component(name = "other")]
    Other,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct FailedExchange {
    method: String,
    path: String,
    status: Option<u16>,
    text: String,
}

/// The WIT record `error`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Failure {
    kind: FailureKind,
    message: String,
    exchange: Option<FailedExchange>,
    #[component(name = "maybe-applied")]
    maybe_applied: bool,
}

impl Failure {
    /// The size of its texts in bytes.
    fn size(&self) -> usize {
        let parameter = match &self.kind {
            FailureKind::Invalid(parameter) => parameter.len(),
            _ => 0,
        };
        let exchange = self.exchange.as_ref();
        let exchange = exchange.map_or(0, |exchange| {
            exchange.method.len() + exchange.path.len() + exchange.text.len()
        });
        self.message.len() + parameter + exchange
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        if failure.size() > MAX_FAILURE {
            let message = "the component returned an error of more than 64 KiB";
            let error = Error::new(ErrorKind::Other, message);
            return error.with_maybe_applied(failure.maybe_applied);
        }
        let kind = match failure.kind {
            FailureKind::Invalid(parameter) => ErrorKind::Invalid(parameter),
            FailureKind::Denied => ErrorKind::Denied,
            FailureKind::NotFound => ErrorKind::NotFound,
            FailureKind::Conflict => ErrorKind::Conflict,
            FailureKind::Unavailable => ErrorKind::Unavailable,
            FailureKind::Timeout => ErrorKind::Timeout,
            FailureKind::Transport => ErrorKind::Transport,
            FailureKind::Tls => ErrorKind::Tls,
            FailureKind::Protocol => ErrorKind::Protocol,
            FailureKind::Unsupported => ErrorKind::Unsupported,
            FailureKind::Other => ErrorKind::Other,
        };
        let error = Error::new(kind, failure.message).with_maybe_applied(failure.maybe_applied);
        match failure.exchange {
            None => error,
            Some(exchange) => {
                let request = Exchange::new(exchange.method, exchange.path);
                error.with_exchange(match exchange.status {
                    Some(status) => request.answered(status, exchange.text),
                    None => request,
                })
            }
        }
    }
}
