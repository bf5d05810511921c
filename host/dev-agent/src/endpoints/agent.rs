//! `/v1/agent/`: the agent itself, its services and its checks.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::definitions::{decode_agent_check, decode_agent_service};
use crate::agent::Agent;
use crate::error::ErrorResponse;
use crate::go::json::Json;
use crate::request::Request;
use crate::response::Response;
use crate::state::catalog::{Check, NodeDetails, Registration, Service};

/// `GET /v1/agent/self`, with the fields that clients read.
pub(crate) fn describe(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    agent.require_access(request)?;
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
            "Version": crate::VERSION,
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
            "build": { "version": crate::VERSION, "prerelease": "dev-agent", "revision": "" },
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
    let visible = agent.access(request)?.is_allowed();
    let checks: BTreeMap<String, Check> = agent.state.with(|state| {
        let readable = state.local_checks().filter(|_| visible);
        readable
            .map(|check| (check.check_id.clone(), check))
            .collect()
    });
    Ok(Response::json(&checks))
}

/// `GET /v1/agent/services`
pub(crate) fn services(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let visible = agent.access(request)?.is_allowed();
    let services: BTreeMap<String, Value> = agent.state.with(|state| {
        // Consul's own service is in the catalog only.
        let readable = state
            .local_services()
            .filter(|service| visible && service.id != "consul");
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
        readable.map(describe).collect()
    });
    Ok(Response::json(&services))
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
    if !agent.access(request)?.is_allowed() {
        return Err(denied(&format!("node:write on {}", agent.node)));
    }
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
    if !agent.access(request)?.is_allowed() {
        return Err(denied(&format!("service:write on {}", service.service)));
    }
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
    let known = agent
        .state
        .with(|state| state.local_services().any(|service| service.id == *id));
    if agent.acl.is_enabled() && !known {
        return Err(ErrorResponse::internal_server_error(format!(
            "Unknown service {{{id:?} {{}}}}"
        )));
    }
    if !access.is_allowed() {
        return Err(ErrorResponse::permission_denied());
    }
    if id.is_empty() {
        return Err(ErrorResponse::internal_server_error("ServiceID missing"));
    }
    if known {
        agent
            .state
            .with(|state| state.deregister(&agent.node, id, ""));
    }
    Ok(Response::empty(StatusCode::OK))
}

/// Checks whether a request may change the check in its path. Consul with access control looks for
/// the check first, so a missing one is an error here.
fn authorize_check(agent: &Agent, request: &Request) -> Result<(), ErrorResponse> {
    request.reject_namespace()?;
    let access = agent.access(request)?;
    if !agent.acl.is_enabled() {
        return Ok(());
    }
    let id = &request.suffix;
    let known = agent.state.with(|state| {
        let mut checks = state.local_checks();
        checks.find(|check| check.check_id == *id)
    });
    match known {
        None => Err(ErrorResponse::internal_server_error(format!(
            "Unknown check {id:?}"
        ))),
        Some(_) if access.is_allowed() => Ok(()),
        Some(check) if check.service_name.is_empty() => {
            Err(denied(&format!("node:write on {}", agent.node)))
        }
        Some(check) => Err(denied(&format!("service:write on {}", check.service_name))),
    }
}

fn denied(right: &str) -> ErrorResponse {
    ErrorResponse::forbidden(format!("Permission denied: Missing {right}"))
}

fn reject_scripts(check: &Check) -> Result<(), ErrorResponse> {
    if matches!(check.kind.as_str(), "script" | "docker") {
        let why = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
        return Err(ErrorResponse::internal_server_error(why));
    }
    Ok(())
}
