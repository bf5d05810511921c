//! The tricks in the world `embedded`, where a component can put anything into a request, or never end.

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod bindings {
    // Without locks, like a component of version 0.1 of the package.
    wit_bindgen::generate!({
        path: "../../wit",
        world: "test:hostile/embedded",
        inline: "
            package test:hostile;
            world embedded {
                export consul:session/types@0.2.0;
                export consul:session/steps@0.2.0;
                export consul:session/start@0.2.0;
                export consul:session/finish@0.2.0;
            }
        ",
    });
}

use crate::tricks::Trick;
use bindings::exports::consul::session::{finish, start, steps, types};
use std::cell::RefCell;
use steps::{Header, Method, Request, Response, Scheme, Timeouts, TransportError};
use types::{Agent, Ensured, Error, Listing, NewSession, OnDifference, Session};

struct Hostile;

bindings::export!(Hostile with_types_in bindings);

thread_local! {
    /// The trick with its argument, and how many responses it has got.
    static TRICK: RefCell<(Trick, String, usize)> = const { RefCell::new((Trick::Get, String::new(), 0)) };
    /// What calls in this instance left.
    static MEMORY: RefCell<String> = const { RefCell::new(String::new()) };
    static RESULT: RefCell<Option<Result<String, String>>> = const { RefCell::new(None) };
}

fn done(result: Result<String, String>) -> Option<Request> {
    RESULT.set(Some(result.map(|text| {
        serde_json::json!({"changed": false, "text": text}).to_string()
    })));
    None
}

fn begin(trick: Trick, argument: &str) -> Option<Request> {
    match trick {
        Trick::Spin => loop {
            std::hint::black_box(());
        },
        Trick::Grow => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&all);
            }
        }
        Trick::Remember => done(Ok(MEMORY.with_borrow_mut(|memory| {
            memory.push_str(argument);
            memory.clone()
        }))),
        Trick::Recurse => done(Ok(recurse(1).to_string())),
        Trick::Trap => std::process::abort(),
        Trick::Put | Trick::Write => Some(request(Method::Put, argument, None)),
        Trick::Delete => Some(request(Method::Delete, argument, None)),
        Trick::Token => Some(request(
            Method::Get,
            argument,
            Some(("x-consul-token", "stolen")),
        )),
        Trick::Authorization => Some(request(
            Method::Get,
            argument,
            Some(("authorization", "Bearer stolen")),
        )),
        Trick::Host => Some(request(Method::Get, argument, Some(("host", "elsewhere")))),
        Trick::Smuggle => Some(request(
            Method::Get,
            argument,
            Some(("accept", "a\r\nx-consul-token: stolen")),
        )),
        Trick::Length => {
            let mut request = request(Method::Put, argument, Some(("content-length", "0")));
            request.body = b"GET /v1/kv/secret HTTP/1.1\r\n\r\n".to_vec();
            Some(request)
        }
        Trick::Announce => Some(request(
            Method::Get,
            argument,
            Some(("content-length", "40")),
        )),
        Trick::Expect => Some(request(
            Method::Get,
            argument,
            Some(("expect", "100-continue")),
        )),
        Trick::ReadBody => {
            let mut request = request(Method::Get, argument, None);
            request.body = b"GET /v1/kv/secret HTTP/1.1\r\n\r\n".to_vec();
            Some(request)
        }
        Trick::Path => {
            let mut request = request(Method::Get, argument, None);
            request
                .path_with_query
                .push_str(" HTTP/1.1\r\nx-consul-token: stolen");
            Some(request)
        }
        Trick::Authority => {
            let mut request = request(Method::Get, argument, None);
            request.authority.push_str("\r\n");
            Some(request)
        }
        Trick::HeaderNames => {
            let mut request = request(Method::Get, argument, None);
            let header = |number| Header {
                name: format!("x{number}"),
                value: String::new(),
            };
            request.headers = (0..30_000).map(header).collect();
            Some(request)
        }
        Trick::Headers => {
            let mut request = request(Method::Get, argument, None);
            let header = |number| Header {
                name: format!("x-{number}"),
                value: "x".repeat(1000),
            };
            request.headers = (0..30_000).map(header).collect();
            Some(request)
        }
        _ => Some(request(Method::Get, argument, None)),
    }
}

/// About a millisecond.
fn spin_briefly() {
    for number in 0..1_000_000_u32 {
        std::hint::black_box(number);
    }
}

