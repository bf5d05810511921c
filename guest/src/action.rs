//! The action door: one call in the words of the automation module, JSON in and JSON out.

use crate::by_name::{self, Ensured, Plan};
use crate::connection::Environment;
use crate::consul::{Consul, Listed};
use crate::difference::NODE_HEALTH;
use crate::duration::{SECOND, to_json};
use crate::error::{Fault, failure, shown};
use crate::parameters::{Action, State};
use crate::request::{self, Consistency};
use crate::session::{Stored, body, object};
use crate::sessions::OnDifference;
use crate::transport::Transport;
use crate::types::{Behavior, ErrorKind, NewSession};
use serde_json::{Map, Value};

/// What Consul gives a session that asks for nothing else.
const DEFAULT_BEHAVIOR: Behavior = Behavior::Release;
const DEFAULT_LOCK_DELAY: u64 = 15 * SECOND;

/// Runs one action; either value is a JSON object.
pub fn run<T: Transport>(
    parameters: Map<String, Value>,
    environment: Environment<'_>,
    transport: T,
) -> Result<Value, Fault> {
    let action = Action::read(parameters, environment)?;
    Ok(perform(&action, transport)?.into_json())
}

/// What an action did, or in check mode would have done.
struct Outcome {
    changed: bool,
    keys: Vec<(&'static str, Value)>,
    before_and_after: Option<(Vec<Value>, Vec<Value>)>,
    warnings: Vec<String>,
}

impl Outcome {
    fn read(keys: Vec<(&'static str, Value)>, filtered: bool) -> Outcome {
        let warning = "Consul left out sessions that the token may not read: what is shown may not be all there is";
        Outcome {
            changed: false,
            keys,
            before_and_after: None,
            warnings: if filtered {
                vec![warning.to_owned()]
            } else {
                Vec::new()
            },
        }
    }

    /// Takes what is there instead of copying it: of the largest answer it is tens of MiB.
    fn into_json(self) -> Value {
        let mut json = Map::new();
        json.insert("changed".to_owned(), self.changed.into());
        for (key, value) in self.keys {
            json.insert(key.to_owned(), value);
        }
        if let Some((before, after)) = self.before_and_after {
            json.insert(
                "diff".to_owned(),
                object([("before", before.into()), ("after", after.into())]),
            );
        }
        if !self.warnings.is_empty() {
            json.insert("warnings".to_owned(), self.warnings.into());
        }
        json.into()
    }
}

fn perform<T: Transport>(action: &Action, transport: T) -> Result<Outcome, Fault> {
    let consul = &Consul::at(&action.agent, action.settings.address.clone(), transport)?;
    let mut outcome = match action.state {
        State::Present => present(action, consul),
        State::Absent => absent(action, consul),
        State::Renew => renew(action, consul),
        State::Info => {
            let (listed, id) = look_up(action, consul)?;
            Ok(Outcome::read(
                vec![
                    ("session_id", id.into()),
                    ("sessions", into_objects(listed.sessions)),
                ],
                listed.filtered,
            ))
        }
        State::Node => {
            let node = action.node.as_deref().unwrap_or_default();
            let listed = consul.node(node, Consistency::Default)?;
            Ok(Outcome::read(
                vec![
                    ("node", node.into()),
                    ("sessions", into_objects(listed.sessions)),
                ],
                listed.filtered,
            ))
        }
        State::List => {
            let listed = consul.list(Consistency::Default)?;
            Ok(Outcome::read(
                vec![("sessions", into_objects(listed.sessions))],
                listed.filtered,
            ))
        }
    }?;
    if !action.diff {
        outcome.before_and_after = None;
    }
    Ok(outcome)
}

/// The sessions that `id` or `name` means, and the id that stands for them.
fn look_up<T: Transport>(
    action: &Action,
    consul: &Consul<'_, T>,
) -> Result<(Listed, Option<String>), Fault> {
    match (&action.id, &action.name) {
        (Some(id), _) => {
            let listed = consul.info(id, Consistency::Default)?;
            Ok((listed, Some(request::session_id(id)?)))
        }
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            let listed = by_name::find(consul, name, action.node.as_deref())?;
            let id = match listed.sessions.as_slice() {
                [only] => Some(only.session.id.clone()),
                _ => None,
            };
            Ok((listed, id))
        }
    }
}

fn present<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome, Fault> {
    let Some(name) = action.name.as_deref().filter(|_| action.unique) else {
        return present_always(action, consul);
    };
    let on_difference = if action.recreate {
        OnDifference::Recreate
    } else {
        OnDifference::Refuse
    };
    let plan = by_name::plan(consul, name, &action.wanted, on_difference)?;
    let before: Vec<Value> = match &plan {
        Plan::Keep {
            session, surplus, ..
        } => std::iter::once(session.as_ref())
            .chain(surplus)
            .map(json)
            .collect(),
        Plan::Create { replacing } => objects(replacing),
    };
    if action.check_mode {
        return Ok(match plan {
            Plan::Keep {
                session,
                surplus,
                warnings,
            } => Outcome {
                changed: !surplus.is_empty(),
                keys: present_keys(action, Some(&session), &surplus),
                before_and_after: Some((before, vec![session.json.clone()])),
                warnings,
            },
            Plan::Create { replacing } => Outcome {
                changed: true,
                keys: present_keys(action, None, &replacing),
                before_and_after: Some((before, vec![predicted(&action.wanted)])),
                warnings: Vec::new(),
            },
        });
    }
    let Ensured {
        session,
        created,
        replaced,
        warnings,
    } = by_name::ensure(consul, name, &action.wanted, on_difference, plan)?;
    let mut keys = present_keys(action, Some(&session), &[]);
    if !replaced.is_empty() {
        keys.push(("replaced", replaced.clone().into()));
    }
    let after = vec![session.json.clone()];
    Ok(Outcome {
        changed: created || !replaced.is_empty(),
        keys,
        // Another caller's session, made meanwhile, is no change of ours.
        before_and_after: Some((
            if created || !before.is_empty() {
                before
            } else {
                after.clone()
            },
            after,
        )),
        warnings,
    })
}

/// Without a name, or where one of a name is not enough: another session in any case.
fn present_always<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome, Fault> {
    if action.check_mode {
        request::check(&action.wanted)?;
        return Ok(Outcome {
            changed: true,
            keys: present_keys(action, None, &[]),
            before_and_after: Some((Vec::new(), vec![predicted(&action.wanted)])),
            warnings: Vec::new(),
        });
    }
    let id = consul.create(&action.wanted)?;
    let mut warnings = Vec::new();
    let stored = match consul.info(&id, Consistency::Consistent) {
        Ok(listed) => listed.sessions.into_iter().next(),
        // The session is there, and its id is what the caller needs most.
        Err(error) => {
            warnings.push(format!(
                "the session was created, but not read back: {}",
                error.message
            ));
            None
        }
    };
    if stored.is_none() && warnings.is_empty() {
        warnings.push("the session was created, but the token may not read it".to_owned());
    }
    let mut keys = present_keys(action, stored.as_ref(), &[]);
    if let Some((_, value)) = keys.first_mut() {
        *value = id.into();
    }
    Ok(Outcome {
        changed: true,
        keys,
        before_and_after: Some((Vec::new(), stored.iter().map(json).collect())),
        warnings,
    })
}

/// The documented keys: as asked for, and where nothing was asked for, as it is or will be.
fn present_keys(
    action: &Action,
    stored: Option<&Stored>,
    replacing: &[Stored],
) -> Vec<(&'static str, Value)> {
    let wanted = &action.wanted;
    let session = stored.map(|stored| &stored.session);
    let behavior = wanted
        .behavior
        .or(session.map(|session| session.behavior))
        .unwrap_or(DEFAULT_BEHAVIOR);
    let delay = wanted
        .lock_delay
        .or(session.map(|session| u64::try_from(session.lock_delay).unwrap_or(0)))
        .unwrap_or(DEFAULT_LOCK_DELAY);
    let ttl = wanted
        .ttl
        .or(session.and_then(|session| session.ttl))
        .filter(|ttl| *ttl > 0);
    let mut keys = vec![
        (
            "session_id",
            session.map(|session| session.id.clone()).into(),
        ),
        ("name", wanted.name.clone().into()),
        ("behavior", behavior.as_str().into()),
        ("ttl", ttl.map(to_json).into()),
        ("delay", to_json(delay)),
        ("checks", wanted.checks.clone().into()),
        ("node", wanted.node.clone().into()),
        ("session", stored.map(json).into()),
    ];
    if !replacing.is_empty() {
        keys.push(("replaced", ids(replacing)));
    }
    keys
}

fn absent<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome, Fault> {
    let mut warnings = Vec::new();
    let there: Vec<Stored> = match (&action.id, &action.name) {
        (Some(id), name) => {
            let Listed {
                sessions: there,
                filtered,
            } = consul.info(id, Consistency::Consistent)?;
            if filtered && there.is_empty() {
                if action.check_mode {
                    return Err(by_name::filtered(&format!("remove the session {id}")));
                }
                warnings.push(format!(
                    "Consul hides the session {id} from the token: whether it was there cannot be told"
                ));
            }
            if let (Some(stored), Some(name)) = (there.first(), name)
                && stored.session.name != *name
            {
                warnings.push(format!(
                    "the session {id} is named `{}`, not `{}`; the `id` decided",
                    shown(&stored.session.name),
                    shown(name)
                ));
            }
            if !action.check_mode {
                // Also if nothing showed: to a token without rights a session looks gone, and only the write says 403.
                consul.destroy(id)?;
            }
            there
        }
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            if action.check_mode {
                let found = by_name::find(consul, name, action.node.as_deref())?;
                if found.filtered {
                    return Err(by_name::filtered(&format!(
                        "remove the sessions named `{}`",
                        shown(name)
                    )));
                }
                found.sessions
            } else {
                by_name::remove(consul, name, action.node.as_deref())?
            }
        }
    };
    let id = match (&action.id, there.as_slice()) {
        (Some(id), _) => Some(request::session_id(id)?),
        (None, [only]) => Some(only.session.id.clone()),
        (None, _) => None,
    };
    Ok(Outcome {
        changed: !there.is_empty(),
        keys: vec![("session_id", id.into()), ("session_ids", ids(&there))],
        before_and_after: Some((objects(&there), Vec::new())),
        warnings,
    })
}

