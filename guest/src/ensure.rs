//! Idempotent operations by name.
//!
//! Consul identifies sessions by id only, and names may repeat. A name is therefore looked up in the list, and callers that
//! create sessions at the same time converge afterwards: the oldest session of the name stays.

use crate::consul::{Consul, StoredSessions};
use crate::difference::differences;
use crate::request::{self, Consistency};
use crate::session::StoredSession;
use crate::transport::Transport;
use crate::types::{NewSession, OnDifference};
use consul_session_core::error::shown;
use consul_session_core::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// What [`ensure`] is about to do.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// Keep an existing session, which has the requested attributes.
    Keep {
        /// The session.
        session: Box<StoredSession>,
        /// Other sessions of its name to destroy.
        surplus: Vec<StoredSession>,
        /// Warnings for people.
        warnings: Vec<String>,
    },
    /// Create a session.
    Create {
        /// Sessions of its name to destroy afterwards, because their attributes differ.
        replacing: Vec<StoredSession>,
    },
}

/// What [`ensure`] did.
#[derive(Debug, PartialEq)]
pub struct Ensured {
    /// The session.
    pub session: StoredSession,
    /// Whether this call created it.
    pub created: bool,
    /// The ids of the sessions that this call destroyed in favor of it.
    pub replaced: Vec<String>,
    /// Warnings for people.
    pub warnings: Vec<String>,
}

/// Returns the sessions of a name, oldest first; if a node is given, only those on it. Consul itself matches the node's
/// name, because it ignores case.
pub async fn find<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    node: Option<&str>,
) -> Result<StoredSessions> {
    let listed: StoredSessions = match node {
        Some(node) => consul.node(node, Consistency::Consistent).await?,
        None => consul.list(Consistency::Consistent).await?,
    };
    let mut found = listed;
    found.sessions.retain(|stored| stored.session.name == name);
    found
        .sessions
        .sort_by_key(|stored| stored.session.create_index);
    Ok(found)
}

/// The error if a decision depends on a list that Consul filtered.
pub fn filtered(doing: &str) -> Error {
    let message = format!(
        "cannot {doing}: Consul omitted sessions that the token may not read, so the list is incomplete; the token needs session:read on all nodes"
    );
    Error::new(ErrorKind::Denied, message)
}

/// Decides what to do so that one session of the name exists.
pub async fn plan<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    wanted: &NewSession,
    on_difference: OnDifference,
) -> Result<Plan> {
    request::check(wanted)?;
    let found = find(consul, name, wanted.node.as_deref()).await?;
    let matching = found
        .sessions
        .iter()
        .position(|stored| differences(wanted, &stored.session).is_empty());
    let mut others = found.sessions;
    match (matching, on_difference) {
        (Some(place), OnDifference::Recreate) => Ok(Plan::Keep {
            session: Box::new(others.remove(place)),
            surplus: others,
            warnings: Vec::new(),
        }),
        (Some(place), OnDifference::Refuse) => {
            let session = others.remove(place);
            let warnings = if others.is_empty() {
                Vec::new()
            } else {
                vec![format!(
                    "{} sessions are named `{}`; the oldest with the requested attributes is {}, the others are {}",
                    others.len() + 1,
                    shown(name),
                    session.session.id,
                    id_list(&others),
                )]
            };
            Ok(Plan::Keep {
                session: Box::new(session),
                surplus: Vec::new(),
                warnings,
            })
        }
        (None, OnDifference::Refuse) if !others.is_empty() => Err(conflict(name, wanted, &others)),
        (None, _) if found.filtered => {
            Err(filtered(&format!("create the session `{}`", shown(name))))
        }
        (None, _) => Ok(Plan::Create { replacing: others }),
    }
}

