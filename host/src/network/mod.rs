//! The network as a component gets it: every request passes [`Network::send`], where the policy decides, the token is
//! added and every wait is bounded. One `Network` belongs to one client: no connection, TLS ticket or token is shared.

mod body;
mod connector;
mod fault;

pub(crate) use fault::Fault;

use crate::policy::{Policy, origin_of};
use crate::token::Token;
use crate::trust::Trust;
use body::Bounded;
use bytes::Bytes;
use connector::Connector;
use fault::Kind;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime_wasi_http::{RequestOptions, WasiBody};

/// Consul's header for a token.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-consul-token");

/// How long an idle connection is kept. Consul keeps its side open for good, proxies before it for 60 s and more.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections kept per origin; more calls than this at once are rare, and cost a connection each.
const MAX_IDLE: usize = 32;
/// By how much a dial gives up before its request does.
const DIAL_MARGIN: Duration = Duration::from_millis(10);
/// Headers of Consul's answers take under 1 KiB.
const MAX_HEADERS: usize = 64;

/// A request of a component that came to its end, as an observer is told of it. It never holds the host's token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The status of the answer; none if there was none.
    pub status: Option<u16>,
    /// How long it took until the answer's headers were there, or until the request was given up.
    pub elapsed: Duration,
}

/// Is told of every request.
pub(crate) type Observer = Arc<dyn Fn(&Report) + Send + Sync>;

/// What a client may reach, and how.
pub(crate) struct Network {
    client: Client<Connector, WasiBody>,
    policy: Arc<Policy>,
    token: Option<(Uri, HeaderValue)>,
    response_limit: usize,
    observer: Option<Observer>,
}

/// The settings of a network.
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    pub(crate) trust: Trust,
    /// The token, and the one origin that gets it.
    pub(crate) token: Option<(Uri, Token)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_limit: usize,
    pub(crate) observer: Option<Observer>,
}

impl Network {
    pub(crate) fn new(settings: Settings) -> anyhow::Result<Network> {
        let policy = Arc::new(settings.policy);
        let connector = Connector::new(policy.clone(), settings.trust, settings.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_timer(TokioTimer::new())
            .http1_max_headers(MAX_HEADERS)
            .build(connector);
        let token = match settings.token {
            None => None,
            Some((origin, token)) => {
                let mut value = HeaderValue::from_str(token.reveal())?;
                value.set_sensitive(true);
                Some((origin, value))
            }
        };
        Ok(Network {
            client,
            policy,
            token,
            response_limit: settings.response_limit,
            observer: settings.observer,
        })
    }

    /// Whether the host adds the token, so that a component may not send one of its own.
    pub(crate) fn injects_token(&self) -> bool {
        self.token.is_some()
    }

    /// The token that the host adds, to be kept out of messages.
    pub(crate) fn token(&self) -> Option<&str> {
        let (_, token) = self.token.as_ref()?;
        token.to_str().ok()
    }

    /// Sends a request for a component. The deadline is the call's; the component may ask for less time to wait for an answer
    /// and for each part of it, not for more. The
    /// permit is given back when the answer has been read or dropped.
    pub(crate) async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<WasiBody>, Fault> {
        let Some(observer) = &self.observer else {
            return self.exchange(request, options, deadline, permit).await;
        };
        let method = request.method().to_string();
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let begun = Instant::now();
        let answer = self.exchange(request, options, deadline, permit).await;
        observer(&Report {
            method,
            path,
            status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
            elapsed: begun.elapsed(),
        });
        answer
    }

    async fn exchange(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<WasiBody>, Fault> {
        self.policy
            .check(request.method(), request.uri())
            .map_err(|why| Fault::new(Kind::Denied, why))?;
        self.inject_token(&mut request);
        let until = |wait: Option<Duration>| {
            let asked = wait.map_or(deadline, |wait| Instant::now() + wait);
            asked.min(deadline)
        };
        let answer_by = until(options.first_byte_timeout);
        let margin = DIAL_MARGIN.min(answer_by.saturating_duration_since(Instant::now()) / 4);
        let exchange = connector::DIAL_BY.scope(answer_by - margin, self.client.request(request));
        let response = match tokio::time::timeout_at(answer_by, exchange).await {
            Ok(response) => response.map_err(Fault::from_client)?,
            Err(_) => return Err(Fault::new(Kind::ReadTimeout, "no answer came in time")),
        };
        let (limit, between) = (self.response_limit, options.between_bytes_timeout);
        Ok(
            response
                .map(|body| Bounded::new(body, limit, between, deadline, permit).boxed_unsync()),
        )
    }

    fn inject_token(&self, request: &mut Request<WasiBody>) {
        if let Some((origin, token)) = &self.token {
            request.headers_mut().remove(TOKEN_HEADER);
            if origin_of(origin).eq_ignore_ascii_case(&origin_of(request.uri())) {
                request.headers_mut().insert(TOKEN_HEADER, token.clone());
            }
        }
    }
}

/// The body of an answer as hyper gives it.
type Incoming = hyper::body::Incoming;

/// A part of a body.
type Data = Bytes;
