//! `/v1/session/`: sessions.

use std::sync::Arc;

use super::lock_delay;
use crate::acl::Access;
use crate::agent::{Agent, Read};
use crate::error::ErrorResponse;
use crate::go::json::Json;
use crate::request::Request;
use crate::response::Response;
use crate::state::sessions::{ServiceCheck, Session, session_key};
use crate::state::{Error, Query, State};

/// `PUT /v1/session/create`
pub(crate) async fn create(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    // Consul decodes the body only if its length is declared, and ignores a chunked one.
    let declared = request.content_length().is_some();
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let mut session = Session::with_defaults(&agent.node);
    if declared && !body.is_empty() {
        decode(&body, &mut session).map_err(ErrorResponse::decode_failed)?;
    }
    agent.check_datacenter(request.datacenter())?;
    if session.node.is_empty() {
        return Err(ErrorResponse::internal_server_error("Must provide Node"));
    }
    agent.require(request, "session:write", &session.node)?;
    let id = uuid::Uuid::new_v4().to_string();
    agent
        .state
        .with(|state| state.create_session(&id, session))?;
    Ok(Response::json(&serde_json::json!({ "ID": id })))
}

/// Go's name of the type that a creation request is decoded into.
const SESSION: &str = "value of type struct { LockDelay interface {}; *structs.Alias }";

/// Decodes a creation request into a session that has the defaults.
fn decode(body: &[u8], session: &mut Session) -> Result<(), String> {
    // Ignored, but a value of the wrong type is an error.
    let (mut id, mut index) = (String::new(), 0);
    let mut delay = Json::Null;
    for (name, value) in Json::parse(body)?.fields(SESSION)? {
        match name.to_ascii_lowercase().as_str() {
            "name" => value.string(".Name", &mut session.name)?,
            "node" => value.string(".Node", &mut session.node)?,
            "ttl" => value.string(".TTL", &mut session.ttl)?,
            "behavior" => value.string(".Behavior", &mut session.behavior)?,
            "nodechecks" => value.strings(".NodeChecks", "string", &mut session.node_checks)?,
            "checks" => {
                let mut checks = Some(std::mem::take(&mut session.checks));
                value.strings(".Checks", "types.CheckID", &mut checks)?;
                session.checks = checks.unwrap_or_default();
            }
            "servicechecks" => session.service_checks = service_checks(value)?,
            // Consul validates the delay after all other fields.
            "lockdelay" => delay = value.clone(),
            "id" => value.string(".ID", &mut id)?,
            "createindex" => value.integer(".CreateIndex", &mut index)?,
            "modifyindex" => value.integer(".ModifyIndex", &mut index)?,
            _ => {}
        }
    }
    if let Some(delay) = lock_delay::decode(&delay)? {
        session.lock_delay = delay;
    }
    Ok(())
}

fn service_checks(value: &Json) -> Result<Option<Vec<ServiceCheck>>, String> {
    let Some(items) = value.items("struct field .ServiceChecks of type []structs.ServiceCheck")?
    else {
        return Ok(None);
    };
    let mut checks = Vec::with_capacity(items.len());
    for item in items {
        let mut check = ServiceCheck::default();
        for (name, value) in
            item.fields("struct field .ServiceChecks of type structs.ServiceCheck")?
        {
            match name.to_ascii_lowercase().as_str() {
                "id" => value.string("ServiceCheck.ServiceChecks.ID", &mut check.id)?,
                "namespace" => {
                    value.string("ServiceCheck.ServiceChecks.Namespace", &mut check.namespace)?
                }
                _ => {}
            }
        }
        checks.push(check);
    }
    Ok(Some(checks))
}

/// `PUT /v1/session/destroy/:id`
pub(crate) fn destroy(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.reject_namespace()?;
    let id = session_id(request)?;
    agent.check_datacenter(request.datacenter())?;
    let access = agent.access(request)?;
    if agent.acl.is_enabled()
        && let Err(Error::Rejected(why)) = session_key(agent.version.session_ids, id)
    {
        return Err(ErrorResponse::internal_server_error(format!(
            "Session lookup failed: {why}"
        )));
    }
    authorize(agent, access, id)?;
    agent.state.with(|state| state.destroy_session(id))?;
    Ok(Response::json(&true))
}

/// `PUT /v1/session/renew/:id`
pub(crate) fn renew(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.check_common_params()?;
    let id = session_id(request)?;
    agent.check_datacenter(request.datacenter())?;
    authorize(agent, agent.access(request)?, id)?;
    match agent.state.with(|state| state.renew_session(id))? {
        Some(session) => Ok(Response::json(&[session])),
        None => {
            let text = format!("Session id '{id}' not found");
            Err(ErrorResponse::not_found(text))
        }
    }
}

fn session_id(request: &Request) -> Result<&str, ErrorResponse> {
    if request.suffix.is_empty() {
        return Err(ErrorResponse::bad_request("Missing session"));
    }
    Ok(&request.suffix)
}

/// Rejects a request without access to a session that exists. Consul tells anyone that a session
/// does not exist.
fn authorize(agent: &Agent, access: Access, id: &str) -> Result<(), ErrorResponse> {
    let key = session_key(agent.version.session_ids, id)?;
    if access.is_allowed() {
        return Ok(());
    }
    match agent.state.with(|state| state.sessions.get(&key)) {
        Some(session) => agent.require_access(access, "session:write", &session.node),
        None => Ok(()),
    }
}

/// `GET /v1/session/info/:id`
pub(crate) async fn info(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.check_common_params()?;
    let id = session_id(request)?;
    let key = || {
        // Consul checks the datacenter and the token before the id.
        agent.check_datacenter(request.datacenter())?;
        agent.access(request)?;
        Ok(session_key(agent.version.session_ids, id)?)
    };
    let key = key().map_err(ErrorResponse::with_failed_read_headers)?;
    let find = |state: &State| state.sessions.get(&key).into_iter().collect();
    read(agent, request, Query::Session(key.clone()), find).await
}

/// `GET /v1/session/node/:name`
pub(crate) async fn node(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.check_common_params()?;
    if request.suffix.is_empty() {
        return Err(ErrorResponse::bad_request("Missing node name"));
    }
    let node = request.suffix.to_lowercase();
    let find = |state: &State| state.sessions.of_node(&node);
    read(agent, request, Query::NodeSessions(node.clone()), find).await
}

/// `GET /v1/session/list`
pub(crate) async fn list(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.check_common_params()?;
    let Read { meta, rows } = agent
        .read(request, Query::Sessions, |state, access| {
            if access.is_allowed() {
                state.sessions.list()
            } else {
                Vec::new()
            }
        })
        .await
        .map_err(ErrorResponse::with_failed_read_headers)?;
    // The cache holds the list of all sessions. A request without access gets an empty list.
    let response = if rows.is_empty() {
        Response::json(&[(); 0])
    } else {
        Response::serialized(agent.session_list.get(meta.index, &rows))
    };
    Ok(response.with_query_meta(meta))
}

async fn read(
    agent: &Agent,
    request: &Request,
    query: Query,
    find: impl Fn(&State) -> Vec<Arc<Session>>,
) -> Result<Response, ErrorResponse> {
    let Read { meta, rows } = agent
        .read(request, query, |state, access| {
            if access.is_allowed() {
                find(state)
            } else {
                Vec::new()
            }
        })
        .await
        .map_err(ErrorResponse::with_failed_read_headers)?;
    Ok(Response::json(&rows).with_query_meta(meta))
}
