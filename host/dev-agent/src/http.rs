//! Requests and answers, the way Consul's HTTP server treats them before and after an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue, LOCATION, VARY};
use hyper::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use crate::acl::{Access, Acl, AclNotFound};
use crate::blocking::{Blocking, Hub};
use crate::limits::Limits;
use crate::session_endpoint::PrintedList;
use crate::state::{Error, Query, State};
use crate::{duration, json, routes};

/// What all requests share.
pub(super) struct Agent {
    pub(super) hub: Hub,
    pub(super) acl: Acl,
    pub(super) limits: Limits,
    pub(super) node: String,
    pub(super) datacenter: String,
    pub(super) address: SocketAddr,
    pub(super) printed_list: PrintedList,
}

/// A request as an endpoint sees it.
pub(super) struct Request {
    pub(super) method: Method,
    /// What follows the endpoint's path, decoded.
    pub(super) tail: String,
    pub(super) params: Params,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
}

/// The parameters of a query, decoded, in order.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

/// An answer before it is put on the wire.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer that ends a request early; boxed, because the good ones should stay cheap.
pub(super) type Refusal = Box<Reply>;

impl Params {
    /// Reads a query string the way Go does; `None` if it cannot be decoded.
    fn parse(query: &str) -> Option<Params> {
        let mut params = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| decode(&text.replace('+', " "));
            params.push((decoded(name)?, decoded(value)?));
        }
        Some(Params(params))
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there at all: `recurse=false` recurses.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A number, with the text Consul answers a bad one with.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => {
                let why = if digits {
                    "value out of range"
                } else {
                    "invalid syntax"
                };
                let text = format!("strconv.ParseUint: parsing {text:?}: {why}");
                Err(Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text).into())
            }
        }
    }

    /// Refuses more than one of the named parameters.
    pub(super) fn at_most_one(&self, names: &[&str]) -> Result<(), Refusal> {
        if names.iter().filter(|name| self.has(name)).count() > 1 {
            let text = format!("Conflicting flags: {}", self.encode());
            return Err(Reply::text(StatusCode::BAD_REQUEST, text).into());
        }
        Ok(())
    }

    /// All parameters, sorted by name.
    fn encode(&self) -> String {
        let mut params: Vec<&(String, String)> = self.0.iter().collect();
        params.sort_by(|(one, _), (other, _)| one.cmp(other));
        let escaped = |text: &str| escape(text, b"-_.~ ").replace(' ', "+");
        let pair =
            |(name, value): &(String, String)| format!("{}={}", escaped(name), escaped(value));
        let pairs: Vec<String> = params.into_iter().map(pair).collect();
        pairs.join("&")
    }
}

