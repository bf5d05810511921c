//! What must hold for any input. Each function takes the bytes that a fuzzer or a file of the corpus chose, and panics if
//! something does not hold.
//!
//! `cargo test -p consul-session-fuzz` runs the corpus. With the nightly compiler and cargo-fuzz,
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz --features fuzz parameters` searches for more.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target fails"
)]

// The policy is private to the host, whose engine would take the fuzzer minutes to compile.
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "only the checks are used"
)]
#[path = "../../../host/src/policy/mod.rs"]
mod host_policy;

/// What the policy expects of its crate.
mod error {
    pub(crate) use consul_session_core::{Error, Result};
}

use consul_session_core::duration::{parse_go, to_consul};
use consul_session_core::redact::Redactor;
use consul_session_core::{Address, terminal};
use consul_session_guest::perform;
use consul_session_guest::request::{Method, Request};
use consul_session_guest::response::Context;
use consul_session_guest::transport::{
    Call, Response, Transport, TransportError, TransportErrorKind, block_on,
};
use host_policy::Policy;
use std::cell::RefCell;

/// Answers requests from a list, and remembers them.
struct Script<'a> {
    answers: RefCell<std::slice::Iter<'a, &'a [u8]>>,
    requests: RefCell<Vec<(String, Request)>>,
}

impl<'a> Script<'a> {
    fn new(answers: &'a [&'a [u8]]) -> Script<'a> {
        Script {
            answers: RefCell::new(answers.iter()),
            requests: RefCell::default(),
        }
    }
}

impl Transport for &Script<'_> {
    async fn send(&self, call: &Call<'_>, request: &Request) -> Result<Response, TransportError> {
        let sent = (call.address.to_string(), request.clone());
        self.requests.borrow_mut().push(sent);
        match self.answers.borrow_mut().next() {
            Some(body) => Ok(Response {
                status: 200,
                body: body.to_vec(),
                ..Response::default()
            }),
            None => Err(TransportError {
                kind: TransportErrorKind::ConnectionClosed,
                detail: None,
                maybe_sent: true,
            }),
        }
    }
}

/// Parameters, and what Consul answers, separated by NUL: every request that the component makes is one that the policy
/// knows, at the address that was given, and the result is JSON.
pub fn parameters(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == 0);
    let Ok(parameters) = std::str::from_utf8(parts.next().unwrap_or_default()) else {
        return;
    };
    let answers: Vec<&[u8]> = parts.collect();
    let script = Script::new(&answers);
    let result = block_on(perform::run_json(parameters, &script));
    let text = result.as_ref().unwrap_or_else(|text| text);
    let _: serde_json::Value = serde_json::from_str(text).unwrap();
    for (address, request) in script.requests.into_inner() {
        let policy = Policy::deny_all().allow(&address).unwrap();
        let policy = policy.locks([""]).guarded_writes([""]);
        let uri: http::Uri = format!("{address}{}", request.path).parse().unwrap();
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Put => http::Method::PUT,
        };
        let judged = policy.check(&method, &uri, Some(&request.body));
        // Consul takes any name of a node. The policy lets none pass that a server or a proxy may take for another path.
        let once = percent_encoding::percent_decode_str(&request.path).decode_utf8_lossy();
        let twice = percent_encoding::percent_decode_str(&once).decode_utf8_lossy();
        let strange = |c: char| c == '\\' || c.is_control();
        let is_ambiguous = twice.contains(strange)
            || twice
                .split('/')
                .skip(1)
                .any(|part| matches!(part, "" | "." | ".."));
        assert!(judged.is_ok() || is_ambiguous, "{uri}: {judged:?}");
    }
}

/// A response with a list of sessions: both ways to decode it agree, and an error repeats no token and no control
/// character.
pub fn answers(input: &[u8]) {
    const TOKEN: &str = "0b7e5a4c-3f5d-4a35-9d6e-1f2a3b4c5d6e";
    let Some((status, body)) = input.split_first() else {
        return;
    };
    let response = Response {
        status: if *status < 200 {
            200
        } else {
            u16::from(*status) * 2
        },
        body: body.to_vec(),
        ..Response::default()
    };
    let request = Request {
        method: Method::Get,
        path: "/v1/session/list".to_owned(),
        body: Vec::new(),
        purpose: "list the sessions".to_owned(),
        hold: None,
    };
    let address = Address::parse("url", "http://consul:8500").unwrap();
    let context = Context {
        request: &request,
        address: &address,
        redactor: Redactor::new(Some(TOKEN)),
    };
    let (typed, stored) = (
        context.decoded_sessions(&response),
        context.sessions(&response),
    );
    match (&typed, &stored) {
        (Ok(typed), Ok(stored)) => {
            assert_eq!(typed.len(), stored.len());
            for (typed, stored) in typed.iter().zip(stored) {
                assert_eq!(typed, &stored.session);
            }
        }
        (Err(typed), Err(stored)) => assert_eq!(typed, stored),
        _ => panic!("{typed:?} and {stored:?}"),
    }
    if let Err(error) = typed {
        assert!(!error.message().contains(TOKEN), "{error}");
        assert!(!error.message().contains(char::is_control), "{error:?}");
        assert!(error.message().len() < 4_096, "{error}");
    }
    let _ = (context.created(&response), context.destroyed(&response));
}

/// An address that is accepted means the same when it is written and read again, and is a valid origin of a policy.
pub fn addresses(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(address) = Address::parse("url", text) else {
        return;
    };
    let written = address.to_string();
    let again = Address::parse("url", &written).unwrap();
    assert_eq!(again.to_string(), written);
    let policy = Policy::deny_all().allow(&written).unwrap();
    let uri: http::Uri = format!("{written}/v1/session/list").parse().unwrap();
    policy.check(&http::Method::GET, &uri, None).unwrap();
}

/// A duration that is written for Consul means the same when it is read.
pub fn durations(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(nanoseconds) = parse_go(text)
        && let Ok(nanoseconds) = u64::try_from(nanoseconds)
    {
        let written = to_consul(nanoseconds);
        assert_eq!(
            parse_go(&written).unwrap(),
            i64::try_from(nanoseconds).unwrap(),
            "{written}"
        );
    }
}

/// An origin and a URI, separated by a space: what is allowed goes to the session API of that origin, whatever decodes
/// its path, and carries no token.
pub fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (origin, uri) = text.split_once(' ').unwrap_or((text, ""));
    let Ok(policy) = Policy::deny_all().allow(origin) else {
        return;
    };
    let Ok(uri) = uri.parse::<http::Uri>() else {
        return;
    };
    for method in [http::Method::GET, http::Method::PUT, http::Method::DELETE] {
        if policy.check(&method, &uri, None).is_err() {
            continue;
        }
        assert_ne!(method, http::Method::DELETE);
        let authority = uri.authority().unwrap().as_str();
        assert!(!authority.contains('@'), "{uri}");
        assert_eq!(
            origin.starts_with("https:"),
            uri.scheme_str() == Some("https"),
            "{uri}"
        );
        let mut path = uri.path().to_owned();
        for _ in 0..3 {
            assert!(path.starts_with("/v1/session/"), "{uri}: {path}");
            assert!(
                !path
                    .split(['/', '\\'])
                    .any(|part| part == ".." || part == "."),
                "{uri}: {path}"
            );
            path = percent_encoding::percent_decode_str(&path)
                .decode_utf8_lossy()
                .into_owned();
        }
        let query = percent_encoding::percent_decode_str(uri.query().unwrap_or_default());
        let query = query.decode_utf8_lossy().into_owned();
        assert!(
            !query
                .split(['&', ';'])
                .any(|pair| pair.split('=').next() == Some("token")),
            "{uri}"
        );
    }
}

/// A token and a text, separated by NUL: no 8 characters of the token are left, in whatever case, and terminals get no
/// commands.
pub fn redaction(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (token, text) = text.split_once('\0').unwrap_or(("", &text));
    let clean = Redactor::new(Some(token)).text(text);
    let (lower, token) = (clean.to_ascii_lowercase(), token.to_ascii_lowercase());
    // A token with these characters may share a part with `<token>`.
    if !token.contains(['<', '>']) {
        for part in token.as_bytes().windows(8) {
            let distinct: std::collections::HashSet<&u8> = part.iter().collect();
            if distinct.len() < 4 {
                continue;
            }
            let left = lower.as_bytes().windows(8).any(|window| window == part);
            assert!(!left, "{clean:?}");
        }
    }
    let escaped = terminal::escape(&clean);
    assert!(!escaped.contains(terminal::is_unsafe), "{escaped:?}");
}
