//! Operations by name. Consul knows sessions by id only and lets names repeat, so a name is looked up in the list, and
//! callers that create at the same time are brought together afterwards: of all sessions of the name the oldest stays.

use crate::consul::{Consul, Listed};
use crate::difference::differences;
use crate::error::{Fault, failure, shown};
use crate::request::{self, Consistency};
use crate::session::Stored;
use crate::sessions::OnDifference;
use crate::transport::Transport;
use crate::types::{ErrorKind, NewSession};
use std::collections::BinaryHeap;

/// What [`ensure`] is about to do.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// A session as asked for is there.
    Keep {
        /// It.
        session: Box<Stored>,
        /// Others of its name that have to go, as one was asked for.
        surplus: Vec<Stored>,
        /// What a person should know.
        warnings: Vec<String>,
    },
    /// None is there.
    Create {
        /// Others of its name that have to go, as they differ.
        replacing: Vec<Stored>,
    },
}

/// What [`ensure`] did.
#[derive(Debug, PartialEq)]
pub struct Ensured {
    /// The session.
    pub session: Stored,
    /// Whether this call made it.
    pub created: bool,
    /// The ids of those it replaced.
    pub replaced: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// The sessions of a name, oldest first; of a node, if one is given. Which names mean the same node (Consul finds one in
/// any case) is left to Consul.
pub fn find<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    node: Option<&str>,
) -> Result<Listed, Fault> {
    let listed = match node {
        Some(node) => consul.node(node, Consistency::Consistent)?,
        None => consul.list(Consistency::Consistent)?,
    };
    let mut named: Vec<Option<Stored>> = listed
        .sessions
        .into_iter()
        .filter(|stored| stored.session.name == name)
        .map(Some)
        .collect();
    // A heap of ages: the general sorts were 14 KB of the component, and insertion took seconds for 20,000 of a name.
    let ages: BinaryHeap<(u64, usize)> = named
        .iter()
        .flatten()
        .enumerate()
        .map(|(place, stored)| (stored.session.create_index, place))
        .collect();
    let sessions = ages
        .into_sorted_vec()
        .into_iter()
        .filter_map(|(_, place)| named.get_mut(place)?.take())
        .collect();
    Ok(Listed {
        sessions,
        filtered: listed.filtered,
    })
}

/// The error for a decision that would rest on a list which Consul says is not whole.
pub fn filtered(doing: &str) -> Fault {
    failure(
        ErrorKind::Denied,
        format!(
            "cannot {doing}: Consul left out sessions that the token may not read, so what there is cannot be told. The token needs session:read on all nodes."
        ),
    )
}

/// Decides what it takes to have one session of the name.
pub fn plan<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    wanted: &NewSession,
    on_difference: OnDifference,
) -> Result<Plan, Fault> {
    request::check(wanted)?;
    let found = find(consul, name, wanted.node.as_deref())?;
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
                    "{} sessions are named `{}`; the oldest that is as asked for is {}. The others: {}",
                    others.len() + 1,
                    shown(name),
                    session.session.id,
                    listed(&others),
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

fn conflict(name: &str, wanted: &NewSession, others: &[Stored]) -> Fault {
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
    failure(
        ErrorKind::Conflict,
        format!(
            "a session named `{}` exists and differs from what is asked for: {}. Sessions cannot be changed: `recreate` it (its locks are released), create one more of the name (`unique: false`), or take another name.",
            shown(name),
            list.join("; ")
        ),
    )
}

/// How often a caller that is to leave one session looks whether it is there. The time it has ends it earlier, as a rule.
const MAX_ROUNDS: usize = 20;

/// Makes sure that one session of the name exists.
pub fn ensure<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    wanted: &NewSession,
    on_difference: OnDifference,
    mut planned: Plan,
) -> Result<Ensured, Fault> {
    let mut replaced = Vec::new();
    let mut own = None;
    for _ in 0..MAX_ROUNDS {
        match planned {
            Plan::Keep {
                session,
                surplus,
                warnings,
            } if surplus.is_empty() => {
                return Ok(Ensured {
                    created: own.as_ref() == Some(&session.session.id),
                    session: *session,
                    replaced,
                    warnings,
                });
            }
            Plan::Keep { surplus, .. } => replaced.extend(destroy_all(consul, &surplus)?),
            Plan::Create { replacing } => {
                // The new one first: if Consul refuses it, the old one still stands.
                let id = consul.create(wanted)?;
                let but = |what: &str, fault: Fault| {
                    let mut fault =
                        fault.context(&format!("the session {id} was created, but {what}"));
                    fault.maybe_applied = true;
                    fault
                };
                let first = converge(consul, name, wanted, &id, &replacing)
                    .map_err(|fault| but("what followed failed", fault))?;
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
                        let removed = destroy_all(consul, &replacing)
                            .map_err(|fault| but("what it replaces was not all removed", fault))?;
                        replaced.extend(removed);
                        own = Some(id);
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
                    // Another caller replaced it too: this one comes after it.
                    _ => {}
                }
            }
        }
        // Who removed another's session looks again: that caller, with another wish, may have removed the one that is to stay,
        // and none would be left.
        planned = plan(consul, name, wanted, on_difference).map_err(|mut fault| {
            fault.maybe_applied |= !replaced.is_empty();
            fault
        })?;
    }
    Err(failure(
        ErrorKind::Conflict,
        format!(
            "the session `{}` is being replaced by others all the time: run again, or let one caller decide what it is like",
            shown(name)
        ),
    ))
}

