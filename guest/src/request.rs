//! Where a parameter becomes a request: the method, path, query and body of every operation.
//!
//! Nothing reaches a path unchecked: an id must be a UUID, a node's name is percent-encoded, and so is a key, of which none
//! is accepted that Consul would rewrite.

use crate::lock_types::Wait;
use crate::session::create_body;
use crate::transaction::{self, Step};
use crate::types::{Agent, NewSession};
use consul_session_core::duration::{MILLISECOND, SECOND};
use consul_session_core::error::shown;
use consul_session_core::{Error, Result, key, session_id};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// Everything except the unreserved characters of RFC 3986.
const ENCODED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same for keys, whose slashes stay.
const ENCODED_KEY: AsciiSet = ENCODED.remove(b'/');

/// The TTLs that Consul accepts unless configured otherwise (`session_ttl_min`), in nanoseconds.
const TTL: std::ops::RangeInclusive<u64> = 10 * SECOND..=86_400 * SECOND;

/// Maximum length of a name in bytes. Consul accepts more, but a component of bounded memory might not.
const MAX_NAME: usize = 4 << 20;

/// Maximum length of a node's name in bytes. A DNS name has 253.
const MAX_NODE: usize = 4 << 10;

/// The longest time that Consul holds a response back, in nanoseconds.
const MAX_WAIT: u64 = 600 * SECOND;

/// The longest lock delay that Consul applies, whatever it stores, in nanoseconds.
const MAX_LOCK_DELAY: u64 = 60 * SECOND;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Writes.
    Put,
}

impl Method {
    /// The method as written in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
        }
    }
}

/// A request to Consul.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The body. A PUT without one is sent with `Content-Length: 0`.
    pub body: Vec<u8>,
    /// What the request is for, as a phrase that follows "cannot" in errors.
    pub purpose: String,
    /// How long Consul may hold the response back, in nanoseconds.
    pub hold: Option<u64>,
}

