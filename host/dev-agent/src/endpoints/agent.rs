//! `/v1/agent/`: the agent itself, its services and its checks.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::definitions::{decode_agent_check, decode_agent_service};
use crate::acl::Access;
use crate::agent::Agent;
use crate::error::ErrorResponse;
use crate::go::json::Json;
use crate::request::Request;
use crate::response::Response;
use crate::state::catalog::{Check, NodeDetails, Registration, Service};

/// `GET /v1/agent/self`, with the fields that clients read.
pub(crate) fn describe(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    agent.require(request, "agent:read", &agent.node)?;
    let id = agent.state.with(|state| {
        let own = state.catalog.node(&agent.node);
        own.map(|node| node.details.id.clone())
    });
    Ok(Response::json(&json!({
        "Config": {
            "Datacenter": agent.datacenter,
            "NodeName": agent.node,
            "NodeID": id,
            "Revision": "",
            "Server": true,
            "Version": agent.version.number,
        },
        "DebugConfig": { "DevMode": true },
        "Member": {
            "Name": agent.node,
            "Addr": agent.address.ip(),
            "Port": agent.address.port(),
            "Tags": { "dc": agent.datacenter, "role": "consul" },
            "Status": 1,
        },
        "Meta": { "consul-network-segment": "" },
        // `consul info` prints these.
        "Stats": {
            "build": { "version": agent.version.number, "prerelease": "dev-agent", "revision": "" },
            "consul": {
                "bootstrap": "true",
                "known_datacenters": "1",
                "leader": "true",
                "leader_addr": agent.address.to_string(),
                "server": "true",
            },
        },
    })))
}

/// `GET /v1/agent/checks`
pub(crate) fn checks(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let checks: BTreeMap<String, Check> = agent.state.with(|state| {
        let checks = state.local_checks();
        checks
            .map(|check| (check.check_id.clone(), check))
            .collect()
    });
    filtered(agent, request, checks)
}

/// `GET /v1/agent/services`
pub(crate) fn services(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let services: BTreeMap<String, Value> = agent.state.with(|state| {
        // Consul's own service is in the catalog only.
        let services = state
            .local_services()
            .filter(|service| service.id != "consul");
        let describe = |service: &Service| {
            let description = json!({
                "ID": service.id,
                "Service": service.service,
                "Tags": service.tags,
                "Meta": service.meta.clone().unwrap_or_default(),
                "Port": service.port,
                "Address": service.address,
                "Weights": service.weights,
                "EnableTagOverride": service.enable_tag_override,
            });
            (service.id.clone(), description)
        };
        services.map(describe).collect()
    });
    filtered(agent, request, services)
}

/// Responds with all entries, or with none if the request may not read them.
fn filtered<T: Serialize>(
    agent: &Agent,
    request: &Request,
    mut entries: BTreeMap<String, T>,
) -> Result<Response, ErrorResponse> {
    let access = agent.access(request)?;
    if access.is_allowed() {
        return Ok(Response::json(&entries));
    }
    let hidden = !entries.is_empty();
    entries.clear();
    let response = Response::json(&entries);
    Ok(response.with_filtered(hidden && agent.reports_filtering(access)))
}