fn conflict(name: &str, wanted: &NewSession, others: &[StoredSession]) -> Error {
    let list: Vec<String> = others
        .iter()
        .take(MAX_SHOWN)
        .map(|stored| {
            format!(
                "{} ({})",
                stored.session.id,
                differences(wanted, &stored.session).join(", ")
            )
        })
        .chain(more(others.len()))
        .collect();
    Error::new(
        ErrorKind::Conflict,
        format!(
            "a session named `{}` exists with other attributes: {}; sessions cannot be changed, so replace it (`recreate: true`, which releases its locks), create another one of this name (`unique: false`), or choose another name",
            shown(name),
            list.join("; ")
        ),
    )
}

/// Maximum number of convergence rounds. In each, one of the callers that race succeeds, and the deadline usually expires
/// first.
const MAX_ROUNDS: usize = 100;

/// Makes sure that one session of the name exists.
pub async fn ensure<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    wanted: &NewSession,
    on_difference: OnDifference,
    mut planned: Plan,
) -> Result<Ensured> {
    let mut replaced: Vec<String> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        // What happened in earlier rounds stays.
        let after_changes = !replaced.is_empty();
        let changed = |error: Error| {
            let maybe_applied = error.maybe_applied() || after_changes;
            error.with_maybe_applied(maybe_applied)
        };
        match planned {
            Plan::Keep {
                session,
                surplus,
                warnings,
            } if surplus.is_empty() => {
                return Ok(Ensured {
                    created: false,
                    session: *session,
                    replaced,
                    warnings,
                });
            }
            Plan::Keep { surplus, .. } => {
                let removed = destroy_all(consul, &surplus).await.map_err(changed)?;
                replaced.extend(removed);
            }
            Plan::Create { replacing } => {
                // Create before destroying: if Consul refuses the new session, the old one still exists.
                let id = consul.create(wanted).await.map_err(changed)?;
                let but = |what: &str, error: Error| {
                    error
                        .context(&format!("the session {id} was created, but {what}"))
                        .with_maybe_applied(true)
                };
                let first = converge(consul, name, wanted, &id, &replacing)
                    .await
                    .map_err(|error| but("checking for others of its name failed", error))?;
                match first {
                    Some(session) if session.session.id == id => {
                        if replacing.is_empty() {
                            return Ok(Ensured {
                                session,
                                created: true,
                                replaced,
                                warnings: Vec::new(),
                            });
                        }
                        let removed = destroy_all(consul, &replacing).await.map_err(|error| {
                            but("not every session it replaces was destroyed", error)
                        })?;
                        replaced.extend(removed);
                        let now = find(consul, name, wanted.node.as_deref()).await;
                        let now = now.map_err(|error| but("looking for it again failed", error))?;
                        if let Some(warnings) = standing(&session, &now.sessions) {
                            return Ok(Ensured {
                                session,
                                created: true,
                                replaced,
                                warnings,
                            });
                        }
                    }
                    Some(session) if on_difference == OnDifference::Refuse => {
                        if !differences(wanted, &session.session).is_empty() {
                            return Err(conflict(name, wanted, std::slice::from_ref(&session)));
                        }
                        return Ok(Ensured {
                            session,
                            created: false,
                            replaced,
                            warnings: Vec::new(),
                        });
                    }
                    // Another caller also replaced the session, so plan again.
                    _ => {}
                }
            }
        }
        // After removing a rival's session, look again: the rival may have removed ours.
        planned = plan(consul, name, wanted, on_difference)
            .await
            .map_err(|error| {
                let maybe_applied = error.maybe_applied() || !replaced.is_empty();
                error.with_maybe_applied(maybe_applied)
            })?;
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "other callers keep replacing the session `{}`; try again, or let a single caller decide on its attributes",
            shown(name)
        ),
    ))
}

