//! Definitions of nodes, services and checks, as clients register them with the catalog or with the
//! agent.
//!
//! Field names match in any case. The errors are Go's texts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::go::duration;
use crate::go::json::Json;
use crate::state::catalog::{Check, Registration, Service};
use crate::version::Differences;

/// The fields of a check that a real agent would run, with the type of check that each implies. The
/// development agent does not run it: its status stays as registered.
const CHECK_TYPES: &[(&str, &str)] = &[
    ("http", "http"),
    ("tcp", "tcp"),
    ("grpc", "grpc"),
    ("args", "script"),
    ("scriptargs", "script"),
    ("dockercontainerid", "docker"),
    ("aliasnode", "alias"),
    ("aliasservice", "alias"),
];
/// The fields of a check that the agent accepts and ignores.
const IGNORED_CHECK_FIELDS: &[&str] = &[
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

/// A check as a client registers it with the agent.
#[derive(Default)]
pub(super) struct CheckDefinition {
    pub(super) check: Check,
    /// Nanoseconds.
    ttl: i64,
    /// Nanoseconds.
    interval: i64,
}

impl CheckDefinition {
    /// Returns the check and its TTL, if the definition is consistent.
    pub(super) fn validate(self) -> Result<(Check, Option<Duration>), String> {
        let CheckDefinition {
            mut check,
            ttl,
            interval,
        } = self;
        if !matches!(
            check.status.as_str(),
            "" | "passing" | "warning" | "critical"
        ) {
            return Err("Bad check status".into());
        }
        let invalid = |why: &str| Err(format!("Invalid check: {why}"));
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

/// What `/v1/catalog/deregister` removes: a service or a check of the node, or all of the node.
#[derive(Default)]
pub(super) struct Deregistration {
    pub(super) node: String,
    pub(super) service: String,
    pub(super) check: String,
    pub(super) datacenter: String,
}

/// Decodes the body of `/v1/catalog/register`.
pub(super) fn decode_registration(
    json: &Json,
    version: &Differences,
) -> Result<Registration, String> {
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
            "service" => registration.service = Some(decode_catalog_service(value)?),
            "check" if *value == Json::Null => {}
            "check" => registration
                .checks
                .push(decode_catalog_check(value, version)?),
            "checks" => {
                for item in value.items("value")?.unwrap_or_default() {
                    registration
                        .checks
                        .push(decode_catalog_check(item, version)?);
                }
            }
            "datacenter" => value.string(".Datacenter", &mut node.datacenter)?,
            "namespace" | "token" => {}
            _ => return Err(unknown_field(name)),
        }
    }
    Ok(registration)
}

/// Decodes the body of `/v1/catalog/deregister`.
pub(super) fn decode_deregistration(json: &Json) -> Result<Deregistration, String> {
    let mut target = Deregistration::default();
    for (name, value) in json.fields("value")? {
        match name.to_ascii_lowercase().as_str() {
            "node" => value.string(".Node", &mut target.node)?,
            "serviceid" => value.string(".ServiceID", &mut target.service)?,
            "checkid" => value.string(".CheckID", &mut target.check)?,
            "datacenter" => value.string(".Datacenter", &mut target.datacenter)?,
            "namespace" | "token" => {}
            _ => return Err(unknown_field(name)),
        }
    }
    Ok(target)
}

fn decode_catalog_service(json: &Json) -> Result<Service, String> {
    let mut service = Service::default();
    for (name, value) in json.fields("value")? {
        let field = name.to_ascii_lowercase();
        // Sessions depend on none of the other fields that a service has in Consul.
        if !decode_common_service_field(&field, value, &mut service)? && field == "service" {
            value.string(".Service", &mut service.service)?;
        }
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
    Ok(service)
}

fn decode_catalog_check(json: &Json, version: &Differences) -> Result<Check, String> {
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
            "definition" if version.checks_follow_sessions => {
                for (name, value) in value.fields("value")? {
                    if name.eq_ignore_ascii_case("sessionname") {
                        value.string(".SessionName", &mut check.definition.session_name)?;
                    }
                }
            }
            _ => {}
        }
    }
    if check.check_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
    Ok(check)
}

