//! `/v1/session/..`

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use hyper::StatusCode;

use crate::acl::Access;
use crate::http::{Agent, Refusal, Reply, Request, permission_denied};
use crate::json::Json;
use crate::sessions::{ServiceCheck, Session, session_key};
use crate::state::{Error, Query, State};
use crate::{duration, json};

pub(super) async fn create(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    // Consul looks at the body only if its length is declared. A chunked one - whatever it
    // says - creates a session with all defaults, and so it does here.
    let declared = request.content_length().is_some();
    let body = request.read_body(agent.limits.body_bytes, "http").await?;
    let mut session = Session::with_defaults(&agent.node);
    if declared && !body.is_empty() {
        decode(&body, &mut session).map_err(|why| {
            let text = format!("Request decode failed: {why}");
            Reply::text(StatusCode::BAD_REQUEST, text)
        })?;
    }
    request.same_datacenter(agent)?;
    if session.node.is_empty() {
        return Err(Error::rejected("Must provide Node").into());
    }
    if !request.access(agent)?.is_allowed() {
        return Err(permission_denied());
    }
    let id = uuid::Uuid::new_v4().to_string();
    agent.hub.with(|state| state.create_session(&id, session))?;
    Ok(Reply::json(&serde_json::json!({ "ID": id })))
}

/// How Go names what it decodes a create request into.
const SESSION: &str = "value of type struct { LockDelay interface {}; *structs.Alias }";

/// Fills in what a create request says.
fn decode(body: &[u8], session: &mut Session) -> Result<(), String> {
    // Read, for a wrong type is an error, and otherwise ignored.
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
            // Any type will do for now; what it says is looked at when all else is read.
            "lockdelay" => delay = value.clone(),
            "id" => value.string(".ID", &mut id)?,
            "createindex" => value.integer(".CreateIndex", &mut index)?,
            "modifyindex" => value.integer(".ModifyIndex", &mut index)?,
            _ => {}
        }
    }
    if let Some(delay) = duration::lock_delay(&delay)? {
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

pub(super) fn destroy(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.no_namespace()?;
    let id = session_id(request)?;
    request.same_datacenter(agent)?;
    let access = request.access(agent)?;
    if agent.acl.is_on()
        && let Err(Error::Rejected(why)) = session_key(id)
    {
        return Err(Error::rejected(format!("Session lookup failed: {why}")).into());
    }
    may_touch(agent, access, id)?;
    agent.hub.with(|state| state.destroy_session(id))?;
    Ok(Reply::json(&true))
}

pub(super) fn renew(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.common()?;
    let id = session_id(request)?;
    request.same_datacenter(agent)?;
    may_touch(agent, request.access(agent)?, id)?;
    match agent.hub.with(|state| state.renew_session(id))? {
        Some(session) => Ok(Reply::json(&[session])),
        None => {
            let text = format!("Session id '{id}' not found");
            Err(Reply::text(StatusCode::NOT_FOUND, text).into())
        }
    }
}

fn session_id(request: &Request) -> Result<&str, Refusal> {
    if request.tail.is_empty() {
        return Err(Reply::text(StatusCode::BAD_REQUEST, "Missing session").into());
    }
    Ok(&request.tail)
}

/// Only a session that exists needs a right: of an unknown one anybody may hear that it is gone.
fn may_touch(agent: &Agent, access: Access, id: &str) -> Result<(), Refusal> {
    let key = session_key(id)?;
    if !access.is_allowed() && agent.hub.with(|state| state.sessions.get(&key)).is_some() {
        return Err(permission_denied());
    }
    Ok(())
}

pub(super) async fn info(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.common()?;
    let id = session_id(request)?;
    let key = || {
        // Another datacenter and a bad token are found out before a bad id.
        request.same_datacenter(agent)?;
        request.access(agent)?;
        Ok(session_key(id)?)
    };
    let key = key().map_err(Reply::failed_read)?;
    let find = |state: &State| state.sessions.get(&key).into_iter().collect();
    read(agent, request, Query::Session(key.clone()), find).await
}

pub(super) async fn node(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.common()?;
    if request.tail.is_empty() {
        return Err(Reply::text(StatusCode::BAD_REQUEST, "Missing node name").into());
    }
    let node = request.tail.to_lowercase();
    let find = |state: &State| state.sessions.of_node(&node);
    read(agent, request, Query::NodeSessions(node.clone()), find).await
}

pub(super) async fn list(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    request.common()?;
    let (index, sessions) = agent
        .read(request, Query::Sessions, |state, access| {
            access.is_allowed().then(|| state.sessions.list())
        })
        .await
        .map_err(Reply::failed_read)?;
    let reply = match sessions {
        Some(sessions) => Reply::printed(agent.printed_list.at(index, &sessions)),
        None => Reply::json(&[(); 0]),
    };
    Ok(reply.with_index(index))
}

/// The list of all sessions as it was printed last. Of ten thousand sessions it is megabytes, and
/// a thousand watchers that wake at once all want the same.
#[derive(Default)]
pub(super) struct PrintedList(Mutex<(u64, Bytes)>);

impl PrintedList {
    /// The list at an index. Who comes while it is printed waits for it instead of printing it
    /// once more.
    fn at(&self, index: u64, sessions: &[Arc<Session>]) -> Bytes {
        let mut printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if printed.0 != index {
            *printed = (index, json::print(&sessions).into());
        }
        printed.1.clone()
    }
}

async fn read(
    agent: &Agent,
    request: &Request,
    query: Query,
    find: impl Fn(&State) -> Vec<Arc<Session>>,
) -> Result<Reply, Refusal> {
    let (index, sessions) = agent
        .read(request, query, |state, access| {
            if access.is_allowed() {
                find(state)
            } else {
                Vec::new()
            }
        })
        .await
        .map_err(Reply::failed_read)?;
    Ok(Reply::json(&sessions).with_index(index))
}