/// `PUT /v1/agent/check/register`
pub(crate) async fn register_check(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let json = Json::parse(&body).map_err(ErrorResponse::decode_failed)?;
    let definition = decode_agent_check(&json, &["id"]).map_err(ErrorResponse::decode_failed)?;
    if definition.check.name.is_empty() {
        return Err(ErrorResponse::bad_request("Missing check name"));
    }
    let (mut check, ttl) = definition.validate().map_err(ErrorResponse::bad_request)?;
    if check.check_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
    let access = agent.access(request)?;
    reject_unknown_service(agent, &check)?;
    require(agent, access, "node:write", &agent.node)?;
    reject_scripts(&check)?;
    agent.state.with(|state| state.register_check(check, ttl))?;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/check/pass/:id`, and the same for `warn` and `fail`
pub(crate) fn set_check(
    agent: &Agent,
    request: &Request,
    status: &str,
) -> Result<Response, ErrorResponse> {
    let note = request.params.get("note").unwrap_or_default();
    set_status(agent, request, status, note)
}

/// `PUT /v1/agent/check/update/:id`
pub(crate) async fn update_check(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let json = Json::parse(&body).map_err(ErrorResponse::decode_failed)?;
    let (mut status, mut output) = (String::new(), String::new());
    for (name, value) in json.fields("value").map_err(ErrorResponse::decode_failed)? {
        match name.to_ascii_lowercase().as_str() {
            "status" => value.string(".Status", &mut status),
            "output" => value.string(".Output", &mut output),
            _ => Err(format!("json: unknown field {name:?}")),
        }
        .map_err(ErrorResponse::decode_failed)?;
    }
    if !matches!(status.as_str(), "passing" | "warning" | "critical") {
        return Err(ErrorResponse::bad_request(format!(
            "Invalid check status: '{status}'"
        )));
    }
    set_status(agent, request, &status, &output)
}

fn set_status(
    agent: &Agent,
    request: &Request,
    status: &str,
    output: &str,
) -> Result<Response, ErrorResponse> {
    authorize_check(agent, request)?;
    agent
        .state
        .with(|state| state.update_check(&request.suffix, status, output))?;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/check/deregister/:id`
pub(crate) fn deregister_check(
    agent: &Agent,
    request: &Request,
) -> Result<Response, ErrorResponse> {
    authorize_check(agent, request)?;
    if request.suffix.is_empty() {
        return Err(ErrorResponse::internal_server_error("CheckID missing"));
    }
    // Unlike the catalog, the agent compares ids including case.
    let id = &request.suffix;
    agent.state.with(|state| {
        if state.local_checks().any(|check| check.check_id == *id) {
            state.deregister(&agent.node, "", id);
        }
    });
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/service/register`
pub(crate) async fn register_service(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let json = Json::parse(&body).map_err(ErrorResponse::decode_failed)?;
    let (service, definitions) =
        decode_agent_service(&json).map_err(ErrorResponse::decode_failed)?;
    if service.service.is_empty() {
        return Err(ErrorResponse::bad_request("Missing service name"));
    }
    let access = agent.access(request)?;
    require(agent, access, "service:write", &service.service)?;
    let count = definitions.len();
    let mut checks = Vec::with_capacity(count);
    for (number, definition) in definitions.into_iter().enumerate() {
        let (mut check, ttl) = definition.validate().map_err(ErrorResponse::bad_request)?;
        if check.check_id.is_empty() {
            check.check_id = match count {
                1 => format!("service:{}", service.id),
                _ => format!("service:{}:{}", service.id, number + 1),
            };
        }
        if check.name.is_empty() {
            check.name = format!("Service '{}' check", service.service);
        }
        check.service_id.clone_from(&service.id);
        reject_scripts(&check)?;
        checks.push((check, ttl));
    }
    agent.state.with(|state| {
        state.register(Registration {
            node: NodeDetails {
                node: agent.node.clone(),
                ..NodeDetails::default()
            },
            skip_node_update: true,
            service: Some(service),
            checks: Vec::new(),
        })?;
        let register = |(check, ttl)| state.register_check(check, ttl);
        checks.into_iter().try_for_each(register)
    })?;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/service/deregister/:id`
pub(crate) fn deregister_service(
    agent: &Agent,
    request: &Request,
) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let access = agent.access(request)?;
    let id = &request.suffix;
    // The agent compares ids including case.
    let known = agent.state.with(|state| {
        let mut services = state.local_services();
        let known = services.find(|service| service.id == *id);
        known.map(|service| service.service.clone())
    });
    let Some(name) = known else {
        if agent.version.unknown_local_ids_are_404 {
            return Err(ErrorResponse::not_found(format!(
                "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
            )));
        }
        if agent.acl.is_enabled() {
            return Err(ErrorResponse::internal_server_error(format!(
                "Unknown service {{{id:?} {{}}}}"
            )));
        }
        if id.is_empty() {
            return Err(ErrorResponse::internal_server_error("ServiceID missing"));
        }
        return Ok(Response::empty(StatusCode::OK));
    };
    agent.require_access(access, "service:write", &name)?;
    agent
        .state
        .with(|state| state.deregister(&agent.node, id, ""));
    Ok(Response::empty(StatusCode::OK))
}

/// Checks whether a request may change the check in its path. Consul with access control looks for
/// the check first, so a missing one is an error here.
fn authorize_check(agent: &Agent, request: &Request) -> Result<(), ErrorResponse> {
    request.reject_namespace()?;
    let access = agent.access(request)?;
    if !agent.acl.is_enabled() && !agent.version.unknown_local_ids_are_404 {
        return Ok(());
    }
    let id = &request.suffix;
    let known = agent.state.with(|state| {
        let mut checks = state.local_checks();
        checks.find(|check| check.check_id == *id)
    });
    match known {
        None if agent.version.unknown_local_ids_are_404 => Err(ErrorResponse::not_found(format!(
            "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
        ))),
        None => Err(ErrorResponse::internal_server_error(format!(
            "Unknown check {id:?}"
        ))),
        Some(check) if check.service_name.is_empty() => {
            require(agent, access, "node:write", &agent.node)
        }
        Some(check) => require(agent, access, "service:write", &check.service_name),
    }
}

/// Rejects a request without access, with the text that `/v1/agent/` has for it.
fn require(agent: &Agent, access: Access, permission: &str, on: &str) -> Result<(), ErrorResponse> {
    if access.is_allowed() {
        return Ok(());
    }
    let text = agent
        .version
        .agent_permission_denied(access, permission, on);
    Err(ErrorResponse::forbidden(text))
}

/// Rejects a check of an unknown service with a 404. In versions in which that is a 500, the state
/// rejects the check.
fn reject_unknown_service(agent: &Agent, check: &Check) -> Result<(), ErrorResponse> {
    let id = &check.service_id;
    let known = || {
        agent
            .state
            .with(|state| state.local_services().any(|known| known.id == *id))
    };
    if agent.version.unknown_local_ids_are_404 && !id.is_empty() && !known() {
        let text = format!("ServiceID {id:?} does not exist");
        return Err(ErrorResponse::not_found(text));
    }
    Ok(())
}

fn reject_scripts(check: &Check) -> Result<(), ErrorResponse> {
    if matches!(check.kind.as_str(), "script" | "docker") {
        let why = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
        return Err(ErrorResponse::internal_server_error(why));
    }
    Ok(())
}
