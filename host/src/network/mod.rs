//! The network of one client. Every request of a component passes [`Network::send`], where the policy decides, the token
//! is added, and every wait is bounded. Clients share no connection, TLS ticket or token.

mod body;
mod connections;
mod connector;
mod error;
mod tls_error;

pub(crate) use body::LimitedBody;
pub(crate) use connections::{Connection, Connections, Share};
pub(crate) use error::{Kind, OUT_OF_DESCRIPTORS, RequestError, out_of_descriptors};

use crate::error::Result;
use crate::policy::{MAX_TRANSACTION, Policy, TRANSACTIONS, origin_of};
use crate::token::Token;
use crate::trust::Trust;
use bytes::Bytes;
use connections::Use;
use connector::Connector;
use consul_session_core::redact::Redactor;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime_wasi_http::WasiBody;

/// Consul's header for the token.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-consul-token");

/// How long an idle connection is kept. Consul keeps its side open, and proxies in front of it usually for 60 s or more.
const IDLE: Duration = Duration::from_secs(30);
/// How much earlier a connection attempt gives up than its request.
const DIAL_MARGIN: Duration = Duration::from_millis(10);
/// Maximum number of response headers. Consul sends fewer than 20.
const MAX_HEADERS: usize = 64;

/// A finished request, as passed to [`ClientBuilder::on_request`](crate::ClientBuilder::on_request). It does not contain
/// the header with the host's token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The status of the response, or none if there was none.
    pub status: Option<u16>,
    /// The time until the response's headers arrived or the request was given up.
    pub elapsed: Duration,
}

/// The body of a request: complete, or as a component writes it.
pub(crate) type RequestBody = Either<Full<Bytes>, WasiBody>;

/// How long a component wants to wait at most for a response, and for each part of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Timeouts {
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) between_bytes: Option<Duration>,
}

/// Called after each request.
pub(crate) type Observer = Arc<dyn Fn(&Report) + Send + Sync>;

/// What a client may reach, and how.
pub(crate) struct Network {
    client: Client<Connector, RequestBody>,
    policy: Arc<Policy>,
    credential: Option<Credential>,
    response_limit: usize,
    observer: Option<Observer>,
}

/// A token, and the one origin that receives it.
struct Credential {
    origin: String,
    header: HeaderValue,
    token: Token,
}

/// The settings of a network.
pub(crate) struct Settings<'a> {
    pub(crate) policy: Policy,
    pub(crate) trust: Trust,
    /// The origin that receives the token.
    pub(crate) origin: &'a str,
    pub(crate) token: Option<Token>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_limit: usize,
    pub(crate) observer: Option<Observer>,
    pub(crate) share: Arc<Share>,
}