/// The warnings of a caller whose session was the one of its name, after it destroyed those that it replaced. None if
/// there is no session any more.
///
/// Sessions that are newer than ours are those of callers who decide after us: they destroy ours, or, if they did not see
/// it, their own. If we destroyed theirs, as they destroy ours, none would be left.
fn standing(own: &StoredSession, now: &[StoredSession]) -> Option<Vec<String>> {
    if now.iter().any(|stored| stored.session.id == own.session.id) {
        return Some(Vec::new());
    }
    if now.is_empty() {
        return None;
    }
    Some(vec![format!(
        "another caller has decided otherwise since: the session {} was replaced by {}",
        own.session.id,
        id_list(now)
    )])
}

/// Determines, after a create, whose session is the oldest, and destroys our own if it is another caller's. Raft assigns
/// every create an index, and a consistent list shows all creates before it, so all callers see the same oldest session.
///
/// Returns none if another caller has replaced ours.
async fn converge<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    wanted: &NewSession,
    id: &str,
    replacing: &[StoredSession],
) -> Result<Option<StoredSession>> {
    let mut rivals = find(consul, name, wanted.node.as_deref()).await?.sessions;
    let replacing: HashSet<&str> = replacing
        .iter()
        .map(|old| old.session.id.as_str())
        .collect();
    rivals.retain(|stored| !replacing.contains(stored.session.id.as_str()));
    let oldest = rivals.into_iter().next();
    match &oldest {
        None => match consul.renew::<StoredSession>(id).await {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let message = "the token may create sessions but not read them, so it is unknown whether one of this name existed";
                return Err(Error::new(ErrorKind::Denied, message));
            }
        },
        Some(oldest) if oldest.session.id == id => {}
        // Even if ours is not in the list: another caller may have removed it, or the token may write to its node but not
        // read it.
        Some(_) => consul.destroy(id).await?,
    }
    Ok(oldest)
}

/// Destroys every session of a name and returns them.
pub async fn remove<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    node: Option<&str>,
) -> Result<Vec<StoredSession>> {
    let found = find(consul, name, node).await?;
    if found.filtered {
        return Err(filtered(&format!(
            "remove the sessions named `{}`",
            shown(name)
        )));
    }
    destroy_all(consul, &found.sessions).await?;
    Ok(found.sessions)
}

async fn destroy_all<T: Transport>(
    consul: &Consul<'_, T>,
    sessions: &[StoredSession],
) -> Result<Vec<String>> {
    for (done, stored) in sessions.iter().enumerate() {
        consul.destroy(&stored.session.id).await.map_err(|error| {
            if done == 0 {
                return error;
            }
            let progress = format!(
                "{done} of {} sessions were destroyed ({})",
                sessions.len(),
                ids(&sessions[..done.min(MAX_DESTROYED)]).join(", ")
            );
            error.context(&progress).with_maybe_applied(true)
        })?;
    }
    Ok(ids(sessions))
}

/// Maximum number of destroyed sessions that an error lists, which bounds its size.
const MAX_DESTROYED: usize = 1_000;

/// Maximum number of sessions that other messages list.
const MAX_SHOWN: usize = 10;

fn more(count: usize) -> Option<String> {
    (count > MAX_SHOWN).then(|| format!("and {} more", count - MAX_SHOWN))
}

/// The ids of sessions as a message lists them.
pub fn id_list(sessions: &[StoredSession]) -> String {
    let shown = ids(&sessions[..sessions.len().min(MAX_SHOWN)]);
    let all: Vec<String> = shown.into_iter().chain(more(sessions.len())).collect();
    all.join(", ")
}

