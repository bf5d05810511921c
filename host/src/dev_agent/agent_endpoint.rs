//! `/v1/agent/..` and `/v1/status/..`: the agent itself, its services and its checks.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::catalog::{Check, NodeDetails, Registration, Service};
use super::catalog_endpoint::{decode_failed, decode_service_field};
use super::duration;
use super::http::{Agent, Refusal, Reply, Request, permission_denied};
use super::json::Json;
use super::state::Error;

/// Kinds of checks a real agent would run; here they keep the status they came with.
const RUN_BY_CONSUL: &[&str] = &[
    "http",
    "tcp",
    "grpc",
    "args",
    "scriptargs",
    "aliasnode",
    "aliasservice",
    "dockercontainerid",
];
/// What else Consul knows about a check, and the agent has no use for.
const UNUSED: &[&str] = &[
    "header",
    "method",
    "body",
    "interval",
    "timeout",
    "shell",
    "grpcusetls",
    "tlsskipverify",
    "token",
    "namespace",
    "outputmaxsize",
    "successbeforepassing",
    "failuresbeforecritical",
    "deregistercriticalserviceafter",
];

/// A check as a client defines it.
#[derive(Default)]
struct Definition {
    check: Check,
    ttl: i64,
    run_by_consul: bool,
}

/// `/v1/status/leader`: this agent.
pub(super) fn leader(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.blocking()?;
    request.same_datacenter(agent)?;
    Ok(Reply::json(&agent.address))
}

/// `/v1/status/peers`: this agent alone.
pub(super) fn peers(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.blocking()?;
    request.same_datacenter(agent)?;
    Ok(Reply::json(&[agent.address]))
}