impl Network {
    pub(crate) fn new(settings: Settings<'_>) -> Result<Network> {
        let policy = Arc::new(settings.policy);
        let connector = Connector::new(
            policy.clone(),
            settings.trust,
            settings.connect_timeout,
            settings.share,
        );
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections::CLIENT_IDLE)
            .pool_timer(TokioTimer::new())
            .http1_max_headers(MAX_HEADERS)
            .build(connector);
        let credential = match settings.token {
            None => None,
            Some(token) => {
                let header = HeaderValue::from_str(token.expose());
                let mut header = header
                    .map_err(|_| crate::Error::invalid("token", "`token` cannot be a header"))?;
                header.set_sensitive(true);
                Some(Credential {
                    origin: settings.origin.to_owned(),
                    header,
                    token,
                })
            }
        };
        Ok(Network {
            client,
            policy,
            credential,
            response_limit: settings.response_limit,
            observer: settings.observer,
        })
    }

    /// Whether the host adds the token, so that a component must not send one.
    pub(crate) fn injects_token(&self) -> bool {
        self.credential.is_some()
    }

    /// Redacts the token that the host adds.
    pub(crate) fn redactor(&self) -> Redactor<'_> {
        let credential = self.credential.as_ref();
        Redactor::new(credential.map(|credential| credential.token.expose()))
    }

    /// Sends a request for a component.
    ///
    /// `deadline` is the call's. The component may set shorter timeouts, but not longer ones.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
        timeouts: Timeouts,
        deadline: Instant,
    ) -> Result<Response<LimitedBody>, RequestError> {
        let Some(observer) = &self.observer else {
            return self.exchange(request, timeouts, deadline).await;
        };
        let method = request.method().to_string();
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let start = Instant::now();
        let result = self.exchange(request, timeouts, deadline).await;
        observer(&Report {
            method,
            path,
            status: result
                .as_ref()
                .ok()
                .map(|response| response.status().as_u16()),
            elapsed: start.elapsed(),
        });
        result
    }

    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        timeouts: Timeouts,
        deadline: Instant,
    ) -> Result<Response<LimitedBody>, RequestError> {
        let body = match request.uri().path() {
            TRANSACTIONS => Some(whole_body(&mut request, deadline).await?),
            _ => None,
        };
        self.policy
            .check(request.method(), request.uri(), body.as_deref())
            .map_err(|why| RequestError::new(Kind::Denied, why))?;
        self.inject_token(&mut request);
        let respond_by = timeouts
            .first_byte
            .map_or(deadline, |timeout| deadline.min(Instant::now() + timeout));
        let margin = DIAL_MARGIN.min(respond_by.saturating_duration_since(Instant::now()) / 4);
        let dial_by = timeouts.connect.map_or(respond_by - margin, |timeout| {
            (respond_by - margin).min(Instant::now() + timeout)
        });
        let captured = capture_connection(&mut request);
        let exchange = connector::DIAL_BY.scope(dial_by, self.client.request(request));
        let mut exchange = pin!(exchange);
        let mut used: Option<Use> = None;
        let exchange = poll_fn(|context| {
            let polled = exchange.as_mut().poll(context);
            if used.is_none() {
                used = connection_of(&captured).map(Use::begin);
            }
            polled
        });
        let response = match tokio::time::timeout_at(respond_by, exchange).await {
            Ok(response) => response.map_err(RequestError::from_client)?,
            Err(_) => {
                let why = "no response arrived in time";
                return Err(RequestError::new(Kind::ReadTimeout, why));
            }
        };
        let (limit, between) = (self.response_limit, timeouts.between_bytes);
        let (mut head, body) = response.into_parts();
        if let Some(connection) = head.extensions.remove::<Arc<Connection>>() {
            // If the first connection was closed before it took the request, there was another.
            let same = used.take().filter(|used| used.is_of(&connection));
            used = Some(same.unwrap_or_else(|| Use::begin(connection)));
        }
        let body = LimitedBody::new(body, limit, between, deadline, used);
        Ok(Response::from_parts(head, body))
    }

    fn inject_token(&self, request: &mut Request<RequestBody>) {
        if let Some(credential) = &self.credential {
            request.headers_mut().remove(TOKEN_HEADER);
            if origin_of(request.uri()).eq_ignore_ascii_case(&credential.origin) {
                let header = credential.header.clone();
                request.headers_mut().insert(TOKEN_HEADER, header);
            }
        }
    }
}

/// Reads the body of a transaction, which the policy judges before anything is sent.
async fn whole_body(
    request: &mut Request<RequestBody>,
    deadline: Instant,
) -> Result<Bytes, RequestError> {
    let body = std::mem::replace(request.body_mut(), Either::Left(Full::default()));
    let body = Limited::new(body, MAX_TRANSACTION).collect();
    let denied = |why: &str| RequestError::new(Kind::Denied, why);
    let body = match tokio::time::timeout_at(deadline, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return Err(denied(
                "the transaction is larger than 1 MiB, or incomplete",
            ));
        }
        Err(_) => return Err(denied("the transaction did not arrive in time")),
    };
    *request.body_mut() = Either::Left(Full::new(body.clone()));
    Ok(body)
}

/// The connection that a request got.
fn connection_of(captured: &CaptureConnection) -> Option<Arc<Connection>> {
    let mut extensions = http::Extensions::new();
    let connected = captured.connection_metadata();
    (*connected).as_ref()?.get_extras(&mut extensions);
    extensions.remove()
}
