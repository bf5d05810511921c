//! Routing: from a request's path and method to the endpoint that handles it.
//!
//! Every path the agent serves is in [`ROUTES`]. Redirects, 404 and 405 are decided here, all other
//! errors by the endpoints and in `error`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, VARY};
use hyper::{Method, StatusCode, Uri};

use crate::agent::Agent;
use crate::endpoints::{agent, catalog, health, kv, session, status, txn};
use crate::error::ErrorResponse;
use crate::go::url;
use crate::params::Params;
use crate::request::Request;
use crate::response::Response;

/// An endpoint of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    SessionCreate,
    SessionDestroy,
    SessionInfo,
    SessionNode,
    SessionList,
    SessionRenew,
    KeyValue,
    Txn,
    StatusLeader,
    StatusPeers,
    AgentSelf,
    AgentChecks,
    AgentServices,
    CheckRegister,
    CheckDeregister,
    CheckPass,
    CheckWarn,
    CheckFail,
    CheckUpdate,
    ServiceRegister,
    ServiceDeregister,
    CatalogRegister,
    CatalogDeregister,
    CatalogNodes,
    CatalogNode,
    HealthNode,
    HealthState,
}

const PUT: &str = "OPTIONS,PUT";
const GET: &str = "OPTIONS,GET";
const ANY: &str = "OPTIONS,GET,PUT,DELETE";

/// Path, methods as `Allow` lists them, endpoint. A path that ends in a slash matches every path
/// below it.
const ROUTES: &[(&str, &str, Route)] = &[
    ("/v1/session/create", PUT, Route::SessionCreate),
    ("/v1/session/destroy/", PUT, Route::SessionDestroy),
    ("/v1/session/info/", GET, Route::SessionInfo),
    ("/v1/session/node/", GET, Route::SessionNode),
    ("/v1/session/list", GET, Route::SessionList),
    ("/v1/session/renew/", PUT, Route::SessionRenew),
    ("/v1/kv/", ANY, Route::KeyValue),
    ("/v1/txn", PUT, Route::Txn),
    ("/v1/status/leader", GET, Route::StatusLeader),
    ("/v1/status/peers", GET, Route::StatusPeers),
    ("/v1/agent/self", GET, Route::AgentSelf),
    ("/v1/agent/checks", GET, Route::AgentChecks),
    ("/v1/agent/services", GET, Route::AgentServices),
    ("/v1/agent/check/register", PUT, Route::CheckRegister),
    ("/v1/agent/check/deregister/", PUT, Route::CheckDeregister),
    ("/v1/agent/check/pass/", PUT, Route::CheckPass),
    ("/v1/agent/check/warn/", PUT, Route::CheckWarn),
    ("/v1/agent/check/fail/", PUT, Route::CheckFail),
    ("/v1/agent/check/update/", PUT, Route::CheckUpdate),
    ("/v1/agent/service/register", PUT, Route::ServiceRegister),
    (
        "/v1/agent/service/deregister/",
        PUT,
        Route::ServiceDeregister,
    ),
    ("/v1/catalog/register", PUT, Route::CatalogRegister),
    ("/v1/catalog/deregister", PUT, Route::CatalogDeregister),
    ("/v1/catalog/nodes", GET, Route::CatalogNodes),
    ("/v1/catalog/node/", GET, Route::CatalogNode),
    ("/v1/health/node/", GET, Route::HealthNode),
    ("/v1/health/state/", GET, Route::HealthState),
];

/// Handles one request.
pub(crate) async fn handle(
    agent: &Agent,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let mut request = Request {
        version: agent.version,
        method: parts.method,
        suffix: String::new(),
        params: Params::default(),
        headers: parts.headers,
        body,
    };
    let mut response = respond(agent, &parts.uri, &mut request).await;
    // hyper closes a connection whose request has not been read to its end.
    if !request.drain_body().await {
        response = response.with(CONNECTION.as_str(), "close");
    }
    response.into_hyper()
}