impl Request {
    /// The permissions that the request needs, for an error.
    pub fn permissions(&self) -> &'static str {
        if self.path.starts_with("/v1/session") {
            "the token needs session:read on the session's node, and session:write to change anything"
        } else {
            "the token needs key:read on the key, and key:write to change anything"
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Consul's default: the leader responds without confirming its leadership.
    Default,
    /// The leader first confirms its leadership. For reads that a write depends on.
    Consistent,
}

/// Creates a session.
pub fn create(agent: &Agent, new: &NewSession) -> Result<Request> {
    check(new)?;
    let purpose = match &new.name {
        Some(name) => format!("create the session `{}`", shown(name)),
        None => "create the session".to_owned(),
    };
    Ok(Request {
        method: Method::Put,
        path: path(agent, "/v1/session/create", Consistency::Default),
        body: create_body(new).to_string().into_bytes(),
        purpose,
        hold: None,
    })
}

/// Destroys a session.
pub fn destroy(agent: &Agent, id: &str) -> Result<Request> {
    by_id(
        agent,
        Method::Put,
        "destroy",
        id,
        Consistency::Default,
        "destroy the session",
    )
}

/// Reads a session.
pub fn info(agent: &Agent, id: &str, consistency: Consistency) -> Result<Request> {
    by_id(
        agent,
        Method::Get,
        "info",
        id,
        consistency,
        "look up the session",
    )
}

/// Renews a session.
pub fn renew(agent: &Agent, id: &str) -> Result<Request> {
    by_id(
        agent,
        Method::Put,
        "renew",
        id,
        Consistency::Default,
        "renew the session",
    )
}

/// Lists the sessions of a node.
pub fn node(agent: &Agent, name: &str, consistency: Consistency) -> Result<Request> {
    check_node("node", name)?;
    let encoded = utf8_percent_encode(name, &ENCODED);
    Ok(Request {
        method: Method::Get,
        path: path(agent, &format!("/v1/session/node/{encoded}"), consistency),
        body: Vec::new(),
        purpose: format!("list the sessions of node `{}`", shown(name)),
        hold: None,
    })
}

/// Lists all sessions.
pub fn list(agent: &Agent, consistency: Consistency) -> Request {
    Request {
        method: Method::Get,
        path: path(agent, "/v1/session/list", consistency),
        body: Vec::new(),
        purpose: "list the sessions".to_owned(),
        hold: None,
    }
}

fn by_id(
    agent: &Agent,
    method: Method,
    operation: &str,
    id: &str,
    consistency: Consistency,
    purpose: &str,
) -> Result<Request> {
    let id = session_id::parse(id)?;
    Ok(Request {
        method,
        path: path(agent, &format!("/v1/session/{operation}/{id}"), consistency),
        body: Vec::new(),
        purpose: format!("{purpose} {id}"),
        hold: None,
    })
}

/// Reads a key. With `wait`, waits for a change.
pub fn read_key(
    agent: &Agent,
    name: &str,
    consistency: Consistency,
    wait: Option<&Wait>,
) -> Result<Request> {
    key::check("key", name)?;
    let query = path(agent, &format!("/v1/kv/{}", encoded(name)), consistency);
    Ok(Request {
        method: Method::Get,
        path: waiting(query, wait)?,
        body: Vec::new(),
        purpose: format!("read the key `{}`", shown(name)),
        hold: wait.map(|wait| wait.at_most),
    })
}

/// Reads every key below a prefix. With `wait`, waits for a change.
pub fn read_keys_below(
    agent: &Agent,
    prefix: &str,
    consistency: Consistency,
    wait: Option<&Wait>,
) -> Result<Request> {
    key::check("prefix", prefix)?;
    let path = path(agent, &format!("/v1/kv/{}/", encoded(prefix)), consistency);
    let separator = if path.contains('?') { '&' } else { '?' };
    Ok(Request {
        method: Method::Get,
        path: waiting(format!("{path}{separator}recurse"), wait)?,
        body: Vec::new(),
        purpose: format!("read the keys below `{}`", shown(prefix)),
        hold: wait.map(|wait| wait.at_most),
    })
}

/// Carries out all of these steps, or none.
pub fn transaction(agent: &Agent, steps: &[Step<'_>], purpose: String) -> Request {
    Request {
        method: Method::Put,
        path: path(agent, "/v1/txn", Consistency::Default),
        body: transaction::body(steps).to_string().into_bytes(),
        purpose,
        hold: None,
    }
}

/// Adds a blocking query to a path that ends with a query or takes one.
fn waiting(path: String, wait: Option<&Wait>) -> Result<String> {
    let Some(Wait { index, at_most }) = wait else {
        return Ok(path);
    };
    if *at_most > MAX_WAIT {
        return Err(Error::invalid("wait", "`wait` must be at most 10 minutes"));
    }
    let separator = if path.contains('?') { '&' } else { '?' };
    // Consul reads 0 as its default of 5 min.
    let milliseconds = (at_most / MILLISECOND).max(1);
    Ok(format!(
        "{path}{separator}index={index}&wait={milliseconds}ms"
    ))
}

fn path(agent: &Agent, path: &str, consistency: Consistency) -> String {
    let mut query: Vec<String> = [
        ("dc", &agent.datacenter),
        ("ns", &agent.namespace),
        ("partition", &agent.partition),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value.as_deref().filter(|value| !value.is_empty())?)))
    .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, &ENCODED)))
    .collect();
    // Consul looks only at the key: `consistent=false` would be consistent, too.
    if consistency == Consistency::Consistent {
        query.push("consistent".to_owned());
    }
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

fn encoded(key: &str) -> PercentEncode<'_> {
    utf8_percent_encode(key, &ENCODED_KEY)
}

/// Checks a node's name before it becomes part of a path. Consul's router would rewrite `..` and `//` by a redirect.
fn check_node(parameter: &str, name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(parameter, format!("`{parameter}` {why}")));
    if name.is_empty() {
        return refuse("is empty; it must be the name of a node");
    }
    if name.len() > MAX_NODE {
        return refuse("is longer than 4 KiB");
    }
    if name.chars().any(char::is_control) {
        return refuse("contains a control character");
    }
    if name
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return refuse(
            "cannot be the name of a node: a segment between slashes is empty, `.` or `..`",
        );
    }
    Ok(())
}

/// Checks the attributes that Consul would silently change, or refuse with a puzzling message.
pub fn check(new: &NewSession) -> Result<()> {
    if new.name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
        return Err(Error::invalid("name", "`name` is longer than 4 MiB"));
    }
    if let Some(delay) = new.lock_delay {
        if delay > MAX_LOCK_DELAY {
            return Err(Error::invalid(
                "delay",
                "`delay` must be 0 to 60 seconds; Consul would store more but apply 60",
            ));
        }
        whole_milliseconds("delay", delay)?;
    }
    if let Some(ttl) = new.ttl.filter(|ttl| *ttl > 0) {
        if !TTL.contains(&ttl) {
            return Err(Error::invalid(
                "ttl",
                "`ttl` must be 10 seconds to 24 hours (10 to 86400), or 0 for none",
            ));
        }
        whole_milliseconds("ttl", ttl)?;
    }
    if let Some(node) = &new.node {
        check_node("node", node)?;
    }
    if let (Some(node_checks), Some(checks)) = (&new.node_checks, &new.checks)
        && node_checks.is_empty() != checks.is_empty()
    {
        return Err(Error::invalid(
            "checks",
            "`checks` and `node_checks` contradict each other: one names checks, and the other is empty, which turns all checks off",
        ));
    }
    Ok(())
}