/// As much of `/v1/agent/self` as clients look at.
pub(super) fn describe(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    if !request.access(agent)?.is_allowed() {
        return Err(permission_denied());
    }
    let id = agent.hub.with(|state| {
        let own = state.catalog.node(&agent.node);
        own.map(|node| node.details.id.clone())
    });
    Ok(Reply::json(&json!({
        "Config": {
            "Datacenter": agent.datacenter,
            "NodeName": agent.node,
            "NodeID": id,
            "Revision": "",
            "Server": true,
            "Version": super::VERSION,
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
        // `consul info` shows these.
        "Stats": {
            "build": { "version": super::VERSION, "prerelease": "dev-agent", "revision": "" },
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

pub(super) fn checks(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let visible = request.access(agent)?.is_allowed();
    let checks: BTreeMap<String, Check> = agent.hub.with(|state| {
        let readable = state.own_checks().filter(|_| visible);
        let known = |check: &Check| (check.check_id.clone(), check.clone());
        readable.map(known).collect()
    });
    Ok(Reply::json(&checks))
}

pub(super) fn services(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let visible = request.access(agent)?.is_allowed();
    let services: BTreeMap<String, Value> = agent.hub.with(|state| {
        // The server's own service is in the catalog, but not the agent's.
        let readable = state
            .own_services()
            .filter(|service| visible && service.id != "consul");
        let shown = |service: &Service| {
            let shown = json!({
                "ID": service.id,
                "Service": service.service,
                "Tags": service.tags,
                "Meta": service.meta.clone().unwrap_or_default(),
                "Port": service.port,
                "Address": service.address,
                "Weights": service.weights,
                "EnableTagOverride": service.enable_tag_override,
            });
            (service.id.clone(), shown)
        };
        readable.map(shown).collect()
    });
    Ok(Reply::json(&services))
}

pub(super) async fn register_check(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let json = Json::parse(&body).map_err(decode_failed)?;
    let definition = decode_check(&json).map_err(decode_failed)?;
    if definition.check.name.is_empty() {
        return Err(bad("Missing check name"));
    }
    let (mut check, ttl) = definition.validated()?;
    if check.check_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
    if !request.access(agent)?.is_allowed() {
        return Err(missing(&format!("node:write on {}", agent.node)));
    }
    agent.hub.with(|state| state.register_check(check, ttl))?;
    Ok(Reply::empty(StatusCode::OK))
}

pub(super) fn set_check(agent: &Agent, request: &Request, status: &str) -> Result<Reply, Refusal> {
    let note = request.params.get("note").unwrap_or_default();
    set_status(agent, request, status, note)
}

pub(super) async fn update_check(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let json = Json::parse(&body).map_err(decode_failed)?;
    let (mut status, mut output) = (String::new(), String::new());
    for (name, value) in json.fields("value").map_err(decode_failed)? {
        match name.to_ascii_lowercase().as_str() {
            "status" => value.string(".Status", &mut status),
            "output" => value.string(".Output", &mut output),
            _ => Err(format!("json: unknown field {name:?}")),
        }
        .map_err(decode_failed)?;
    }
    if !matches!(status.as_str(), "passing" | "warning" | "critical") {
        return Err(bad(&format!("Invalid check status: '{status}'")));
    }
    set_status(agent, &request, &status, &output)
}

fn set_status(
    agent: &Agent,
    request: &Request,
    status: &str,
    output: &str,
) -> Result<Reply, Refusal> {
    may_touch_check(agent, request)?;
    agent
        .hub
        .with(|state| state.update_check(&request.tail, status, output))?;
    Ok(Reply::empty(StatusCode::OK))
}

pub(super) fn deregister_check(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    may_touch_check(agent, request)?;
    if request.tail.is_empty() {
        return Err(Error::rejected("CheckID missing").into());
    }
    // Unlike the catalog, the agent knows its checks by the very letters of their ids.
    let id = &request.tail;
    agent.hub.with(|state| {
        if state.own_checks().any(|check| check.check_id == *id) {
            state.deregister(&agent.node, "", id);
        }
    });
    Ok(Reply::empty(StatusCode::OK))
}

pub(super) async fn register_service(
    agent: &Agent,
    mut request: Request,
) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let json = Json::parse(&body).map_err(decode_failed)?;
    let (service, definitions) = decode_service(&json).map_err(decode_failed)?;
    if service.service.is_empty() {
        return Err(bad("Missing service name"));
    }
    if !request.access(agent)?.is_allowed() {
        return Err(missing(&format!("service:write on {}", service.service)));
    }
    let count = definitions.len();
    let mut checks = Vec::with_capacity(count);
    for (number, definition) in definitions.into_iter().enumerate() {
        let (mut check, ttl) = definition.validated()?;
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
        checks.push((check, ttl));
    }
    agent.hub.with(|state| {
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
    Ok(Reply::empty(StatusCode::OK))
}

pub(super) fn deregister_service(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    may(agent, request)?;
    if request.tail.is_empty() {
        return Err(bad("Missing service ID"));
    }
    agent
        .hub
        .with(|state| state.deregister(&agent.node, &request.tail, ""));
    Ok(Reply::empty(StatusCode::OK))
}

fn bad(text: &str) -> Refusal {
    Reply::text(StatusCode::BAD_REQUEST, text).into()
}

fn may(agent: &Agent, request: &Request) -> Result<(), Refusal> {
    request.no_namespace()?;
    if !request.access(agent)?.is_allowed() {
        return Err(permission_denied());
    }
    Ok(())
}

/// With access control, a check that is not there is found out before what becomes of it.
fn may_touch_check(agent: &Agent, request: &Request) -> Result<(), Refusal> {
    request.no_namespace()?;
    let access = request.access(agent)?;
    if !agent.acl.is_on() {
        return Ok(());
    }
    let id = &request.tail;
    let known = agent.hub.with(|state| {
        let mut checks = state.own_checks();
        checks.find(|check| check.check_id == *id).cloned()
    });
    match known {
        None => Err(Error::rejected(format!("Unknown check {id:?}")).into()),
        Some(_) if access.is_allowed() => Ok(()),
        Some(check) if check.service_name.is_empty() => {
            Err(missing(&format!("node:write on {}", agent.node)))
        }
        Some(check) => Err(missing(&format!("service:write on {}", check.service_name))),
    }
}

fn missing(right: &str) -> Refusal {
    let text = format!("Permission denied: Missing {right}");
    Reply::text(StatusCode::FORBIDDEN, text).into()
}

impl Definition {
    /// The check and its TTL, once it is known to make sense.
    fn validated(self) -> Result<(Check, Option<Duration>), Refusal> {
        let Definition {
            mut check,
            ttl,
            run_by_consul,
        } = self;
        if !matches!(
            check.status.as_str(),
            "" | "passing" | "warning" | "critical"
        ) {
            return Err(bad("Bad check status"));
        }
        match u64::try_from(ttl) {
            Ok(ttl) if ttl > 0 => {
                check.kind = "ttl".into();
                Ok((check, Some(Duration::from_nanos(ttl))))
            }
            _ if run_by_consul => Ok((check, None)),
            _ => Err(bad("Invalid check: TTL must be > 0 for TTL checks")),
        }
    }
}

fn decode_check(json: &Json) -> Result<Definition, String> {
    let mut definition = Definition::default();
    let check = &mut definition.check;
    // CheckID is the newer name and wins.
    let (mut id, mut old_id) = (String::new(), String::new());
    for (name, value) in json.fields("value")? {
        match name.to_ascii_lowercase().as_str() {
            "checkid" => value.string(".CheckID", &mut id)?,
            "id" => value.string(".ID", &mut old_id)?,
            "name" => value.string(".Name", &mut check.name)?,
            "status" => value.string(".Status", &mut check.status)?,
            "notes" => value.string(".Notes", &mut check.notes)?,
            "serviceid" => value.string(".ServiceID", &mut check.service_id)?,
            "ttl" => {
                definition.ttl = match value {
                    Json::String(text) if text.is_empty() => 0,
                    Json::String(text) => duration::parse(text)?,
                    Json::Number(number) => number.as_i64().unwrap_or(0),
                    _ => 0,
                }
            }
            known if RUN_BY_CONSUL.contains(&known) => {
                definition.run_by_consul |= !matches!(value, Json::Null);
            }
            known if UNUSED.contains(&known) => {}
            _ => return Err(format!("json: unknown field {name:?}")),
        }
    }
    check.check_id = if id.is_empty() { old_id } else { id };
    Ok(definition)
}

fn decode_service(json: &Json) -> Result<(Service, Vec<Definition>), String> {
    let mut service = Service::default();
    let mut definitions = Vec::new();
    for (name, value) in json.fields("value")? {
        let key = name.to_ascii_lowercase();
        if decode_service_field(&key, value, &mut service)? {
            continue;
        }
        match key.as_str() {
            "name" => value.string(".Name", &mut service.service)?,
            "enabletagoverride" => {
                value.boolean(".EnableTagOverride", &mut service.enable_tag_override)?;
            }
            "check" if *value == Json::Null => {}
            "check" => definitions.push(decode_check(value)?),
            "checks" => {
                for item in value.items("value")?.unwrap_or_default() {
                    definitions.push(decode_check(item)?);
                }
            }
            "weights" | "taggedaddresses" | "kind" | "proxy" | "connect" | "token"
            | "namespace" => {}
            _ => return Err(format!("json: unknown field {name:?}")),
        }
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
    Ok((service, definitions))
}