async fn respond(agent: &Agent, uri: &Uri, request: &mut Request) -> Response {
    let Some(path) = url::decode(uri.path()) else {
        // Go's server sends this response, before Consul sees the request.
        return Response::text(StatusCode::BAD_REQUEST, "400 Bad Request")
            .with(CONNECTION.as_str(), "close");
    };
    if !path.chars().all(url::is_printable) {
        return Response::empty(StatusCode::BAD_REQUEST);
    }
    let mut cleaned = if agent.version.routes_by_encoded_path {
        url::decode(&url::clean_path(uri.path())).unwrap_or_default()
    } else {
        url::clean_path(&path)
    };
    if find(&cleaned).is_none() && find(&format!("{cleaned}/")).is_some() {
        cleaned.push('/');
    }
    if cleaned != path {
        return redirect(&request.method, &cleaned, uri.query());
    }
    let Some((route, allowed, suffix)) = find(&path) else {
        return match agent.version.unknown_path(&path) {
            Some(text) => Response::text(StatusCode::NOT_FOUND, text),
            None => Response::empty(StatusCode::NOT_FOUND),
        };
    };
    let mut response = match Params::parse(uri.query().unwrap_or_default(), agent.version) {
        None => Response::empty(StatusCode::INTERNAL_SERVER_ERROR),
        Some(_) if request.method == Method::OPTIONS => {
            Response::empty(StatusCode::OK).with(ALLOW.as_str(), allowed)
        }
        Some(_) if !allowed.split(',').any(|method| method == request.method) => {
            let text = format!("method {} not allowed", request.method);
            Response::text(StatusCode::METHOD_NOT_ALLOWED, text).with(ALLOW.as_str(), allowed)
        }
        Some(params) => {
            request.suffix = suffix.to_owned();
            request.params = params;
            let handled = route.handle(agent, request).await;
            handled.unwrap_or_else(Response::from)
        }
    };
    if !agent.version.newline_after_json && !request.params.has("pretty") {
        response.remove_newline_after_json();
    }
    if agent.version.sends_query_backend && response.headers.contains_key("X-Consul-Index") {
        response = response.with("X-Consul-Query-Backend", "blocking-query");
    }
    if agent.version.sends_default_policy {
        response = response.with("X-Consul-Default-Acl-Policy", agent.acl.default_policy());
    }
    // Go's router, which sends the responses above, does not set this header.
    response.with(VARY.as_str(), "Accept-Encoding")
}

/// Returns the endpoint of a path, its methods, and the rest of the path after the endpoint's own.
fn find(path: &str) -> Option<(Route, &'static str, &str)> {
    ROUTES.iter().find_map(|(pattern, methods, route)| {
        let suffix = path.strip_prefix(pattern)?;
        (suffix.is_empty() || pattern.ends_with('/')).then_some((*route, *methods, suffix))
    })
}

/// Creates Go's redirect to a cleaned path, which it sends for every method.
fn redirect(method: &Method, path: &str, query: Option<&str>) -> Response {
    let mut target = url::encode_path(path);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    let mut response = Response::empty(StatusCode::MOVED_PERMANENTLY);
    if matches!(*method, Method::GET | Method::HEAD) {
        let escaped = target.replace('&', "&amp;").replace('"', "&#34;");
        let html = format!("<a href=\"{escaped}\">Moved Permanently</a>.\n\n");
        response.body = Bytes::from(html);
        response = response.with(CONTENT_TYPE.as_str(), "text/html; charset=utf-8");
    }
    if let Ok(target) = HeaderValue::from_str(&target) {
        response.headers.insert(LOCATION, target);
    }
    response
}

impl Route {
    async fn handle(self, agent: &Agent, request: &mut Request) -> Result<Response, ErrorResponse> {
        match self {
            Route::SessionCreate => session::create(agent, request).await,
            Route::SessionDestroy => session::destroy(agent, request),
            Route::SessionRenew => session::renew(agent, request),
            Route::SessionInfo => session::info(agent, request).await,
            Route::SessionNode => session::node(agent, request).await,
            Route::SessionList => session::list(agent, request).await,
            Route::KeyValue => kv::handle(agent, request).await,
            Route::Txn => txn::handle(agent, request).await,
            Route::StatusLeader => status::leader(agent, request),
            Route::StatusPeers => status::peers(agent, request),
            Route::AgentSelf => agent::describe(agent, request),
            Route::AgentChecks => agent::checks(agent, request),
            Route::AgentServices => agent::services(agent, request),
            Route::CheckRegister => agent::register_check(agent, request).await,
            Route::CheckDeregister => agent::deregister_check(agent, request),
            Route::CheckPass => agent::set_check(agent, request, "passing"),
            Route::CheckWarn => agent::set_check(agent, request, "warning"),
            Route::CheckFail => agent::set_check(agent, request, "critical"),
            Route::CheckUpdate => agent::update_check(agent, request).await,
            Route::ServiceRegister => agent::register_service(agent, request).await,
            Route::ServiceDeregister => agent::deregister_service(agent, request),
            Route::CatalogRegister => catalog::register(agent, request).await,
            Route::CatalogDeregister => catalog::deregister(agent, request).await,
            Route::CatalogNodes => catalog::nodes(agent, request).await,
            Route::CatalogNode => catalog::node(agent, request).await,
            Route::HealthNode => health::node(agent, request).await,
            Route::HealthState => health::state(agent, request).await,
        }
    }
}