fn renew<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome, Fault> {
    let id = match &action.id {
        Some(id) => request::session_id(id)?,
        None => renewable(action, consul)?,
    };
    let stored =
        if action.check_mode {
            let there = consul.info(&id, Consistency::Default)?;
            if there.filtered && there.sessions.is_empty() {
                return Err(by_name::filtered(&format!("renew the session {id}")));
            }
            there.sessions.into_iter().next().ok_or_else(|| {
            failure(ErrorKind::NotFound, format!(
                "cannot renew the session {id}: it does not exist, or the token may not read it"
            ))
        })?
        } else {
            consul.renew(&id)?
        };
    let ttl = stored.session.ttl;
    let warnings = match ttl {
        None => vec!["the session has no ttl: there was nothing to renew".to_owned()],
        Some(_) => Vec::new(),
    };
    Ok(Outcome {
        changed: true,
        keys: vec![
            ("session_id", id.into()),
            ("session", json(&stored)),
            ("ttl", ttl.map(to_json).into()),
        ],
        before_and_after: Some((vec![json(&stored)], vec![json(&stored)])),
        warnings,
    })
}

/// The one session of a name.
fn renewable<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<String, Fault> {
    let (listed, id) = look_up(action, consul)?;
    let name = shown(action.name.as_deref().unwrap_or_default());
    match (id, listed.sessions.is_empty()) {
        (Some(id), _) => Ok(id),
        (None, true) if listed.filtered => {
            Err(by_name::filtered(&format!("renew the session `{name}`")))
        }
        (None, true) => Err(failure(
            ErrorKind::NotFound,
            format!(
                "cannot renew the session `{name}`: none of this name exists, or the token may not read it"
            ),
        )),
        (None, false) => Err(failure(
            ErrorKind::Conflict,
            format!(
                "cannot renew by name: {} sessions are named `{name}`. Give the `id` of one: {}",
                listed.sessions.len(),
                by_name::listed(&listed.sessions)
            ),
        )),
    }
}

/// A new session as Consul will store it, without what only Consul knows: its id, its indexes and, unless asked for, its node.
fn predicted(wanted: &NewSession) -> Value {
    let mut session = body(wanted);
    session["LockDelay"] = wanted.lock_delay.unwrap_or(DEFAULT_LOCK_DELAY).into();
    session["Behavior"] = wanted.behavior.unwrap_or(DEFAULT_BEHAVIOR).as_str().into();
    if wanted.ttl.is_none_or(|ttl| ttl == 0) {
        session["TTL"] = "".into();
    }
    if wanted.checks.is_none() && wanted.node_checks.is_none() {
        session["NodeChecks"] = [NODE_HEALTH].as_slice().into();
    }
    session
}

fn json(stored: &Stored) -> Value {
    stored.json.clone()
}

fn objects(sessions: &[Stored]) -> Vec<Value> {
    sessions.iter().map(json).collect()
}

fn into_objects(sessions: Vec<Stored>) -> Value {
    let objects = sessions.into_iter().map(|stored| stored.json);
    objects.collect()
}

fn ids(sessions: &[Stored]) -> Value {
    sessions
        .iter()
        .map(|stored| Value::from(stored.session.id.as_str()))
        .collect()
}
