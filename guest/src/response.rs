//! Where a response becomes a value or an error.
//!
//! Consul reports bad input and outages alike with status 500 and a line of text. The texts recorded from 1.8.7 and read
//! in the source up to 1.22 are told apart here. They are matched anywhere in the text, because every agent that forwards a
//! request puts a prefix before them (`rpc error making call: `), and newer versions one more (`apply failed: `).

use crate::request::{Method, Request};
use crate::session::{Decoded, StoredSession};
use crate::transaction::{self, Entry, Refusal};
use crate::transport::{Response, TransportError, TransportErrorKind as Kind};
use crate::types::Session;
use consul_session_core::redact::{CUT, Redactor};
use consul_session_core::{Address, Error, ErrorKind, Exchange, Result, session_id};
use serde_json::Value;

/// Maximum length of Consul's text in an error, in bytes.
const MAX_TEXT: usize = 1024;
/// Maximum length of Consul's text in a message, in bytes.
const MAX_TEXT_IN_MESSAGE: usize = 300;

const CHECK_BEFORE_RETRY: &str = "Consul may have applied the write, so check before you try again";
const RATE_LIMITED: &str = "Consul limits the rate of requests, so try again later";

/// The request that a response belongs to. Creates the errors about both.
pub struct Context<'a> {
    /// The request.
    pub request: &'a Request,
    /// Where it went.
    pub address: &'a Address,
    /// Keeps the token out of errors, in case the server repeats it.
    pub redactor: Redactor<'a>,
}

