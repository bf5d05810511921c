//! `/v1/health/`: lists checks.

use serde_json::json;

use super::catalog::{non_empty_suffix, read};
use crate::agent::Agent;
use crate::error::ErrorResponse;
use crate::request::Request;
use crate::response::Response;
use crate::state::Query;
use crate::state::catalog::Check;

/// `GET /v1/health/node/:name`
pub(crate) async fn node(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    let name = non_empty_suffix(request, "Missing node name")?;
    let query = Query::NodeChecks(name.to_lowercase());
    checks(agent, request, query, |check| {
        check.node.eq_ignore_ascii_case(name)
    })
    .await
}

/// `GET /v1/health/state/:state`
pub(crate) async fn state(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    let status = non_empty_suffix(request, "Missing check state")?;
    checks(agent, request, Query::Checks, |check| {
        status == "any" || check.status == status
    })
    .await
}

async fn checks(
    agent: &Agent,
    request: &Request,
    query: Query,
    matches: impl Fn(&Check) -> bool,
) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    read(agent, request, query, |state, access| {
        let nodes = state.catalog.nodes().filter(|_| access.is_allowed());
        let checks = nodes.flat_map(|node| node.checks.values());
        json!(checks.filter(|check| matches(check)).collect::<Vec<_>>())
    })
    .await
}
