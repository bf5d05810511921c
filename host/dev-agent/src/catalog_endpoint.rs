//! `/v1/catalog/..` and `/v1/health/..`

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::acl::Access;
use crate::catalog::{Check, NodeDetails, Registration, Service};
use crate::http::{Agent, Refusal, Reply, Request, permission_denied};
use crate::json::Json;
use crate::state::{Error, Query, State};

pub(super) async fn register(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    let json = body(agent, &mut request).await?;
    let registration = decode_registration(&json).map_err(decode_failed)?;
    may_write(agent, &request, &registration.node.datacenter)?;
    agent.hub.with(|state| state.register(registration))?;
    Ok(Reply::json(&true))
}

pub(super) async fn deregister(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    let json = body(agent, &mut request).await?;
    let (mut node, mut service, mut check, mut datacenter) = Default::default();
    let mut decode = || {
        for (name, value) in json.fields("value")? {
            match name.to_ascii_lowercase().as_str() {
                "node" => value.string(".Node", &mut node)?,
                "serviceid" => value.string(".ServiceID", &mut service)?,
                "checkid" => value.string(".CheckID", &mut check)?,
                "datacenter" => value.string(".Datacenter", &mut datacenter)?,
                "namespace" | "token" => {}
                _ => return Err(format!("json: unknown field {name:?}")),
            }
        }
        Ok(())
    };
    decode().map_err(decode_failed)?;
    if node.is_empty() {
        return Err(Error::rejected("Must provide node").into());
    }
    may_write(agent, &request, &datacenter)?;
    agent
        .hub
        .with(|state| state.deregister(&node, &service, &check));
    Ok(Reply::json(&true))
}

pub(super) async fn nodes(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
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

pub(super) async fn node(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let name = tail(request, "Missing node name")?;
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

pub(super) async fn health_of_node(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    let name = tail(request, "Missing node name")?;
    let query = Query::NodeChecks(name.to_lowercase());
    checks(agent, request, query, |check| {
        check.node.eq_ignore_ascii_case(name)
    })
    .await
}

pub(super) async fn health_in_state(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    let status = tail(request, "Missing check state")?;
    checks(agent, request, Query::Checks, |check| {
        status == "any" || check.status == status
    })
    .await
}

async fn checks(
    agent: &Agent,
    request: &Request,
    query: Query,
    wanted: impl Fn(&Check) -> bool,
) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    read(agent, request, query, |state, access| {
        let nodes = state.catalog.nodes().filter(|_| access.is_allowed());
        let checks = nodes.flat_map(|node| node.checks.values());
        json!(checks.filter(|check| wanted(check)).collect::<Vec<_>>())
    })
    .await
}

async fn read(
    agent: &Agent,
    request: &Request,
    query: Query,
    rows: impl Fn(&State, Access) -> Value,
) -> Result<Reply, Refusal> {
    // Bad parameters are not a failed read: they get no index.
    request.blocking()?;
    // Not ignored: everything would pass for what was asked for.
    for selection in ["filter", "node-meta"] {
        if request
            .params
            .get(selection)
            .is_some_and(|asked| !asked.is_empty())
        {
            let text = format!("the development agent does not know ?{selection}");
            return Err(Reply::text(StatusCode::BAD_REQUEST, &text).into());
        }
    }
    let read = agent.read(request, query, rows).await;
    let (index, rows) = read.map_err(Reply::failed_read)?;
    let reply = Reply::json(&rows).with_index(index);
    let asked = ["stale", "consistent"]
        .into_iter()
        .find(|mode| request.params.has(mode));
    Ok(reply.with("X-Consul-Effective-Consistency", asked.unwrap_or("leader")))
}

fn tail<'a>(request: &'a Request, missing: &str) -> Result<&'a str, Refusal> {
    if request.tail.is_empty() {
        return Err(Reply::text(StatusCode::BAD_REQUEST, missing).into());
    }
    Ok(&request.tail)
}

async fn body(agent: &Agent, request: &mut Request) -> Result<Json, Refusal> {
    request.no_namespace()?;
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    Json::parse(&body).map_err(decode_failed)
}

