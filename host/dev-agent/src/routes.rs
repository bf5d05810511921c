//! The paths the agent serves and their methods.

use crate::http::{Agent, Refusal, Reply, Request};
use crate::{agent_endpoint, catalog_endpoint, kv_endpoint, session_endpoint};

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    SessionCreate,
    SessionDestroy,
    SessionInfo,
    SessionNode,
    SessionList,
    SessionRenew,
    Kv,
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

/// Path, methods (as `Allow` spells them), endpoint. A path that ends in a slash takes a tail.
const ROUTES: &[(&str, &str, Route)] = &[
    ("/v1/session/create", PUT, Route::SessionCreate),
    ("/v1/session/destroy/", PUT, Route::SessionDestroy),
    ("/v1/session/info/", GET, Route::SessionInfo),
    ("/v1/session/node/", GET, Route::SessionNode),
    ("/v1/session/list", GET, Route::SessionList),
    ("/v1/session/renew/", PUT, Route::SessionRenew),
    ("/v1/kv/", "OPTIONS,GET,PUT,DELETE", Route::Kv),
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

/// The endpoint of a path, and what follows the endpoint's own part of it.
pub(super) fn find(path: &str) -> Option<(Route, String)> {
    ROUTES.iter().find_map(|(pattern, _, route)| {
        if pattern.ends_with('/') {
            let tail = path.strip_prefix(pattern)?;
            Some((*route, tail.to_owned()))
        } else {
            (path == *pattern).then(|| (*route, String::new()))
        }
    })
}

impl Route {
    /// The methods, as `Allow` spells them.
    pub(super) fn methods(self) -> &'static str {
        let found = ROUTES.iter().find(|(_, _, route)| *route == self);
        found.map_or("OPTIONS", |(_, methods, _)| methods)
    }

    pub(super) async fn answer(self, agent: &Agent, request: Request) -> Result<Reply, Refusal> {
        match self {
            Route::SessionCreate => session_endpoint::create(agent, request).await,
            Route::SessionDestroy => session_endpoint::destroy(agent, &request),
            Route::SessionRenew => session_endpoint::renew(agent, &request),
            Route::SessionInfo => session_endpoint::info(agent, &request).await,
            Route::SessionNode => session_endpoint::node(agent, &request).await,
            Route::SessionList => session_endpoint::list(agent, &request).await,
            Route::Kv => kv_endpoint::kv(agent, request).await,
            Route::Txn => kv_endpoint::txn(agent, request).await,
            Route::StatusLeader => agent_endpoint::leader(agent, &request),
            Route::StatusPeers => agent_endpoint::peers(agent, &request),
            Route::AgentSelf => agent_endpoint::describe(agent, &request),
            Route::AgentChecks => agent_endpoint::checks(agent, &request),
            Route::AgentServices => agent_endpoint::services(agent, &request),
            Route::CheckRegister => agent_endpoint::register_check(agent, request).await,
            Route::CheckDeregister => agent_endpoint::deregister_check(agent, &request),
            Route::CheckPass => agent_endpoint::set_check(agent, &request, "passing"),
            Route::CheckWarn => agent_endpoint::set_check(agent, &request, "warning"),
            Route::CheckFail => agent_endpoint::set_check(agent, &request, "critical"),
            Route::CheckUpdate => agent_endpoint::update_check(agent, request).await,
            Route::ServiceRegister => agent_endpoint::register_service(agent, request).await,
            Route::ServiceDeregister => agent_endpoint::deregister_service(agent, &request),
            Route::CatalogRegister => catalog_endpoint::register(agent, request).await,
            Route::CatalogDeregister => catalog_endpoint::deregister(agent, request).await,
            Route::CatalogNodes => catalog_endpoint::nodes(agent, &request).await,
            Route::CatalogNode => catalog_endpoint::node(agent, &request).await,
            Route::HealthNode => catalog_endpoint::health_of_node(agent, &request).await,
            Route::HealthState => catalog_endpoint::health_in_state(agent, &request).await,
        }
    }
}