impl Reply {
    /// An answer without a body.
    pub(super) fn empty(status: StatusCode) -> Reply {
        Reply {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// A text without a newline: Consul's errors.
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Reply {
        let mut reply = Reply::empty(status);
        reply.body = Bytes::from(text.into());
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers.insert(CONTENT_TYPE, plain);
        reply
    }

    pub(super) fn json(value: &impl Serialize) -> Reply {
        Reply::printed(json::print(value).into())
    }

    /// JSON that is printed already.
    pub(super) fn printed(body: Bytes) -> Reply {
        let mut reply = Reply::empty(StatusCode::OK);
        reply.body = body;
        let json = HeaderValue::from_static("application/json");
        reply.headers.insert(CONTENT_TYPE, json);
        reply
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Reply {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Adds what a read says about itself.
    pub(super) fn with_index(mut self, index: u64) -> Reply {
        self.headers.insert("X-Consul-Index", index.into());
        self.with_leader()
    }

    /// Adds who answered: a server that has a leader, itself.
    pub(super) fn with_leader(self) -> Reply {
        self.with("X-Consul-Knownleader", "true")
            .with("X-Consul-Lastcontact", "0")
    }

    /// Marks a failed read. Not all of Consul's endpoints do so; who calls this does.
    pub(super) fn failed_read(mut self: Box<Self>) -> Refusal {
        for (name, value) in [
            ("X-Consul-Index", "1"),
            ("X-Consul-Knownleader", "false"),
            ("X-Consul-Lastcontact", "0"),
        ] {
            self.headers.insert(name, HeaderValue::from_static(value));
        }
        self
    }

    fn into_response(mut self) -> hyper::Response<Full<Bytes>> {
        let vary = HeaderValue::from_static("Accept-Encoding");
        self.headers.insert(VARY, vary);
        let mut response = hyper::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // Its name before RFC 7231, which Go still gives it.
            let name = ReasonPhrase::from_static(b"Request Entity Too Large");
            response.extensions_mut().insert(name);
        }
        response
    }
}

impl Agent {
    /// Refuses a datacenter that is not this agent's; none named is.
    pub(super) fn serves(&self, datacenter: &str) -> Result<(), Refusal> {
        if datacenter.is_empty() || datacenter == self.datacenter {
            return Ok(());
        }
        Err(Error::rejected("No path to datacenter").into())
    }

    /// Answers a read, perhaps a blocking one: the index, and what `rows` makes of the state.
    pub(super) async fn read<T>(
        &self,
        request: &Request,
        query: Query,
        rows: impl Fn(&State, Access) -> T,
    ) -> Result<(u64, T), Refusal> {
        let blocking = request.blocking()?;
        request.same_datacenter(self)?;
        let access = request.access(self)?;
        let rows = |state: &State| rows(state, access);
        Ok(self.hub.read(query, blocking, rows).await?)
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        match error {
            Error::Rejected(text) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text),
            Error::Full { what, limit } => {
                let status = if what == "blocked queries" {
                    StatusCode::TOO_MANY_REQUESTS
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                Reply::text(status, format!("The agent is full: at most {limit} {what}"))
            }
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Box::new(error.into())
    }
}

impl From<AclNotFound> for Refusal {
    fn from(_: AclNotFound) -> Refusal {
        Box::new(Reply::text(StatusCode::FORBIDDEN, "ACL not found"))
    }
}

/// The refusal of somebody who has no right.
pub(super) fn permission_denied() -> Refusal {
    Box::new(Reply::text(StatusCode::FORBIDDEN, "Permission denied"))
}

impl Request {
    /// What most of Consul's endpoints look at before anything else.
    pub(super) fn common(&self) -> Result<Blocking, Refusal> {
        let blocking = self.blocking()?;
        self.no_namespace()?;
        Ok(blocking)
    }

    /// Consistency, of which there is only one here, and blocking.
    pub(super) fn blocking(&self) -> Result<Blocking, Refusal> {
        let bad = |text: &str| Reply::text(StatusCode::BAD_REQUEST, text);
        for weak in ["stale", "cached"] {
            if self.params.has(weak) && self.params.has("consistent") {
                let text =
                    format!("Cannot specify ?{weak} with ?consistent, conflicting semantics.");
                return Err(bad(&text).into());
            }
        }
        let mut blocking = Blocking::default();
        if let Some(wait) = self.params.get("wait").filter(|wait| !wait.is_empty()) {
            let wait = duration::parse(wait).map_err(|_| bad("Invalid wait time"))?;
            blocking.wait = std::time::Duration::from_nanos(wait.try_into().unwrap_or(0));
        }
        if let Some(index) = self.params.get("index").filter(|index| !index.is_empty()) {
            // Rust would take a plus sign.
            let number = index
                .starts_with(|c: char| c.is_ascii_digit())
                .then_some(index);
            let number = number.and_then(|index| index.parse().ok());
            blocking.index = number.ok_or_else(|| bad("Invalid index"))?;
        }
        Ok(blocking)
    }

    /// Refuses a datacenter that is not this agent's.
    pub(super) fn same_datacenter(&self, agent: &Agent) -> Result<(), Refusal> {
        agent.serves(self.params.get("dc").unwrap_or_default())
    }

    /// Refuses namespaces, which only Consul Enterprise has.
    pub(super) fn no_namespace(&self) -> Result<(), Refusal> {
        let why = "Namespaces are a Consul Enterprise feature";
        let text = if self.params.get("ns").is_some_and(|ns| !ns.is_empty()) {
            format!("Bad request: Invalid query parameter: \"ns\" - {why}")
        } else if self
            .headers
            .get("X-Consul-Namespace")
            .is_some_and(|ns| !ns.is_empty())
        {
            format!("Bad request: Invalid header: \"X-Consul-Namespace\" - {why}")
        } else {
            return Ok(());
        };
        Err(Reply::text(StatusCode::BAD_REQUEST, text).into())
    }

    pub(super) fn access(&self, agent: &Agent) -> Result<Access, Refusal> {
        Ok(agent.acl.resolve(&self.params, &self.headers)?)
    }

    /// The length the request declares; a chunked body declares none.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Reads the body. `setting` is what Consul names in its refusal of a longer one.
    pub(super) async fn read_body(
        &mut self,
        limit: usize,
        setting: &str,
    ) -> Result<Bytes, Refusal> {
        let declared = self.content_length();
        if declared.is_none_or(|length| length <= limit as u64) {
            let body = Limited::new(&mut self.body, limit).collect();
            match tokio::time::timeout(BODY_TIME, body).await {
                Ok(Ok(body)) => return Ok(body.to_bytes()),
                Ok(Err(error)) if error.is::<LengthLimitError>() => {}
                // The client went away in the middle, or goes on for ever; there is nobody to read the answer.
                Ok(Err(_)) | Err(_) => {
                    let reply = Reply::empty(StatusCode::BAD_REQUEST);
                    return Err(reply.with(CONNECTION.as_str(), "close").into());
                }
            }
        }
        // A client that is still writing when the connection closes may never see the answer,
        // so some more of the body is read and dropped; but not of one that waits to be told to send it.
        if !self.headers.contains_key(EXPECT) {
            let rest = Limited::new(&mut self.body, DRAINED_BYTES).collect();
            let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
        }
        let length = declared.map_or_else(|| format!(">{limit}"), |length| length.to_string());
        let text = format!(
            "Request body({length} bytes) too large, max size: {limit} bytes. \
             See https://www.consul.io/docs/agent/options.html#{setting}."
        );
        let reply = Reply::text(StatusCode::PAYLOAD_TOO_LARGE, text);
        Err(reply.with(CONNECTION.as_str(), "close").into())
    }
}

/// How long a body may take to come; a client that stalls does not hold its connection for good.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// How long the rest of a refused body may take.
const DRAIN_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// How much of a refused body is read, for the sake of the client's ears.
const DRAINED_BYTES: usize = 1024 * 1024;

/// Answers one request.
pub(super) async fn serve(
    agent: Arc<Agent>,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let raw_path = parts.uri.path();
    let Some(path) = decode(raw_path) else {
        // This is Go's own, from before Consul sees the request.
        let reply = Reply::text(StatusCode::BAD_REQUEST, "400 Bad Request");
        return bare(reply.with(CONNECTION.as_str(), "close"));
    };
    if !path.chars().all(is_printable) {
        return bare(Reply::empty(StatusCode::BAD_REQUEST));
    }
    let mut target = cleaned(&path);
    let found = routes::find(&target);
    if found.is_none() && routes::find(&format!("{target}/")).is_some() {
        target.push('/');
    }
    if target != path {
        return bare(redirect(&parts.method, &target, parts.uri.query()));
    }
    let Some((route, tail)) = found else {
        return bare(Reply::empty(StatusCode::NOT_FOUND));
    };
    let Some(params) = Params::parse(parts.uri.query().unwrap_or_default()) else {
        return Reply::empty(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    };
    let allowed = route.methods();
    let reply = if parts.method == Method::OPTIONS {
        Reply::empty(StatusCode::OK).with(ALLOW.as_str(), allowed)
    } else if !allowed
        .split(',')
        .any(|method| method == parts.method.as_str())
    {
        let text = format!("method {} not allowed", parts.method);
        Reply::text(StatusCode::METHOD_NOT_ALLOWED, text).with(ALLOW.as_str(), allowed)
    } else {
        let request = Request {
            method: parts.method,
            tail,
            params,
            headers: parts.headers,
            body,
        };
        let answered = route.answer(&agent, request).await;
        answered.unwrap_or_else(|refusal| *refusal)
    };
    reply.into_response()
}

/// An answer of the router, which has no `Vary`.
fn bare(reply: Reply) -> hyper::Response<Full<Bytes>> {
    let mut response = reply.into_response();
    response.headers_mut().remove(VARY);
    response
}

/// Go's router sends everybody to the cleaned path, also those who write.
fn redirect(method: &Method, path: &str, query: Option<&str>) -> Reply {
    let mut target = escape(path, b"-_.~$&+,/:;=@");
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    let mut reply = Reply::empty(StatusCode::MOVED_PERMANENTLY);
    if matches!(*method, Method::GET | Method::HEAD) {
        let escaped = target.replace('&', "&amp;").replace('"', "&#34;");
        let html = format!("<a href=\"{escaped}\">Moved Permanently</a>.\n\n");
        reply.body = Bytes::from(html);
        reply = reply.with(CONTENT_TYPE.as_str(), "text/html; charset=utf-8");
    }
    if let Ok(target) = HeaderValue::from_str(&target) {
        reply.headers.insert(LOCATION, target);
    }
    reply
}

/// Undoes percent-encoding; `None` if there is a bad one. Bytes that are no UTF-8 are replaced.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else {
            return None;
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        bytes.push((digit(high)? * 16 + digit(low)?) as u8);
        rest = after;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What Consul lets into a path; roughly letters, digits, marks, punctuation, symbols, the space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_control();
    }
    // The standard library knows this, but tells only through what it escapes. The letter in
    // front is for combining marks, which are escaped at the beginning.
    !format!("a{c}").escape_debug().to_string().contains('\\')
}

/// Percent-encodes all but letters, digits and what is kept.
fn escape(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The path without empty, `.` and `..` segments; a slash at the end stays.
fn cleaned(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut cleaned = format!("/{}", segments.join("/"));
    if path.ends_with('/') && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_go_does() {
        for (path, expected) in [
            ("/", "/"),
            ("/v1/kv/a//b", "/v1/kv/a/b"),
            ("/v1/kv/a/", "/v1/kv/a/"),
            ("/v1/kv/a/../b", "/v1/kv/b"),
            ("/../..", "/"),
            ("/v1/./kv//", "/v1/kv/"),
        ] {
            assert_eq!(cleaned(path), expected, "{path}");
        }
    }

    #[test]
    fn queries_are_read_like_go_does() {
        let params = Params::parse("a=1&a=2&recurse&b=x%20y+z").unwrap();
        assert_eq!(params.get("a"), Some("1"));
        assert!(params.has("recurse"));
        assert_eq!(params.get("b"), Some("x y z"));
        assert!(Params::parse("a=%zz").is_none());
        assert!(Params::parse("a=%4").is_none());
    }
}