/// Decodes the body of `/v1/agent/service/register`: a service with its checks.
pub(super) fn decode_agent_service(json: &Json) -> Result<(Service, Vec<CheckDefinition>), String> {
    let mut service = Service::default();
    let mut checks = Vec::new();
    for (name, value) in json.fields("value")? {
        let field = name.to_ascii_lowercase();
        if decode_common_service_field(&field, value, &mut service)? {
            continue;
        }
        match field.as_str() {
            "name" => value.string(".Name", &mut service.service)?,
            "enabletagoverride" => {
                value.boolean(".EnableTagOverride", &mut service.enable_tag_override)?;
            }
            "check" if *value == Json::Null => {}
            "check" if value.fields("value")?.is_empty() => {}
            "check" => checks.push(decode_agent_check(value, &["id", "checkid"])?),
            "checks" => {
                for item in value.items("value")?.unwrap_or_default() {
                    checks.push(decode_agent_check(item, &["id", "checkid"])?);
                }
            }
            "weights" | "taggedaddresses" | "kind" | "proxy" | "connect" | "token"
            | "namespace" => {}
            _ => return Err(unknown_field(name)),
        }
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
    Ok((service, checks))
}

/// Decodes a check that is registered with the agent. `id_fields` are the names of the id that
/// Consul accepts there.
pub(super) fn decode_agent_check(
    json: &Json,
    id_fields: &[&str],
) -> Result<CheckDefinition, String> {
    let mut definition = CheckDefinition::default();
    let check = &mut definition.check;
    // CheckID is the newer name and wins.
    let (mut id, mut old_id) = (String::new(), String::new());
    let nanoseconds = |value: &Json| match value {
        Json::String(text) if text.is_empty() => Ok(0),
        Json::String(text) => duration::parse(text),
        Json::Number(number) => Ok(number.as_i64().unwrap_or(0)),
        _ => Ok(0),
    };
    for (name, value) in json.fields("value")? {
        match name.to_ascii_lowercase().as_str() {
            field @ ("checkid" | "id") if !id_fields.contains(&field) => {
                return Err(unknown_field(name));
            }
            "checkid" => value.string(".CheckID", &mut id)?,
            "id" => value.string(".ID", &mut old_id)?,
            "name" => value.string(".Name", &mut check.name)?,
            "status" => value.string(".Status", &mut check.status)?,
            "notes" => value.string(".Notes", &mut check.notes)?,
            "serviceid" => value.string(".ServiceID", &mut check.service_id)?,
            "ttl" => definition.ttl = nanoseconds(value)?,
            "interval" => definition.interval = nanoseconds(value)?,
            field => match CHECK_TYPES.iter().find(|(known, _)| *known == field) {
                Some((_, kind)) => {
                    if *value != Json::Null && *value != Json::String(String::new()) {
                        check.kind = (*kind).to_owned();
                    }
                }
                None if IGNORED_CHECK_FIELDS.contains(&field) => {}
                None => return Err(unknown_field(name)),
            },
        }
    }
    check.check_id = if id.is_empty() { old_id } else { id };
    Ok(definition)
}

/// Decodes a field that services have both in the catalog and at an agent; returns whether `field`,
/// in lower case, is such a field.
fn decode_common_service_field(
    field: &str,
    value: &Json,
    service: &mut Service,
) -> Result<bool, String> {
    match field {
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

/// Decodes a map of strings to strings; `null` is `None`.
fn decode_map(field: &str, json: &Json) -> Result<Option<BTreeMap<String, String>>, String> {
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

fn unknown_field(name: &str) -> String {
    format!("json: unknown field {name:?}")
}