fn ids(sessions: &[StoredSession]) -> Vec<String> {
    sessions
        .iter()
        .map(|stored| stored.session.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;
    use crate::transport::{Call, Response, TransportError, block_on};
    use crate::types::Agent;
    use consul_session_core::duration::SECOND;
    use serde_json::{Value, json};
    use std::cell::RefCell;
    use std::collections::VecDeque;

    const OLD: &str = "00000000-0000-0000-0000-000000000001";
    const OWN: &str = "00000000-0000-0000-0000-000000000002";
    const NEW: &str = "00000000-0000-0000-0000-000000000003";

    /// Canned responses, and the paths requested.
    #[derive(Default)]
    struct Script {
        responses: RefCell<VecDeque<Response>>,
        seen: RefCell<Vec<String>>,
    }

    impl Transport for &Script {
        async fn send(&self, _: &Call<'_>, request: &Request) -> Result<Response, TransportError> {
            self.seen.borrow_mut().push(request.path.clone());
            Ok(self
                .responses
                .borrow_mut()
                .pop_front()
                .expect("a response for each request"))
        }
    }

    fn ok(json: Value) -> Response {
        Response {
            status: 200,
            body: json.to_string().into_bytes(),
            ..Response::default()
        }
    }

    fn session(id: &str, ttl: &str, index: u64) -> Value {
        json!({"ID": id, "Name": "n", "Node": "a", "LockDelay": 15_000_000_000_i64, "Behavior": "release",
            "TTL": ttl, "NodeChecks": ["serfHealth"], "ServiceChecks": null, "CreateIndex": index, "ModifyIndex": index})
    }

    fn wanted() -> NewSession {
        NewSession {
            name: Some("n".into()),
            ttl: Some(30 * SECOND),
            ..NewSession::default()
        }
    }

    /// Runs `ensure` against a script, and returns its result and the requested paths without their common prefix.
    fn play(on_difference: OnDifference, responses: Vec<Response>) -> (Result<Ensured>, String) {
        let script = Script {
            responses: RefCell::new(responses.into()),
            ..Script::default()
        };
        let agent = Agent {
            address: "http://h:1".into(),
            token: None,
            datacenter: None,
            namespace: None,
            partition: None,
            timeout: None,
        };
        let consul = Consul::new(&agent, &script).unwrap();
        let result = block_on(async {
            let plan = plan(&consul, "n", &wanted(), on_difference).await?;
            ensure(&consul, "n", &wanted(), on_difference, plan).await
        });
        assert!(script.responses.borrow().is_empty(), "unused responses");
        let seen = script
            .seen
            .borrow()
            .join(" ")
            .replace("/v1/session/", "")
            .replace("?consistent", "");
        (result, seen)
    }

    #[test]
    fn keeps_the_oldest_with_the_requested_attributes() {
        let list = ok(json!([
            session(NEW, "30s", 9),
            session(OLD, "30s", 5),
            session(OWN, "60s", 1)
        ]));
        let (result, seen) = play(OnDifference::Refuse, vec![list]);
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (OLD, false)
        );
        assert!(
            ensured.warnings[0].contains("3 sessions"),
            "{:?}",
            ensured.warnings
        );
        assert_eq!(seen, "list");
    }

    #[test]
    fn gives_way_to_an_older_session_in_a_race() {
        let (result, seen) = play(
            OnDifference::Refuse,
            vec![
                ok(json!([])),
                ok(json!({"ID": OWN})),
                ok(json!([session(OWN, "30s", 8), session(OLD, "30s", 7)])),
                ok(json!(true)),
            ],
        );
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (OLD, false)
        );
        assert_eq!(seen, format!("list create list destroy/{OWN}"));
    }

    #[test]
    fn gives_way_also_if_its_own_was_removed_already() {
        let (result, seen) = play(
            OnDifference::Recreate,
            vec![
                ok(json!([session(NEW, "60s", 1)])),
                ok(json!({"ID": OWN})),
                ok(json!([session(OLD, "30s", 7)])),
                ok(json!(true)),
                ok(json!([session(OLD, "30s", 7)])),
            ],
        );
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (OLD, false)
        );
        assert_eq!(seen, format!("list create list destroy/{OWN} list"));
    }

    #[test]
    fn replaces_a_session_that_another_caller_created_meanwhile() {
        let (result, seen) = play(
            OnDifference::Recreate,
            vec![
                ok(json!([])),
                ok(json!({"ID": OWN})),
                ok(json!([session(OLD, "60s", 7), session(OWN, "30s", 8)])),
                ok(json!(true)),
                ok(json!([session(OLD, "60s", 7)])),
                ok(json!({"ID": NEW})),
                ok(json!([session(OLD, "60s", 7), session(NEW, "30s", 9)])),
                ok(json!(true)),
                ok(json!([session(NEW, "30s", 9)])),
            ],
        );
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (NEW, true)
        );
        assert_eq!(ensured.replaced, [OLD]);
        assert_eq!(
            seen,
            format!("list create list destroy/{OWN} list create list destroy/{OLD} list")
        );
    }

    /// Two callers with different attributes see one session of each; both remove the other's, and none would be left.
    #[test]
    fn checks_that_the_session_it_kept_still_exists() {
        let (result, seen) = play(
            OnDifference::Recreate,
            vec![
                ok(json!([session(OLD, "30s", 1), session(NEW, "60s", 2)])),
                ok(json!(true)),
                ok(json!([])),
                ok(json!({"ID": OWN})),
                ok(json!([session(OWN, "30s", 3)])),
            ],
        );
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (OWN, true)
        );
        assert_eq!(ensured.replaced, [NEW]);
        assert_eq!(seen, format!("list destroy/{NEW} list create list"));
    }

    #[test]
    fn a_rival_that_differs_is_a_conflict_and_leaves_nothing_behind() {
        let (result, seen) = play(
            OnDifference::Refuse,
            vec![
                ok(json!([])),
                ok(json!({"ID": OWN})),
                ok(json!([session(OWN, "30s", 8), session(OLD, "60s", 7)])),
                ok(json!(true)),
            ],
        );
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Conflict);
        assert!(
            error.message().contains("ttl is 60s instead of 30s"),
            "{error}"
        );
        assert_eq!(seen, format!("list create list destroy/{OWN}"));
    }

    #[test]
    fn replaces_only_after_the_new_one_stands() {
        let (result, seen) = play(
            OnDifference::Recreate,
            vec![
                ok(json!([session(OLD, "60s", 7)])),
                ok(json!({"ID": OWN})),
                ok(json!([session(OLD, "60s", 7), session(OWN, "30s", 8)])),
                ok(json!(true)),
                ok(json!([session(OWN, "30s", 8)])),
            ],
        );
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (OWN, true)
        );
        assert_eq!(ensured.replaced, [OLD]);
        assert_eq!(seen, format!("list create list destroy/{OLD} list"));
    }

    #[test]
    fn recreate_leaves_one_of_several() {
        let list = ok(json!([
            session(OLD, "60s", 1),
            session(OWN, "30s", 2),
            session(NEW, "30s", 3)
        ]));
        let (result, seen) = play(
            OnDifference::Recreate,
            vec![
                list,
                ok(json!(true)),
                ok(json!(true)),
                ok(json!([session(OWN, "30s", 2)])),
            ],
        );
        let ensured = result.unwrap();
        assert_eq!(
            (ensured.session.session.id.as_str(), ensured.created),
            (OWN, false)
        );
        assert_eq!(seen, format!("list destroy/{OLD} destroy/{NEW} list"));
    }

    #[test]
    fn refuses_to_create_after_a_filtered_list() {
        let filtered = Response {
            filtered: true,
            ..ok(json!([]))
        };
        let (result, seen) = play(OnDifference::Refuse, vec![filtered]);
        assert_eq!(
            (result.unwrap_err().kind(), seen.as_str()),
            (&ErrorKind::Denied, "list")
        );
    }

    #[test]
    fn names_the_session_it_created_before_failing() {
        let broken = Response {
            status: 500,
            ..Response::default()
        };
        let (result, _) = play(
            OnDifference::Refuse,
            vec![ok(json!([])), ok(json!({"ID": OWN})), broken],
        );
        let error = result.unwrap_err();
        assert!(error.message().contains(OWN), "{error}");
        assert_eq!(
            (error.kind(), error.maybe_applied()),
            (&ErrorKind::Unavailable, true)
        );
    }
}