/// Finds out, after a create, whose session is first, and gives way if it is another caller's. Raft gives every create an
/// index and a consistent list shows all creates before it, so all callers see the same oldest session. None: the own one
/// was removed, by a caller who replaced it.
fn converge<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    wanted: &NewSession,
    id: &str,
    replacing: &[Stored],
) -> Result<Option<Stored>, Fault> {
    let mut rivals = find(consul, name, wanted.node.as_deref())?.sessions;
    rivals.retain(|stored| {
        !replacing
            .iter()
            .any(|old| old.session.id == stored.session.id)
    });
    let oldest = rivals.into_iter().next();
    match &oldest {
        None => match consul.renew(id) {
            Err(fault) if fault.kind == ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
            Ok(_) => {
                let message = "the token may create sessions but not read them, so whether one of this name was there cannot be told";
                return Err(failure(ErrorKind::Denied, message));
            }
        },
        Some(oldest) if oldest.session.id == id => {}
        // Also if it is not in the list: it may be gone, as a caller that was to leave one session removes all others, or be
        // on a node that the token may write to and not read.
        Some(_) => consul.destroy(id)?,
    }
    Ok(oldest)
}

/// Removes every session of a name and returns what was there.
pub fn remove<T: Transport>(
    consul: &Consul<'_, T>,
    name: &str,
    node: Option<&str>,
) -> Result<Vec<Stored>, Fault> {
    let found = find(consul, name, node)?;
    if found.filtered {
        return Err(filtered(&format!(
            "remove the sessions named `{}`",
            shown(name)
        )));
    }
    destroy_all(consul, &found.sessions)?;
    Ok(found.sessions)
}

fn destroy_all<T: Transport>(
    consul: &Consul<'_, T>,
    sessions: &[Stored],
) -> Result<Vec<String>, Fault> {
    for (done, stored) in sessions.iter().enumerate() {
        consul.destroy(&stored.session.id).map_err(|fault| {
            if done == 0 {
                return fault;
            }
            let removed = ids(&sessions[..done]).join(", ");
            let mut fault = fault.context(&format!(
                "{done} of {} sessions were removed ({removed}), then",
                sessions.len()
            ));
            fault.maybe_applied = true;
            fault
        })?;
    }
    Ok(ids(sessions))
}

/// How many sessions a message lists.
const MAX_SHOWN: usize = 10;

fn more(count: usize) -> Option<String> {
    (count > MAX_SHOWN).then(|| format!("and {} more", count - MAX_SHOWN))
}

/// The ids of sessions as a message lists them.
pub fn listed(sessions: &[Stored]) -> String {
    let shown = ids(&sessions[..sessions.len().min(MAX_SHOWN)]);
    let all: Vec<String> = shown.into_iter().chain(more(sessions.len())).collect();
    all.join(", ")
}

fn ids(sessions: &[Stored]) -> Vec<String> {
    sessions
        .iter()
        .map(|stored| stored.session.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::SECOND;
    use crate::request::Request;
    use crate::transport::{Answer, Breach, Call};
    use crate::types::Agent;
    use serde_json::{Value, json};
    use std::cell::RefCell;
    use std::collections::VecDeque;

    const OLD: &str = "00000000-0000-0000-0000-000000000001";
    const OWN: &str = "00000000-0000-0000-0000-000000000002";
    const NEW: &str = "00000000-0000-0000-0000-000000000003";

    /// Answers in turn, and the requests that got them.
    #[derive(Default)]
    struct Script {
        answers: RefCell<VecDeque<Answer>>,
        seen: RefCell<Vec<String>>,
    }

    impl Transport for &Script {
        fn send(&self, _: &Call<'_>, request: &Request) -> Result<Answer, Breach> {
            self.seen.borrow_mut().push(request.path.clone());
            Ok(self
                .answers
                .borrow_mut()
                .pop_front()
                .expect("an answer for each request"))
        }
    }

    fn ok(json: Value) -> Answer {
        Answer {
            status: 200,
            body: json.to_string().into_bytes(),
            ..Answer::default()
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

    /// Runs `ensure` against a script and returns its result with the paths asked for, less their common beginning.
    fn play(on_difference: OnDifference, answers: Vec<Answer>) -> (Result<Ensured, Fault>, String) {
        let script = Script {
            answers: RefCell::new(answers.into()),
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
        let result = plan(&consul, "n", &wanted(), on_difference)
            .and_then(|plan| ensure(&consul, "n", &wanted(), on_difference, plan));
        assert!(
            script.answers.borrow().is_empty(),
            "answers nobody asked for"
        );
        let seen = script
            .seen
            .borrow()
            .join(" ")
            .replace("/v1/session/", "")
            .replace("?consistent", "");
        (result, seen)
    }

    #[test]
    fn keeps_the_oldest_that_is_as_asked_for() {
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
    fn replaces_what_another_caller_made_of_it_meanwhile() {
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

    /// Two callers with two wishes see one session of each, and each removes the other's: none would be left.
    #[test]
    fn looks_whether_the_one_it_kept_is_still_there() {
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
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(
            error.message.contains("ttl is 60s, asked for 30s"),
            "{}",
            error.message
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
    fn a_filtered_list_is_no_ground_to_create_on() {
        let filtered = Answer {
            filtered: true,
            ..ok(json!([]))
        };
        let (result, seen) = play(OnDifference::Refuse, vec![filtered]);
        assert_eq!(
            (result.unwrap_err().kind, seen.as_str()),
            (ErrorKind::Denied, "list")
        );
    }

    #[test]
    fn names_the_session_it_could_not_see_to_the_end() {
        let broken = Answer {
            status: 500,
            ..Answer::default()
        };
        let (result, _) = play(
            OnDifference::Refuse,
            vec![ok(json!([])), ok(json!({"ID": OWN})), broken],
        );
        let error = result.unwrap_err();
        assert!(error.message.contains(OWN), "{}", error.message);
        assert_eq!(
            (error.kind, error.maybe_applied),
            (ErrorKind::Unavailable, true)
        );
    }
}
