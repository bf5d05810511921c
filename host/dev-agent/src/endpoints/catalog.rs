//! `/v1/catalog/`: registers and lists nodes.

use serde_json::{Value, json};

use super::definitions::{decode_deregistration, decode_registration};
use crate::acl::Access;
use crate::agent::{Agent, Read};
use crate::error::ErrorResponse;
use crate::go::json::Json;
use crate::request::Request;
use crate::response::Response;
use crate::state::catalog::NodeDetails;
use crate::state::{Query, State};

/// `PUT /v1/catalog/register`
pub(crate) async fn register(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    let json = read_json(agent, request).await?;
    let registration =
        decode_registration(&json, agent.version).map_err(ErrorResponse::decode_failed)?;
    // Consul reads the datacenter from the body here, not from the query.
    agent.check_datacenter(&registration.node.datacenter)?;
    // Consul checks the service first, but not its own.
    match &registration.service {
        Some(service) if service.service != "consul" => {
            agent.require(request, "service:write", &service.service)?;
        }
        _ => agent.require(request, "node:write", &registration.node.node)?,
    }
    agent.state.with(|state| state.register(registration))?;
    Ok(Response::json(&true))
}

/// `PUT /v1/catalog/deregister`
pub(crate) async fn deregister(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    let json = read_json(agent, request).await?;
    let target = decode_deregistration(&json).map_err(ErrorResponse::decode_failed)?;
    if target.node.is_empty() {
        return Err(ErrorResponse::internal_server_error("Must provide node"));
    }
    agent.check_datacenter(&target.datacenter)?;
    agent.require(request, "node:write", &target.node)?;
    agent
        .state
        .with(|state| state.deregister(&target.node, &target.service, &target.check));
    Ok(Response::json(&true))
}

/// `GET /v1/catalog/nodes`
pub(crate) async fn nodes(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.reject_partition()?;
    let nodes = |state: &State| -> Vec<NodeDetails> {
        let nodes = state.catalog.nodes();
        nodes.map(|node| node.details.clone()).collect()
    };
    read(agent, request, Query::Nodes, |state, access| {
        let readable = access.is_allowed().then(|| nodes(state));
        json!(readable.unwrap_or_default())
    })
    .await
}

/// `GET /v1/catalog/node/:name`
pub(crate) async fn node(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let name = non_empty_suffix(request, "Missing node name")?;
    let query = Query::Node(name.to_lowercase());
    read(agent, request, query, |state, access| {
        let node = state.catalog.node(name);
        match node.filter(|_| access.is_allowed()) {
            None => Value::Null,
            Some(node) => json!({ "Node": node.details, "Services": node.services }),
        }
    })
    .await
}

/// Runs a read of the catalog and serializes what `rows` returns.
pub(super) async fn read(
    agent: &Agent,
    request: &Request,
    query: Query,
    rows: impl Fn(&State, Access) -> Value,
) -> Result<Response, ErrorResponse> {
    // Invalid parameters are not a failed read: the response has no index.
    request.blocking_options()?;
    // An unfiltered response would look like the result of the filter.
    for selection in ["filter", "node-meta"] {
        if request.params.get_non_empty(selection).is_some() {
            return Err(ErrorResponse::bad_request(format!(
                "the development agent does not support ?{selection}"
            )));
        }
    }
    let read = agent.read(request, query, rows).await;
    let Read { meta, rows } = read.map_err(ErrorResponse::with_failed_read_headers)?;
    let response = Response::json(&rows).with_query_meta(meta);
    let consistency = ["stale", "consistent"]
        .into_iter()
        .find(|mode| request.params.has(mode));
    Ok(response.with(
        "X-Consul-Effective-Consistency",
        consistency.unwrap_or("leader"),
    ))
}

/// Returns the name that a path ends in; a missing name is a 400 with the text `missing`.
pub(super) fn non_empty_suffix<'a>(
    request: &'a Request,
    missing: &str,
) -> Result<&'a str, ErrorResponse> {
    if request.suffix.is_empty() {
        return Err(ErrorResponse::bad_request(missing));
    }
    Ok(&request.suffix)
}

async fn read_json(agent: &Agent, request: &mut Request) -> Result<Json, ErrorResponse> {
    request.reject_namespace()?;
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    Json::parse(&body).map_err(ErrorResponse::decode_failed)
}
