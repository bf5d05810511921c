//! Where an answer becomes a value or an error. Consul says most of what it has to say in the text of a status 500, bad
//! input and outages alike; the texts recorded from 1.8.7 and read in the source up to 1.22 are told apart here. They are
//! matched by "contains", as every hop through an agent puts a prefix before them.

use crate::connection::{Address, Source};
use crate::error::Fault;
use crate::request::{Method, Request};
use crate::session::Stored;
use crate::transport::{Answer, Breach, BreachKind};
use crate::types::{Error, ErrorKind, Exchange};
use serde_json::Value;

/// How much of Consul's own words an error repeats.
const MAX_TEXT: usize = 1024;

/// The exchange an answer belongs to; makes the errors about it.
pub struct Context<'a> {
    /// The request.
    pub request: &'a Request,
    /// Where it went.
    pub address: &'a Address,
    /// The token, to be kept out of messages even if a server repeats it.
    pub token: Option<&'a str>,
}

impl Context<'_> {
    /// Reads an answer that holds an array of sessions.
    pub fn sessions(&self, answer: &Answer) -> Result<Vec<Stored>, Fault> {
        let Value::Array(values) = self.json(answer)? else {
            return Err(self.not_consul(answer, "its JSON is not a list of sessions"));
        };
        let mut sessions = Vec::new();
        for value in values {
            sessions.push(Stored::read(value).map_err(|error| {
                self.not_consul(
                    answer,
                    &format!("its JSON is not a list of sessions: {error}"),
                )
            })?);
        }
        Ok(sessions)
    }

    /// Reads the answer to a create.
    pub fn created(&self, answer: &Answer) -> Result<String, Fault> {
        match self.json(answer)?.get("ID") {
            Some(Value::String(id)) if crate::request::session_id(id).is_ok() => Ok(id.clone()),
            _ => Err(self.not_consul(answer, "its JSON holds no session ID")),
        }
    }

    /// Reads the answer to a destroy.
    pub fn destroyed(&self, answer: &Answer) -> Result<(), Fault> {
        match self.json(answer)? {
            Value::Bool(true) => Ok(()),
            _ => Err(self.not_consul(answer, "it is not `true`")),
        }
    }

    fn json(&self, answer: &Answer) -> Result<Value, Fault> {
        if answer.status != 200 {
            return Err(self.refusal(answer));
        }
        if let Some(encoding) = &answer.content_encoding
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(self.not_consul(
                answer,
                &format!("it is compressed ({encoding}), which was not asked for"),
            ));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let why = if answer.body.is_empty() {
                "it is empty".to_owned()
            } else if is_html(answer) {
                "it is a page of HTML".to_owned()
            } else {
                format!("it is not JSON ({error})")
            };
            self.not_consul(answer, &why)
        })
    }

    /// The error of an answer whose status is not 200.
    fn refusal(&self, answer: &Answer) -> Fault {
        let text = self.text(answer);
        // Told apart by what came, not by what is shown of it: a token may be a word of the text.
        let said = String::from_utf8_lossy(self.beginning(answer));
        let says = |needle: &str| said.contains(needle);
        let fail = |kind: ErrorKind, advice: &str| self.failure(answer, &text, kind, advice, false);
        let invalid = |parameter: &str| {
            fail(
                ErrorKind::Invalid(parameter.to_owned()),
                "Change the parameter and run again.",
            )
        };

        // A name that stands in another refusal may hold the same words.
        let denied = said
            .trim_start_matches("rpc error making call: ")
            .starts_with("Permission denied");
        if denied || says("ACL not found") || matches!(answer.status, 401 | 403) {
            return fail(
                ErrorKind::Denied,
                if says("ACL not found") {
                    "Consul does not know this token: it is misspelt, has expired, or belongs to another cluster."
                } else if says("blocked by agent configuration") {
                    "The agent's configuration (http_config.block_endpoints) shuts this endpoint."
                } else {
                    // The same words whether the token is the component's own or added by the host, unseen.
                    "It takes a token that may: set one with session:read on the session's node, and session:write to change anything."
                },
            );
        }
        match answer.status {
            201..=299 => self.not_consul(answer, "its status is not the 200 that was due"),
            300..=399 => {
                let to = answer.location.as_deref().unwrap_or("nowhere");
                self.not_consul(
                    answer,
                    &format!("it redirects to {to}, and redirects are never followed"),
                )
            }
            400 if says("HTTPS server") => fail(
                ErrorKind::Tls,
                "The port speaks TLS: set the scheme to https.",
            ),
            400 if says("Enterprise feature") => fail(
                ErrorKind::Unsupported,
                "This Consul is not an Enterprise one: leave `namespace` and `partition` out.",
            ),
            400 if says("Missing session") => invalid("id"),
            400 if says("Missing node name") => invalid("node"),
            404 if says("Session id") => fail(
                ErrorKind::NotFound,
                "The session has ended: its locks are lost. Create a new one.",
            ),
            404 | 405 => self.not_consul(answer, "there is no Consul API at this address"),
            429 => fail(
                ErrorKind::Unavailable,
                "Consul limits the rate of requests: try again later.",
            ),
            500..=599 => match () {
                () if says("Invalid Session TTL") || says("Session TTL '") => invalid("ttl"),
                () if says("Invalid Behavior setting") => invalid("behavior"),
                () if says("Must provide Node") => invalid("node"),
                () if says("is in critical state") => fail(
                    ErrorKind::Invalid("checks".to_owned()),
                    "A session depends only on checks that do not fail: wait until this one passes, or leave it out.",
                ),
                () if says("UUID must be 36 characters") || says("Invalid UUID") => invalid("id"),
                () if says("Missing node registration") => {
                    fail(ErrorKind::NotFound, "No node of this name is registered.")
                }
                () if says("Missing check '") => fail(
                    ErrorKind::NotFound,
                    "No such check is registered on the session's node. A node that Consul's own agent does not run on has no `serfHealth`: name its checks, or give the empty list.",
                ),
                () if says("cross datacenter lock") => fail(
                    ErrorKind::Unsupported,
                    "This Consul keeps sessions of another datacenter to its own servers: ask one of those.",
                ),
                () if says("No path to datacenter") => {
                    fail(ErrorKind::NotFound, "Consul knows no such datacenter.")
                }
                () => {
                    let advice = if says("No cluster leader") {
                        "The cluster is electing a leader or has lost its majority: try again."
                    } else {
                        "Try again; if it stays, look at the agent's log."
                    };
                    self.failure(
                        answer,
                        &text,
                        ErrorKind::Unavailable,
                        advice,
                        self.request.method == Method::Put,
                    )
                }
            },
            _ => fail(ErrorKind::Other, ""),
        }
    }

    /// The error of a request without an answer.
    pub fn breach(&self, breach: &Breach) -> Fault {
        let maybe_applied = breach.maybe_sent && self.request.method == Method::Put;
        let applied = if maybe_applied {
            " Consul may have carried it out all the same: look before trying again."
        } else {
            ""
        };
        let source = match self.address.source {
            Source::Url => String::new(),
            source => format!(", the address is {source}"),
        };
        let (kind, what, advice) = match breach.kind {
            BreachKind::Denied => (
                ErrorKind::Denied,
                "the host's policy forbids it",
                "Whoever runs the host must allow this address.",
            ),
            BreachKind::Timeout => (ErrorKind::Timeout, "no answer in time", ""),
            BreachKind::Tls => (
                ErrorKind::Tls,
                "no trust",
                "Check the scheme, the certificate and the CA.",
            ),
            BreachKind::Broken if breach.maybe_sent => {
                (ErrorKind::Transport, "the connection broke", "")
            }
            BreachKind::Broken => (
                ErrorKind::Transport,
                "no connection",
                "Is Consul running there?",
            ),
            BreachKind::NotHttp => (
                ErrorKind::Protocol,
                "the answer is not one of Consul's",
                "Is it a Consul agent, and is the scheme right?",
            ),
            BreachKind::Other => (ErrorKind::Other, "the host failed", ""),
        };
        Box::new(Error {
            kind,
            message: tidy(&format!(
                "cannot {}: {what}: {} ({} {}{}{source}). {advice}{applied}",
                self.request.purpose,
                self.redact(&breach.text),
                self.request.method.as_str(),
                self.address,
                self.request.path,
            )),
            exchange: Some(Exchange {
                method: self.request.method.as_str().to_owned(),
                path: self.request.path.clone(),
                status: None,
                text: String::new(),
            }),
            maybe_applied,
        })
    }

    /// The error of an answer that Consul would not give.
    fn not_consul(&self, answer: &Answer, why: &str) -> Fault {
        let text = self.text(answer);
        Box::new(Error {
            kind: ErrorKind::Protocol,
            message: format!(
                "cannot {}: the answer is not one of Consul's: {} ({}). Is it a Consul agent?",
                self.request.purpose,
                self.presentable(why),
                self.place(answer),
            ),
            exchange: Some(self.exchange(answer, &text)),
            // Whoever answered 2xx to a write may be Consul behind something that spoils its answers.
            maybe_applied: self.request.method == Method::Put
                && (200..300).contains(&answer.status),
        })
    }

    fn failure(
        &self,
        answer: &Answer,
        text: &str,
        kind: ErrorKind,
        advice: &str,
        maybe_applied: bool,
    ) -> Fault {
        let applied = if maybe_applied {
            " Consul may have carried it out all the same: look before trying again."
        } else {
            ""
        };
        Box::new(Error {
            kind,
            message: tidy(&format!("{}{applied}", self.message(answer, text, advice))),
            exchange: Some(self.exchange(answer, text)),
            maybe_applied,
        })
    }

    fn message(&self, answer: &Answer, text: &str, advice: &str) -> String {
        let said = if text.is_empty() {
            "Consul refuses without a word".to_owned()
        } else if is_html(answer) {
            "the answer is a page of HTML".to_owned()
        } else {
            match text.get(..text.floor_char_boundary(300)) {
                Some(short) if short.len() < text.len() => format!("Consul says: {short}…"),
                _ => format!("Consul says: {}", text.trim_end_matches('.')),
            }
        };
        tidy(&format!(
            "cannot {}: {said} ({}). {advice}",
            self.request.purpose,
            self.place(answer)
        ))
    }

    fn place(&self, answer: &Answer) -> String {
        format!(
            "HTTP {} from {} {}{}",
            answer.status,
            self.request.method.as_str(),
            self.address,
            self.request.path
        )
    }

    fn exchange(&self, answer: &Answer, text: &str) -> Exchange {
        Exchange {
            method: self.request.method.as_str().to_owned(),
            path: self.request.path.clone(),
            status: Some(answer.status),
            text: text.to_owned(),
        }
    }

    /// The body as text for people: no control characters, not too long, no token.
    fn text(&self, answer: &Answer) -> String {
        self.presentable(&String::from_utf8_lossy(self.beginning(answer)))
    }

    /// As much of the body as is looked at for words; a token that begins within it is there as a whole.
    fn beginning<'a>(&self, answer: &'a Answer) -> &'a [u8] {
        let end = 4 * MAX_TEXT + self.token.map_or(0, str::len);
        answer.body.get(..end).unwrap_or(&answer.body)
    }

    fn presentable(&self, said: &str) -> String {
        let said = self.redact(said);
        let mut text = String::new();
        for c in said.trim().chars() {
            if text.len() >= MAX_TEXT {
                text.push('…');
                break;
            }
            text.push(if c.is_control() { ' ' } else { c });
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn redact(&self, text: &str) -> String {
        match self.token {
            Some(token) if !token.is_empty() => text.replace(token, "<token>"),
            _ => text.to_owned(),
        }
    }
}

fn is_html(answer: &Answer) -> bool {
    answer
        .content_type
        .as_deref()
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
        || answer.body.trim_ascii_start().starts_with(b"<")
}

/// Takes out the gaps that parts left empty make.
fn tidy(message: &str) -> String {
    message.replace("  ", " ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, answer: Answer) -> Fault {
        let request = Request {
            method,
            path: "/v1/session/x".into(),
            body: vec![],
            purpose: "do it".into(),
        };
        let address = Address::parse("url", "http://h:1").unwrap();
        Context {
            request: &request,
            address: &address,
            token: Some("s3cret"),
        }
        .json(&answer)
        .map(|value| panic!("{value}"))
        .unwrap_err()
    }

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status,
            body: text.into(),
            ..Answer::default()
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
                check(Method::Put, answer(status, text)).kind.as_str(),
                kind,
                "{status} {text}"
            );
        }
    }

    #[test]
    fn says_when_a_write_may_have_been_applied() {
        assert!(check(Method::Put, answer(500, "No cluster leader")).maybe_applied);
        assert!(check(Method::Put, answer(200, "tru")).maybe_applied);
        assert!(!check(Method::Get, answer(500, "No cluster leader")).maybe_applied);
        assert!(!check(Method::Put, answer(429, "")).maybe_applied);
        assert!(!check(Method::Put, answer(500, "Missing node registration")).maybe_applied);
        assert!(!check(Method::Put, answer(403, "Permission denied")).maybe_applied);
    }

    #[test]
    fn never_repeats_the_token_or_a_flood() {
        let error = check(
            Method::Get,
            answer(500, &format!("no s3cret {}", "é".repeat(5000))),
        );
        let json = error.to_json().to_string();
        assert!(!json.contains("s3cret") && json.len() < 3000, "{json}");
        let gzip = Answer {
            content_encoding: Some("gzip".into()),
            ..answer(200, "[]")
        };
        assert_eq!(check(Method::Get, gzip).kind, ErrorKind::Protocol);
        let control = check(Method::Get, answer(500, "a\u{1b}[31mb\0"));
        assert_eq!(control.exchange.unwrap().text, "a [31mb");
    }
}