fn whole_milliseconds(parameter: &str, duration: u64) -> Result<()> {
    if duration.is_multiple_of(MILLISECOND) {
        return Ok(());
    }
    Err(Error::invalid(
        parameter,
        format!("`{parameter}` must be a whole number of milliseconds"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> Agent {
        Agent {
            address: "http://h:1".into(),
            token: Some("s3cret".into()),
            datacenter: None,
            namespace: None,
            partition: None,
            timeout: None,
        }
    }

    const ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";

    fn new() -> NewSession {
        NewSession {
            name: Some("n".into()),
            ..NewSession::default()
        }
    }

    #[test]
    fn paths() {
        let plain = agent();
        let scoped = Agent {
            datacenter: Some("dc 1&x".into()),
            namespace: Some("n/s".into()),
            partition: Some("p".into()),
            ..agent()
        };
        let info = |agent| {
            info(agent, &ID.to_uppercase(), Consistency::Default)
                .unwrap()
                .path
        };
        assert_eq!(info(&plain), format!("/v1/session/info/{ID}"));
        assert_eq!(
            info(&scoped),
            format!("/v1/session/info/{ID}?dc=dc%201%26x&ns=n%2Fs&partition=p")
        );
        assert_eq!(
            list(&plain, Consistency::Consistent).path,
            "/v1/session/list?consistent"
        );
        assert_eq!(
            list(&scoped, Consistency::Consistent).path,
            "/v1/session/list?dc=dc%201%26x&ns=n%2Fs&partition=p&consistent"
        );
        assert_eq!(
            node(&plain, "a b/ü?x", Consistency::Default).unwrap().path,
            "/v1/session/node/a%20b%2F%C3%BC%3Fx"
        );
        assert_eq!(
            destroy(&scoped, ID).unwrap().path,
            format!("/v1/session/destroy/{ID}?dc=dc%201%26x&ns=n%2Fs&partition=p")
        );
        assert_eq!(renew(&plain, ID).unwrap().method, Method::Put);
    }

    #[test]
    fn malformed_ids_never_reach_a_path() {
        for id in [
            "",
            "x",
            "../../agent/self",
            &format!("{ID}?dc=other"),
            &format!("{ID} "),
            &ID.replace('-', ""),
            "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c1ü",
        ] {
            assert_eq!(
                info(&agent(), id, Consistency::Default)
                    .unwrap_err()
                    .kind()
                    .as_str(),
                "invalid",
                "{id}"
            );
            assert_eq!(
                destroy(&agent(), id).unwrap_err().kind().as_str(),
                "invalid",
                "{id}"
            );
            assert_eq!(
                renew(&agent(), id).unwrap_err().kind().as_str(),
                "invalid",
                "{id}"
            );
        }
        for name in ["", ".", "..", "../x", "a//b", "/a", "a/", "a\nb", "a\0"] {
            assert_eq!(
                node(&agent(), name, Consistency::Default)
                    .unwrap_err()
                    .kind()
                    .as_str(),
                "invalid",
                "{name:?}"
            );
        }
    }

    #[test]
    fn durations_are_checked_before_they_are_sent() {
        let with = |delay, ttl| {
            create(
                &agent(),
                &NewSession {
                    lock_delay: delay,
                    ttl,
                    ..new()
                },
            )
        };
        assert!(with(Some(60 * SECOND), Some(86_400 * SECOND)).is_ok());
        assert!(with(Some(0), Some(0)).is_ok());
        assert!(with(Some(MILLISECOND), Some(10 * SECOND)).is_ok());
        for (delay, ttl, parameter) in [
            (Some(60 * SECOND + 1), None, "delay"),
            (Some(500), None, "delay"),
            (None, Some(10 * SECOND - 1), "ttl"),
            (None, Some(86_400 * SECOND + 1), "ttl"),
            (None, Some(10 * SECOND + 1), "ttl"),
        ] {
            match with(delay, ttl) {
                Err(error) => assert_eq!(
                    *error.kind(),
                    consul_session_core::ErrorKind::Invalid(parameter.into())
                ),
                other => panic!("{delay:?} {ttl:?}: {other:?}"),
            }
        }
    }
}