impl Context<'_> {
    /// Decodes a response that holds an array of sessions.
    pub fn sessions(&self, response: &Response) -> Result<Vec<StoredSession>> {
        let Value::Array(values) = self.json(response)? else {
            return Err(self.not_consul(response, "it is not a list of sessions"));
        };
        values
            .into_iter()
            .map(|value| {
                StoredSession::from_json(value).map_err(|why| {
                    self.not_consul(response, &format!("it is not a list of sessions: {why}"))
                })
            })
            .collect()
    }

    /// Like [`Context::sessions`], without the JSON of each session. The tree of the whole response is built only for the
    /// message of an error.
    pub fn decoded_sessions(&self, response: &Response) -> Result<Vec<Session>> {
        if self.is_json(response)
            // Text that is skipped must be UTF-8, too.
            && let Ok(text) = std::str::from_utf8(&response.body)
            && let Ok(sessions) = serde_json::from_str::<Vec<Decoded>>(text)
        {
            return Ok(sessions
                .into_iter()
                .map(|Decoded(session)| session)
                .collect());
        }
        let sessions = self.sessions(response)?;
        Ok(sessions.into_iter().map(|stored| stored.session).collect())
    }

    /// Whether a response should be Consul's JSON.
    fn is_json(&self, response: &Response) -> bool {
        response.status == 200 && response.content_encoding.is_none()
    }

    /// Decodes the response to a create, and returns the id.
    pub fn created(&self, response: &Response) -> Result<String> {
        match self.json(response)?.get("ID") {
            Some(Value::String(id)) if session_id::parse(id).is_ok() => Ok(id.clone()),
            _ => Err(self.not_consul(response, "it contains no session ID")),
        }
    }

    /// Decodes the response to a destroy.
    pub fn destroyed(&self, response: &Response) -> Result<()> {
        match self.json(response)? {
            Value::Bool(true) => Ok(()),
            _ => Err(self.not_consul(response, "it is not `true`")),
        }
    }

    /// Decodes keys, and returns the index of the read. A key that does not exist has the status 404, and an index.
    pub fn entries(&self, response: &Response) -> Result<(Vec<Entry>, u64)> {
        let index = response.index;
        if response.status == 404
            && let Some(index) = index
        {
            return Ok((Vec::new(), index));
        }
        let entries = transaction::entries(self.json(response)?)
            .map_err(|why| self.not_consul(response, &why))?;
        let index =
            index.ok_or_else(|| self.not_consul(response, "it has no header X-Consul-Index"))?;
        Ok((entries, index))
    }

    /// Decodes the response to a transaction: the keys that it returned, or why it was refused.
    pub fn transacted(&self, response: &Response) -> Result<Result<Vec<Entry>, Vec<Refusal>>> {
        let json = self.json_of(response, &[200, 409])?;
        let malformed = |why: String| self.not_consul(response, &why);
        if response.status == 200 {
            return Ok(Ok(transaction::results(json).map_err(malformed)?));
        }
        let refusals = transaction::refusals(json).map_err(malformed)?;
        let about = |text: &str| refusals.iter().any(|refusal| refusal.what.contains(text));
        if about("Permission denied") {
            let hint = self.request.permissions();
            return Err(self.failure(response, ErrorKind::Denied, hint, false));
        }
        if about("invalid session") || about("missing session") {
            let hint = "the session has ended, so create a new one";
            return Err(self.failure(response, ErrorKind::NotFound, hint, false));
        }
        Ok(Err(refusals))
    }

    /// The error for a transaction that Consul refused because of the state of a key, with a hint.
    pub fn conflict(&self, response: &Response, refusals: &[Refusal], hint: &str) -> Error {
        let what = refusals.first().map_or("", |refusal| &refusal.what);
        let reason = format!("Consul says: {}", self.presentable(what));
        let place = self.answered_place(response);
        Error::new(ErrorKind::Conflict, self.message(&reason, &place, &[hint])).with_exchange(
            self.exchange()
                .answered(response.status, self.text(response)),
        )
    }

    fn json(&self, response: &Response) -> Result<Value> {
        self.json_of(response, &[200])
    }

    /// Decodes a response with one of these statuses.
    fn json_of(&self, response: &Response, statuses: &[u16]) -> Result<Value> {
        if !statuses.contains(&response.status) {
            return Err(self.refused(response));
        }
        if let Some(encoding) = &response.content_encoding
            && !encoding.eq_ignore_ascii_case("identity")
        {
            let why = format!("it is compressed ({encoding}), which the request did not allow");
            return Err(self.not_consul(response, &why));
        }
        serde_json::from_slice(&response.body).map_err(|error| {
            let why = if response.body.is_empty() {
                "it is empty".to_owned()
            } else if is_html(response) {
                "it is an HTML page".to_owned()
            } else {
                format!("it is not JSON ({error})")
            };
            self.not_consul(response, &why)
        })
    }

    /// The error for a response whose status is not 200.
    fn refused(&self, response: &Response) -> Error {
        // Matched before redaction: the token may be a word of Consul's own text.
        let text = String::from_utf8_lossy(self.beginning(response));
        let says = |needle: &str| text.contains(needle);
        let fail = |kind: ErrorKind, hint: &str| self.failure(response, kind, hint, false);
        let invalid = |parameter: &str| fail(ErrorKind::Invalid(parameter.to_owned()), "");

        // Match the prefix only: another text may quote a name that contains the same words.
        let denied = text
            .trim_start_matches("rpc error making call: ")
            .starts_with("Permission denied");
        if denied || says("ACL not found") || matches!(response.status, 401 | 403) {
            let hint = if says("ACL not found") {
                "Consul does not know this token: it is misspelled, has expired, or belongs to another cluster"
            } else if says("blocked by agent configuration") {
                "the agent's configuration (http_config.block_endpoints) blocks this endpoint"
            } else if says("Access is restricted") {
                "the agent's configuration (http_config.allow_write_http_from) accepts no writes from this address"
            } else {
                // The same whether the token is the caller's or was added by the host, which this code cannot see.
                self.request.permissions()
            };
            return fail(ErrorKind::Denied, hint);
        }
        match response.status {
            201..=299 => self.not_consul(response, "its status is not 200"),
            300..=399 => {
                let to = response.location.as_deref().unwrap_or("an unnamed place");
                let why = format!("it redirects to {to}, and redirects are never followed");
                self.not_consul(response, &why)
            }
            400 if says("HTTPS server") => fail(
                ErrorKind::Tls,
                "the port speaks TLS, so set the scheme to https",
            ),
            400 if says("Enterprise feature") => fail(
                ErrorKind::Unsupported,
                "omit `namespace` and `partition`, which need Consul Enterprise",
            ),
            400 if says("Missing session") => invalid("id"),
            413 => invalid("value"),
            400 if says("Missing node name") => invalid("node"),
            404 if says("Session id") => fail(
                ErrorKind::NotFound,
                "the session has ended and its locks are lost, so create a new one",
            ),
            404 | 405 => self.not_consul(response, "there is no Consul API at this address"),
            429 => fail(ErrorKind::Unavailable, RATE_LIMITED),
            500..=599 => match () {
                () if says("Invalid Session TTL") || says("Session TTL '") => invalid("ttl"),
                () if says("Invalid Behavior setting") => invalid("behavior"),
                () if says("Must provide Node") => invalid("node"),
                () if says("invalid key name") => fail(
                    ErrorKind::Invalid("key".to_owned()),
                    "versions 1.21.5 and later accept fewer keys, unless disable_kv_key_validation is set",
                ),
                () if says("is in critical state") => fail(
                    ErrorKind::Invalid("checks".to_owned()),
                    "a session cannot depend on a failing check, so wait until it passes or omit it",
                ),
                () if says("UUID must be 36 characters") || says("Invalid UUID") => invalid("id"),
                () if says("Missing node registration") => {
                    fail(ErrorKind::NotFound, "no node of this name is registered")
                }
                () if says("Missing check '") => fail(
                    ErrorKind::NotFound,
                    "no such check is registered on the session's node (a node without a Consul agent has no `serfHealth`, so name its checks, or use [] for none)",
                ),
                () if says("cross datacenter lock") => fail(
                    ErrorKind::Unsupported,
                    "this Consul creates sessions of another datacenter only on its servers, so ask one of those",
                ),
                () if says("No path to datacenter") => {
                    fail(ErrorKind::NotFound, "Consul knows no such datacenter")
                }
                () => {
                    let hint = if says("No cluster leader") {
                        "the cluster is electing a leader or has lost its majority, so try again later"
                    } else if says("rate limit exceeded") {
                        RATE_LIMITED
                    } else {
                        "try again later, and check the agent's log if the error persists"
                    };
                    let applied = self.request.method == Method::Put;
                    self.failure(response, ErrorKind::Unavailable, hint, applied)
                }
            },
            _ => fail(ErrorKind::Other, ""),
        }
    }

    /// The error for a request without a response.
    pub fn no_response(&self, error: &TransportError) -> Error {
        let maybe_applied = error.maybe_sent && self.request.method == Method::Put;
        let (kind, what, hint) = match error.kind {
            Kind::Denied | Kind::AddressDenied => (
                ErrorKind::Denied,
                "the host's policy forbids it",
                "the operator of the host must allow this request",
            ),
            Kind::ConnectTimeout | Kind::WriteTimeout | Kind::ResponseTimeout | Kind::Timeout => {
                (ErrorKind::Timeout, "timed out", "")
            }
            Kind::UntrustedCertificate | Kind::TlsHandshake | Kind::TlsAlert => (
                ErrorKind::Tls,
                "no secure connection",
                "check the scheme, the certificate and the CA",
            ),
            Kind::ConnectionClosed | Kind::Incomplete if error.maybe_sent => {
                (ErrorKind::Transport, "connection lost", "")
            }
            Kind::Unresolved
            | Kind::ConnectionRefused
            | Kind::Unreachable
            | Kind::ConnectionClosed
            | Kind::Incomplete => (
                ErrorKind::Transport,
                "cannot connect",
                "is Consul running there?",
            ),
            Kind::TooManyConnections => (
                ErrorKind::Transport,
                "cannot connect",
                "try again when fewer are open",
            ),
            Kind::HeadersTooLarge
            | Kind::BodyTooLarge
            | Kind::NotHttp
            | Kind::UnsupportedCoding => (
                ErrorKind::Protocol,
                "the response is not Consul's",
                "is it a Consul agent, and is the scheme right?",
            ),
            Kind::Misconfigured | Kind::Other => (ErrorKind::Other, "the host failed", ""),
        };
        let reason = format!("{what}: {}", self.redactor.text(&error.description()));
        let applied = if maybe_applied {
            CHECK_BEFORE_RETRY
        } else {
            ""
        };
        let error = Error::new(kind, self.message(&reason, &self.place(), &[hint, applied]))
            .with_exchange(self.exchange())
            .with_maybe_applied(maybe_applied);
        match self.address.source.hint() {
            Some(source) => error.with_detail(source),
            None => error,
        }
    }

    /// The error for a response that is not from Consul's API.
    fn not_consul(&self, response: &Response, why: &str) -> Error {
        let reason = format!("the response is not Consul's: {}", self.presentable(why));
        let place = self.answered_place(response);
        Error::new(
            ErrorKind::Protocol,
            self.message(&reason, &place, &["is it a Consul agent?"]),
        )
        .with_exchange(
            self.exchange()
                .answered(response.status, self.text(response)),
        )
        // A proxy may have replaced Consul's response to a write that succeeded.
        .with_maybe_applied(
            self.request.method == Method::Put && (200..300).contains(&response.status),
        )
    }

    /// The error for a request that Consul refused.
    fn failure(
        &self,
        response: &Response,
        kind: ErrorKind,
        hint: &str,
        maybe_applied: bool,
    ) -> Error {
        let text = self.text(response);
        let reason = if text.is_empty() {
            "Consul gave no reason".to_owned()
        } else if is_html(response) {
            "the response is an HTML page".to_owned()
        } else {
            let end = text.floor_char_boundary(MAX_TEXT_IN_MESSAGE);
            match text.get(..end) {
                Some(beginning) if end < text.len() => format!("Consul says: {beginning}{CUT}"),
                _ => format!("Consul says: {}", text.trim_end_matches('.')),
            }
        };
        let place = self.answered_place(response);
        let applied = if maybe_applied {
            CHECK_BEFORE_RETRY
        } else {
            ""
        };
        Error::new(kind, self.message(&reason, &place, &[hint, applied]))
            .with_exchange(self.exchange().answered(response.status, text))
            .with_maybe_applied(maybe_applied)
    }

    /// `cannot do this: reason (place); hint; hint`.
    fn message(&self, reason: &str, place: &str, hints: &[&str]) -> String {
        let mut message = format!("cannot {}: {reason} ({place})", self.request.purpose);
        for hint in hints.iter().filter(|hint| !hint.is_empty()) {
            message.push_str("; ");
            message.push_str(hint);
        }
        message
    }

    fn place(&self) -> String {
        format!(
            "{} {}{}",
            self.request.method.as_str(),
            self.address,
            self.request.path
        )
    }

    fn answered_place(&self, response: &Response) -> String {
        format!("HTTP {} from {}", response.status, self.place())
    }

    fn exchange(&self) -> Exchange {
        Exchange::new(self.request.method.as_str(), &*self.request.path)
    }

    /// The body as text for people: without control characters, token or excess length.
    fn text(&self, response: &Response) -> String {
        self.presentable(&String::from_utf8_lossy(self.beginning(response)))
    }

    /// The part of the body that is searched and shown.
    fn beginning<'a>(&self, response: &'a Response) -> &'a [u8] {
        let body = response.body.as_slice();
        body.get(..8 * MAX_TEXT).unwrap_or(body)
    }

    fn presentable(&self, text: &str) -> String {
        let text = self.redactor.text(text);
        let mut presentable = String::new();
        for c in text.trim().chars() {
            if presentable.len() >= MAX_TEXT {
                presentable.push(CUT);
                break;
            }
            presentable.push(if c.is_control() { ' ' } else { c });
        }
        presentable.truncate(presentable.trim_end().len());
        presentable
    }
}