/// The datacenter is that of the body; Consul does not look at the query's.
fn may_write(agent: &Agent, request: &Request, datacenter: &str) -> Result<(), Refusal> {
    agent.serves(datacenter)?;
    if !request.access(agent)?.is_allowed() {
        return Err(permission_denied());
    }
    Ok(())
}

pub(super) fn decode_failed(why: String) -> Refusal {
    let text = format!("Request decode failed: {why}");
    Reply::text(StatusCode::BAD_REQUEST, text).into()
}

fn decode_registration(json: &Json) -> Result<Registration, String> {
    let mut registration = Registration::default();
    let node = &mut registration.node;
    for (name, value) in json.fields("value")? {
        match name.to_ascii_lowercase().as_str() {
            "id" => value.string(".ID", &mut node.id)?,
            "node" => value.string(".Node", &mut node.node)?,
            "address" => value.string(".Address", &mut node.address)?,
            "taggedaddresses" => node.tagged_addresses = decode_map(".TaggedAddresses", value)?,
            "nodemeta" => node.meta = decode_map(".NodeMeta", value)?,
            "skipnodeupdate" => {
                value.boolean(".SkipNodeUpdate", &mut registration.skip_node_update)?;
            }
            "service" if *value == Json::Null => {}
            "service" => registration.service = Some(decode_service(value)?),
            "check" if *value == Json::Null => {}
            "check" => registration.checks.push(decode_check(value)?),
            "checks" => {
                for item in value.items("value")?.unwrap_or_default() {
                    registration.checks.push(decode_check(item)?);
                }
            }
            "datacenter" => value.string(".Datacenter", &mut node.datacenter)?,
            "namespace" | "token" => {}
            _ => return Err(format!("json: unknown field {name:?}")),
        }
    }
    Ok(registration)
}

/// Reads a field that a service has alike in the catalog and at an agent, and says whether it is one. The key is in lower
/// case, as Consul reads it in any.
pub(super) fn decode_service_field(
    key: &str,
    value: &Json,
    service: &mut Service,
) -> Result<bool, String> {
    match key {
        "id" => value.string(".ID", &mut service.id)?,
        "address" => value.string(".Address", &mut service.address)?,
        "port" => value.integer(".Port", &mut service.port)?,
        "tags" => {
            let mut tags = None;
            value.strings(".Tags", "string", &mut tags)?;
            service.tags = tags.unwrap_or_default();
        }
        "meta" => service.meta = decode_map(".Meta", value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn decode_service(json: &Json) -> Result<Service, String> {
    let mut service = Service::default();
    for (name, value) in json.fields("value")? {
        let key = name.to_ascii_lowercase();
        // Consul knows more about services; sessions do not care.
        if !decode_service_field(&key, value, &mut service)? && key == "service" {
            value.string(".Service", &mut service.service)?;
        }
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
    Ok(service)
}

fn decode_check(json: &Json) -> Result<Check, String> {
    let mut check = Check::default();
    for (name, value) in json.fields("value")? {
        match name.to_ascii_lowercase().as_str() {
            "checkid" => value.string(".CheckID", &mut check.check_id)?,
            "name" => value.string(".Name", &mut check.name)?,
            "status" => value.string(".Status", &mut check.status)?,
            "notes" => value.string(".Notes", &mut check.notes)?,
            "output" => value.string(".Output", &mut check.output)?,
            "serviceid" => value.string(".ServiceID", &mut check.service_id)?,
            "type" => value.string(".Type", &mut check.kind)?,
            _ => {}
        }
    }
    if check.check_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
    Ok(check)
}

/// A map of strings to strings; `null` is `None`.
pub(super) fn decode_map(
    field: &str,
    json: &Json,
) -> Result<Option<BTreeMap<String, String>>, String> {
    if *json == Json::Null {
        return Ok(None);
    }
    let mut map = BTreeMap::new();
    for (name, value) in json.fields("value")? {
        let mut text = String::new();
        value.string(field, &mut text)?;
        map.insert(name.clone(), text);
    }
    Ok(Some(map))
}