#[expect(unconditional_recursion, reason = "the trick is to exhaust the stack")]
fn recurse(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + here[0]
}

fn request(method: Method, url: &str, header: Option<(&str, &str)>) -> Request {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    Request {
        method,
        scheme: if scheme == "https" {
            Scheme::Https
        } else {
            Scheme::Http
        },
        authority: authority.to_owned(),
        path_with_query: format!("/{path}"),
        headers: header
            .into_iter()
            .map(|(name, value)| Header {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .collect(),
        body: Vec::new(),
        timeouts: Timeouts {
            connect: u64::MAX,
            first_byte: u64::MAX,
            between_bytes: u64::MAX,
        },
        hold: Some(u64::MAX),
        max_body: u64::MAX,
        // A lie, for every method but GET.
        writes: false,
    }
}

impl steps::Guest for Hostile {
    fn resume(response: Result<Response, TransportError>) -> Option<Request> {
        let (trick, argument, count) = TRICK.with_borrow_mut(|(trick, argument, count)| {
            *count += 1;
            (*trick, argument.clone(), *count)
        });
        match (trick, count) {
            // Only the deadline ends this.
            (Trick::Flood, _) => Some(request(Method::Get, &argument, None)),
            (Trick::SpinBetween, _) => {
                spin_briefly();
                Some(request(Method::Get, &argument, None))
            }
            (Trick::SpinSteps, _) => {
                (0..8).for_each(|_| spin_briefly());
                Some(request(Method::Get, &argument, None))
            }
            (Trick::Write, 1) => Some(request(Method::Get, &argument, None)),
            (Trick::Write, _) => std::process::abort(),
            (Trick::SpinLater, _) => loop {
                std::hint::black_box(());
            },
            _ => done(match response {
                Ok(response) => Ok(format!(
                    "{} {}",
                    response.status,
                    String::from_utf8_lossy(&response.body)
                )),
                Err(error) => Err(format!(
                    "{:?} {}",
                    error.kind,
                    error.detail.unwrap_or_default()
                )),
            }),
        }
    }
}

impl start::Guest for Hostile {
    fn action(params: String) -> Option<Request> {
        let params: serde_json::Value = serde_json::from_str(&params).unwrap_or_default();
        let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
        let argument = text("argument");
        let Some(trick) = Trick::named(&text("trick")) else {
            return done(Err("no such trick".to_owned()));
        };
        TRICK.set((trick, argument.clone(), 0));
        match trick {
            // These two results do not follow the interface.
            Trick::Fail => {
                let (word, count) = argument.split_once(' ').unwrap_or_default();
                RESULT.set(Some(Err(word.repeat(count.parse().unwrap_or(0)))));
                None
            }
            Trick::Answer => {
                RESULT.set(Some(Ok("x".repeat(argument.parse().unwrap_or(0)))));
                None
            }
            _ => begin(trick, &argument),
        }
    }
    fn create(_: Agent, _: NewSession) -> Option<Request> {
        None
    }
    fn destroy(_: Agent, _: String) -> Option<Request> {
        None
    }
    fn info(_: Agent, _: String) -> Option<Request> {
        None
    }
    fn node(_: Agent, _: String) -> Option<Request> {
        None
    }
    fn list(_: Agent) -> Option<Request> {
        None
    }
    fn renew(_: Agent, _: String) -> Option<Request> {
        None
    }
    fn ensure(_: Agent, _: NewSession, _: OnDifference) -> Option<Request> {
        None
    }
    fn remove(_: Agent, _: String, _: Option<String>) -> Option<Request> {
        None
    }
}

impl finish::Guest for Hostile {
    fn action() -> Result<String, String> {
        RESULT.take().unwrap_or_else(|| Err("nothing".to_owned()))
    }
    fn create() -> Result<String, Error> {
        std::process::abort()
    }
    fn destroy() -> Result<(), Error> {
        std::process::abort()
    }
    fn info() -> Result<Option<Session>, Error> {
        std::process::abort()
    }
    fn node() -> Result<Listing, Error> {
        std::process::abort()
    }
    fn list() -> Result<Listing, Error> {
        std::process::abort()
    }
    fn renew() -> Result<Session, Error> {
        std::process::abort()
    }
    fn ensure() -> Result<Ensured, Error> {
        std::process::abort()
    }
    fn remove() -> Result<Vec<String>, Error> {
        std::process::abort()
    }
}