fn is_html(response: &Response) -> bool {
    let declared = response
        .content_type
        .as_deref()
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
    declared || response.body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, response: Response) -> Error {
        let request = Request {
            method,
            path: "/v1/session/x".into(),
            body: vec![],
            purpose: "do it".into(),
            hold: None,
        };
        let address = Address::parse("url", "http://h:1").unwrap();
        Context {
            request: &request,
            address: &address,
            redactor: Redactor::new(Some("s3cret")),
        }
        .json(&response)
        .map(|value| panic!("{value}"))
        .unwrap_err()
    }

    fn response(status: u16, text: &str) -> Response {
        Response {
            status,
            body: text.into(),
            ..Response::default()
        }
    }

    #[test]
    fn tells_consuls_texts_apart() {
        for (status, text, kind) in [
            (
                400,
                "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
                "unsupported",
            ),
            (
                400,
                "Client sent an HTTP request to an HTTPS server.\n",
                "tls",
            ),
            (400, "Missing session", "invalid"),
            (400, "Request decode failed: x", "other"),
            (403, "Permission denied", "denied"),
            (403, "ACL not found", "denied"),
            (403, "", "denied"),
            (500, "rpc error making call: Permission denied", "denied"),
            (404, "Session id '..' not found", "not-found"),
            (404, "", "protocol"),
            (404, "404 page not found", "protocol"),
            (405, "method GET not allowed", "protocol"),
            (301, "", "protocol"),
            (429, "", "unavailable"),
            (
                500,
                "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]",
                "invalid",
            ),
            (
                500,
                "rpc error making call: rpc error making call: Invalid Behavior setting 'x'",
                "invalid",
            ),
            (
                500,
                "rpc error making call: apply failed: Missing node registration",
                "not-found",
            ),
            (500, "Missing check 'x' registration", "not-found"),
            (500, "Check 'x' is in critical state", "invalid"),
            (
                500,
                "failed session lookup: index error: UUID must be 36 characters",
                "invalid",
            ),
            (500, "No path to datacenter", "not-found"),
            (500, "No cluster leader", "unavailable"),
            (
                500,
                "rpc error getting client: failed to get conn: dial tcp: connection refused",
                "unavailable",
            ),
            (502, "<html>Bad gateway</html>", "unavailable"),
            (
                503,
                "rate limit exceeded for operation that can only be performed by the leader, try again later",
                "unavailable",
            ),
            (200, "<html>", "protocol"),
            (200, "", "protocol"),
            (204, "", "protocol"),
        ] {
            assert_eq!(
                check(Method::Put, response(status, text)).kind().as_str(),
                kind,
                "{status} {text}"
            );
        }
    }

    #[test]
    fn says_when_a_write_may_have_been_applied() {
        assert!(check(Method::Put, response(500, "No cluster leader")).maybe_applied());
        assert!(check(Method::Put, response(200, "tru")).maybe_applied());
        assert!(!check(Method::Get, response(500, "No cluster leader")).maybe_applied());
        assert!(!check(Method::Put, response(429, "")).maybe_applied());
        assert!(!check(Method::Put, response(500, "Missing node registration")).maybe_applied());
        assert!(!check(Method::Put, response(403, "Permission denied")).maybe_applied());
    }

    #[test]
    fn never_repeats_the_token_or_a_flood() {
        let error = check(
            Method::Get,
            response(500, &format!("no s3cret {}", "é".repeat(5000))),
        );
        let json = serde_json::to_string(&error).unwrap();
        assert!(!json.contains("s3cret") && json.len() < 3000, "{json}");
        let gzip = Response {
            content_encoding: Some("gzip".into()),
            ..response(200, "[]")
        };
        assert_eq!(*check(Method::Get, gzip).kind(), ErrorKind::Protocol);
        let control = check(Method::Get, response(500, "a\u{1b}[31mb\0"));
        assert_eq!(control.exchange().unwrap().text, "a [31mb");
    }
}
