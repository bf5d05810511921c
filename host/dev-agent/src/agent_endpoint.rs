//! `/v1/agent/..` and `/v1/status/..`: the agent itself, its services and its checks.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::catalog::{Check, NodeDetails, Registration, Service};
use crate::catalog_endpoint::{decode_failed, decode_service_field};
use crate::duration;
use crate::http::{Agent, Refusal, Reply, Request, permission_denied};
use crate::json::Json;
use crate::state::Error;

/// Kinds of checks a real agent would run, by the field that makes one such; here they keep the status they came with.
const RUN_BY_CONSUL: &[(&str, &str)] = &[
    ("http", "http"),
    ("tcp", "tcp"),
    ("grpc", "grpc"),
    ("args", "script"),
    ("scriptargs", "script"),
    ("dockercontainerid", "docker"),
    ("aliasnode", "alias"),
    ("aliasservice", "alias"),
];
/// What else Consul knows about a check, and the agent has no use for.
const UNUSED: &[&str] = &[
    "header",
    "method",
    "body",
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
    interval: i64,
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
        // `consul info` shows these.
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

pub(super) fn checks(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let visible = request.access(agent)?.is_allowed();
    let checks: BTreeMap<String, Check> = agent.hub.with(|state| {
        let readable = state.own_checks().filter(|_| visible);
        readable
            .map(|check| (check.check_id.clone(), check))
            .collect()
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
    let definition = decode_check(&json, &["id"]).map_err(decode_failed)?;
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
    may_run(&check)?;
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
        may_run(&check)?;
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
    request.no_namespace()?;
    let access = request.access(agent)?;
    let id = &request.tail;
    // As with checks: by the very letters of its id.
    let known = agent
        .hub
        .with(|state| state.own_services().any(|service| service.id == *id));
    if agent.acl.is_on() && !known {
        return Err(Error::rejected(format!("Unknown service {{{id:?} {{}}}}")).into());
    }
    if !access.is_allowed() {
        return Err(permission_denied());
    }
    if id.is_empty() {
        return Err(Error::rejected("ServiceID missing").into());
    }
    if known {
        agent
            .hub
            .with(|state| state.deregister(&agent.node, id, ""));
    }
    Ok(Reply::empty(StatusCode::OK))
}

fn bad(text: &str) -> Refusal {
    Reply::text(StatusCode::BAD_REQUEST, text).into()
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
        checks.find(|check| check.check_id == *id)
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
            interval,
        } = self;
        if !matches!(
            check.status.as_str(),
            "" | "passing" | "warning" | "critical"
        ) {
            return Err(bad("Bad check status"));
        }
        let invalid = |why: &str| Err(bad(&format!("Invalid check: {why}")));
        match (check.kind.as_str(), u64::try_from(ttl)) {
            (_, Ok(1..)) if interval > 0 => invalid("Interval and TTL cannot both be specified"),
            ("", Ok(ttl @ 1..)) => {
                check.kind = "ttl".into();
                Ok((check, Some(Duration::from_nanos(ttl))))
            }
            ("", _) => invalid("TTL must be > 0 for TTL checks"),
            ("alias", Ok(1..)) => invalid("TTL must be not be set for Alias checks"),
            ("alias", _) => Ok((check, None)),
            _ if interval <= 0 => invalid("Interval must be > 0 for Script, HTTP, or TCP checks"),
            _ => Ok((check, None)),
        }
    }
}

fn may_run(check: &Check) -> Result<(), Refusal> {
    if matches!(check.kind.as_str(), "script" | "docker") {
        let why = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
        return Err(Error::rejected(why).into());
    }
    Ok(())
}

/// Reads a check; `ids` are the names that its id may have there.
fn decode_check(json: &Json, ids: &[&str]) -> Result<Definition, String> {
    let mut definition = Definition::default();
    let check = &mut definition.check;
    // CheckID is the newer name and wins.
    let (mut id, mut old_id) = (String::new(), String::new());
    let length = |value: &Json| match value {
        Json::String(text) if text.is_empty() => Ok(0),
        Json::String(text) => duration::parse(text),
        Json::Number(number) => Ok(number.as_i64().unwrap_or(0)),
        _ => Ok(0),
    };
    for (name, value) in json.fields("value")? {
        match name.to_ascii_lowercase().as_str() {
            unknown @ ("checkid" | "id") if !ids.contains(&unknown) => {
                return Err(format!("json: unknown field {name:?}"));
            }
            "checkid" => value.string(".CheckID", &mut id)?,
            "id" => value.string(".ID", &mut old_id)?,
            "name" => value.string(".Name", &mut check.name)?,
            "status" => value.string(".Status", &mut check.status)?,
            "notes" => value.string(".Notes", &mut check.notes)?,
            "serviceid" => value.string(".ServiceID", &mut check.service_id)?,
            "ttl" => definition.ttl = length(value)?,
            "interval" => definition.interval = length(value)?,
            known if RUN_BY_CONSUL.iter().any(|(field, _)| *field == known) => {
                let set = !matches!(value, Json::Null) && *value != Json::String(String::new());
                let kind = RUN_BY_CONSUL
                    .iter()
                    .find(|(field, _)| *field == known && set);
                if let Some((_, kind)) = kind {
                    check.kind = (*kind).to_owned();
                }
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
            "check" if value.fields("value")?.is_empty() => {}
            "check" => definitions.push(decode_check(value, &["id", "checkid"])?),
            "checks" => {
                for item in value.items("value")?.unwrap_or_default() {
                    definitions.push(decode_check(item, &["id", "checkid"])?);
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
