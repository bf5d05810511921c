//! Operations of Consul's API: the one place that decides what a request does.
//!
//! A request is classified by its method, path and query. Unknown requests are refused.

use consul_session_core::session_id;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use std::fmt;

/// An operation of Consul's API that a [`Policy`](crate::Policy) can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Reads sessions: `GET` of `/v1/session/list`, `/v1/session/info/:id` and `/v1/session/node/:name`.
    Read,
    /// Creates a session: `PUT /v1/session/create`.
    Create,
    /// Renews a session: `PUT /v1/session/renew/:id`.
    Renew,
    /// Destroys a session: `PUT /v1/session/destroy/:id`.
    Destroy,
}

/// Every operation on sessions.
pub(super) const SESSION_OPERATIONS: [Operation; 4] = [
    Operation::Read,
    Operation::Create,
    Operation::Renew,
    Operation::Destroy,
];

/// The query parameters that these operations take. `token` is not among them: Consul would prefer it to the header that
/// the host sets.
const QUERY_PARAMETERS: [&str; 9] = [
    "dc",
    "ns",
    "partition",
    "consistent",
    "stale",
    "cached",
    "index",
    "wait",
    "pretty",
];

impl Operation {
    /// The operation's name in error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Create => "create",
            Operation::Renew => "renew",
            Operation::Destroy => "destroy",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the operation of a request. The error says why the request is not a known one.
pub(super) fn classify(method: &Method, uri: &Uri) -> Result<Operation, String> {
    let path = uri.path();
    let endpoint = path.strip_prefix("/v1/session/").unwrap_or_default();
    let (endpoint, argument) = match endpoint.split_once('/') {
        Some((endpoint, argument)) => (endpoint, Some(argument)),
        None => (endpoint, None),
    };
    let operation = match (method, endpoint, argument) {
        (&Method::GET, "list", None) => Some(Operation::Read),
        (&Method::GET, "info", Some(id)) if is_id(id) => Some(Operation::Read),
        (&Method::GET, "node", Some(name)) if is_name(name) => Some(Operation::Read),
        (&Method::PUT, "create", None) => Some(Operation::Create),
        (&Method::PUT, "renew", Some(id)) if is_id(id) => Some(Operation::Renew),
        (&Method::PUT, "destroy", Some(id)) if is_id(id) => Some(Operation::Destroy),
        _ => None,
    };
    let operation = operation.ok_or_else(|| {
        format!("{method} {path} is not an operation on sessions, and nothing else is allowed")
    })?;
    match uri.query().and_then(|query| unknown_parameter(query, &[])) {
        None => Ok(operation),
        Some(name) => Err(format!("the query parameter `{name}` is not allowed")),
    }
}

/// A UUID needs no encoding, so none is accepted.
fn is_id(segment: &str) -> bool {
    session_id::is_well_formed(segment)
}

/// A percent-encoded name that no server resolves to another path: after decoding, none of its segments is empty or
/// consists of dots.
pub(super) fn is_name(segment: &str) -> bool {
    if segment.contains('/') {
        return false;
    }
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    // Decoded a second time, as a proxy may do.
    let twice = percent_decode_str(&decoded).decode_utf8_lossy();
    [&decoded, &twice].into_iter().all(|name| {
        !name.contains(['\\', '\0', '\r', '\n'])
            && name
                .split('/')
                .all(|segment| !matches!(segment, "" | "." | ".."))
    })
}

/// The first query parameter that is neither known nor one of `more`, under any encoding of its name. Some servers also
/// separate by `;`.
pub(super) fn unknown_parameter(query: &str, more: &[&str]) -> Option<String> {
    query
        .split(['&', ';'])
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned())
        .find(|name| !QUERY_PARAMETERS.contains(&name.as_str()) && !more.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";

    #[test]
    fn classifies_requests() {
        use Operation::{Create, Destroy, Read, Renew};
        for (method, path, expected) in [
            (Method::GET, "/v1/session/list".to_owned(), Some(Read)),
            (
                Method::GET,
                "/v1/session/list?dc=x&consistent".to_owned(),
                Some(Read),
            ),
            (
                Method::GET,
                "/v1/session/list?dc=token".to_owned(),
                Some(Read),
            ),
            (Method::GET, format!("/v1/session/info/{ID}"), Some(Read)),
            (
                Method::GET,
                "/v1/session/node/a%2Fb?dc=x".to_owned(),
                Some(Read),
            ),
            (
                Method::PUT,
                "/v1/session/create?ns=a".to_owned(),
                Some(Create),
            ),
            (Method::PUT, format!("/v1/session/renew/{ID}"), Some(Renew)),
            (
                Method::PUT,
                format!("/v1/session/destroy/{ID}"),
                Some(Destroy),
            ),
            // Other methods.
            (Method::DELETE, "/v1/session/list".to_owned(), None),
            (Method::PUT, "/v1/session/list".to_owned(), None),
            (Method::GET, "/v1/session/create".to_owned(), None),
            (Method::GET, format!("/v1/session/destroy/{ID}"), None),
            (Method::POST, "/v1/session/create".to_owned(), None),
            // Other paths.
            (Method::GET, "/v1/agent/self".to_owned(), None),
            (Method::GET, "/v1/acl/tokens".to_owned(), None),
            (Method::PUT, "/v1/kv/a?acquire=x".to_owned(), None),
            (Method::PUT, "/v1/txn".to_owned(), None),
            (Method::GET, "/v1/session".to_owned(), None),
            (Method::GET, "/v1/session/".to_owned(), None),
            (Method::GET, "/v1/session/list/".to_owned(), None),
            (Method::GET, "/v1/session/lis%74".to_owned(), None),
            // Paths that a server may resolve to others.
            (Method::GET, "/v1/session/../agent/self".to_owned(), None),
            (
                Method::GET,
                "/v1/session/%2e%2E/agent/self".to_owned(),
                None,
            ),
            (Method::GET, "/v1/session/node/..%2fagent".to_owned(), None),
            (
                Method::GET,
                "/v1/session/node/%252e%252e%252fagent".to_owned(),
                None,
            ),
            (Method::GET, "/v1/session/node/a%5c..".to_owned(), None),
            (Method::GET, "/v1/session/node/%2e".to_owned(), None),
            (Method::GET, "/v1/session//info".to_owned(), None),
            (Method::GET, "/v1/session/node/".to_owned(), None),
            (Method::GET, "/v1/session/info/x".to_owned(), None),
            (Method::PUT, format!("/v1/session/destroy/{ID}%2f"), None),
            // Queries.
            (
                Method::GET,
                "/v1/session/list?dc=x&token=y".to_owned(),
                None,
            ),
            (Method::GET, "/v1/session/list?%74oke%6e=y".to_owned(), None),
            (
                Method::GET,
                "/v1/session/list?dc=a;token=y".to_owned(),
                None,
            ),
            (Method::GET, "/v1/session/list?TOKEN=y".to_owned(), None),
            (Method::GET, "/v1/session/list?filter=y".to_owned(), None),
        ] {
            let uri: Uri = format!("http://h:1{path}").parse().unwrap();
            assert_eq!(classify(&method, &uri).ok(), expected, "{method} {path}");
        }
    }
}
