//! Carries out one action: parameters in, result out, both as JSON.

use crate::action::{Action, State};
use crate::consul::{Consul, StoredSessions};
use crate::difference::NODE_HEALTH;
use crate::ensure::{self, Ensured, Plan};
use crate::perform_locks;
use crate::request::{self, Consistency};
use crate::session::{StoredSession, create_body};
use crate::transport::Transport;
use crate::types::{Behavior, NewSession, OnDifference};
use consul_session_core::arguments;
use consul_session_core::duration::{SECOND, to_json};
use consul_session_core::error::shown;
use consul_session_core::settings::Environment;
use consul_session_core::{Error, ErrorKind, Result, session_id};
use serde_json::{Map, Value, json};

/// Consul's defaults.
const DEFAULT_BEHAVIOR: Behavior = Behavior::Release;
const DEFAULT_LOCK_DELAY: u64 = 15 * SECOND;

/// Runs one action whose parameters and result are JSON texts, as in the action interface.
pub async fn run_json<T: Transport>(parameters: &str, transport: T) -> Result<String, String> {
    let result = match arguments::from_json(parameters) {
        Ok(parameters) => run(parameters, Environment::EMPTY, transport).await,
        Err(error) => Err(error),
    };
    result
        .map(|result| result.to_string())
        .map_err(|error| failure_json(&error))
}

/// Runs one action and returns its result, a JSON object.
pub async fn run<T: Transport>(
    parameters: Map<String, Value>,
    environment: Environment<'_>,
    transport: T,
) -> Result<Value> {
    let action = Action::parse(parameters, environment)?;
    Ok(perform(&action, transport).await?.into_json())
}

/// The failure object of the action interface.
pub fn failure_json(error: &Error) -> String {
    // Serializing strings and integers into a string cannot fail.
    serde_json::to_string(error).unwrap_or_default()
}

/// What an action did, or in check mode would do.
pub struct Outcome {
    /// Whether it changed anything, or would.
    pub changed: bool,
    /// What the state returns.
    pub keys: Vec<(&'static str, Value)>,
    /// For the diff.
    pub before_and_after: Option<(Vec<Value>, Vec<Value>)>,
    /// Warnings for people.
    pub warnings: Vec<String>,
}

impl Outcome {
    /// What a read returned.
    pub fn read(keys: Vec<(&'static str, Value)>, filtered: bool) -> Outcome {
        let warning =
            "Consul omitted sessions that the token may not read, so the result may be incomplete";
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

    /// Moves the sessions instead of copying them: the largest list takes tens of MiB.
    fn into_json(self) -> Value {
        let mut json = Map::new();
        json.insert("changed".to_owned(), self.changed.into());
        for (key, value) in self.keys {
            json.insert(key.to_owned(), value);
        }
        if let Some((before, after)) = self.before_and_after {
            json.insert("diff".to_owned(), json!({"before": before, "after": after}));
        }
        if !self.warnings.is_empty() {
            json.insert("warnings".to_owned(), self.warnings.into());
        }
        json.into()
    }
}

async fn perform<T: Transport>(action: &Action, transport: T) -> Result<Outcome> {
    let consul = &Consul::at(&action.agent, action.settings.address.clone(), transport)?;
    let key = action.key.as_deref().unwrap_or_default();
    let mut outcome = match action.state {
        State::Present => present(action, consul).await,
        State::Absent => absent(action, consul).await,
        State::Renew => renew(action, consul).await,
        State::Locked => perform_locks::locked(action, consul, key).await,
        State::Unlocked => perform_locks::unlocked(action, consul, key).await,
        State::Holder => perform_locks::holder(consul, key).await,
        State::Written => perform_locks::written(action, consul, key).await,
        State::Info => {
            let (found, id) = look_up(action, consul).await?;
            Ok(Outcome::read(
                vec![
                    ("session_id", id.into()),
                    ("sessions", into_objects(found.sessions)),
                ],
                found.filtered,
            ))
        }
        State::Node => {
            let node = action.node.as_deref().unwrap_or_default();
            let found = consul.node(node, Consistency::Default).await?;
            Ok(Outcome::read(
                vec![
                    ("node", node.into()),
                    ("sessions", into_objects(found.sessions)),
                ],
                found.filtered,
            ))
        }
        State::List => {
            let found = consul.list(Consistency::Default).await?;
            Ok(Outcome::read(
                vec![("sessions", into_objects(found.sessions))],
                found.filtered,
            ))
        }
    }?;
    if !action.diff {
        outcome.before_and_after = None;
    }
    Ok(outcome)
}

/// Finds the sessions that `id` or `name` refers to, and the id if there is exactly one.
async fn look_up<T: Transport>(
    action: &Action,
    consul: &Consul<'_, T>,
) -> Result<(StoredSessions, Option<String>)> {
    match (&action.id, &action.name) {
        (Some(id), _) => {
            let found = consul.info(id, Consistency::Default).await?;
            Ok((found, Some(session_id::parse(id)?)))
        }
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            let found = ensure::find(consul, name, action.node.as_deref()).await?;
            let id = match found.sessions.as_slice() {
                [only] => Some(only.session.id.clone()),
                _ => None,
            };
            Ok((found, id))
        }
    }
}

async fn present<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome> {
    let Some(name) = action.name.as_deref().filter(|_| action.unique) else {
        return present_always(action, consul).await;
    };
    let on_difference = if action.recreate {
        OnDifference::Recreate
    } else {
        OnDifference::Refuse
    };
    let plan = ensure::plan(consul, name, &action.wanted, on_difference).await?;
    let before: Vec<Value> = match &plan {
        Plan::Keep {
            session, surplus, ..
        } => std::iter::once(session.as_ref())
            .chain(surplus)
            .map(to_object)
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
    } = ensure::ensure(consul, name, &action.wanted, on_difference, plan).await?;
    let mut keys = present_keys(action, Some(&session), &[]);
    if !replaced.is_empty() {
        keys.push(("replaced", replaced.clone().into()));
    }
    let after = vec![session.json.clone()];
    Ok(Outcome {
        changed: created || !replaced.is_empty(),
        keys,
        // A session that another caller created meanwhile is not our change.
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

/// Creates a session unconditionally: it has no name, or need not be unique.
async fn present_always<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome> {
    if action.check_mode {
        request::check(&action.wanted)?;
        return Ok(Outcome {
            changed: true,
            keys: present_keys(action, None, &[]),
            before_and_after: Some((Vec::new(), vec![predicted(&action.wanted)])),
            warnings: Vec::new(),
        });
    }
    let id = consul.create(&action.wanted).await?;
    let mut warnings = Vec::new();
    let stored = match consul.info(&id, Consistency::Consistent).await {
        Ok(found) => found.sessions.into_iter().next(),
        // The create succeeded, so return the id and report the failed read as a warning.
        Err(error) => {
            warnings.push(format!(
                "the session was created, but not read back: {}",
                error.message()
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
        before_and_after: Some((Vec::new(), stored.iter().map(to_object).collect())),
        warnings,
    })
}

/// The documented keys: what was requested, or else what the session has or will have.
fn present_keys(
    action: &Action,
    stored: Option<&StoredSession>,
    replacing: &[StoredSession],
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
        ("session", stored.map(to_object).into()),
    ];
    if !replacing.is_empty() {
        keys.push(("replaced", ids(replacing)));
    }
    keys
}

async fn absent<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome> {
    let mut warnings = Vec::new();
    let there: Vec<StoredSession> = match (&action.id, &action.name) {
        (Some(id), name) => {
            let StoredSessions {
                sessions: there,
                filtered,
            } = consul.info(id, Consistency::Consistent).await?;
            if filtered && there.is_empty() {
                if action.check_mode {
                    return Err(ensure::filtered(&format!("remove the session {id}")));
                }
                warnings.push(format!(
                    "Consul hides the session {id} from this token, so it is unknown whether it existed"
                ));
            }
            if let (Some(stored), Some(name)) = (there.first(), name)
                && stored.session.name != *name
            {
                warnings.push(format!(
                    "the session {id} is named `{}`, not `{}`; `id` takes precedence",
                    shown(&stored.session.name),
                    shown(name)
                ));
            }
            if !action.check_mode {
                // Destroy even if the read returned nothing: without session:read the list is empty, and only the write
                // returns 403.
                consul.destroy(id).await?;
            }
            there
        }
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            if action.check_mode {
                let found = ensure::find(consul, name, action.node.as_deref()).await?;
                if found.filtered {
                    return Err(ensure::filtered(&format!(
                        "remove the sessions named `{}`",
                        shown(name)
                    )));
                }
                found.sessions
            } else {
                ensure::remove(consul, name, action.node.as_deref()).await?
            }
        }
    };
    let id = match (&action.id, there.as_slice()) {
        (Some(id), _) => Some(session_id::parse(id)?),
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

async fn renew<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<Outcome> {
    let id = match &action.id {
        Some(id) => session_id::parse(id)?,
        None => renewable(action, consul).await?,
    };
    let stored: StoredSession = if action.check_mode {
        let found = consul.info(&id, Consistency::Default).await?;
        if found.filtered && found.sessions.is_empty() {
            return Err(ensure::filtered(&format!("renew the session {id}")));
        }
        found.sessions.into_iter().next().ok_or_else(|| {
            let message = format!(
                "cannot renew the session {id}: it does not exist, or the token may not read it"
            );
            Error::new(ErrorKind::NotFound, message)
        })?
    } else {
        consul.renew(&id).await?
    };
    let ttl = stored.session.ttl;
    let warnings = match ttl {
        None => vec!["the session has no ttl, so there was nothing to renew".to_owned()],
        Some(_) => Vec::new(),
    };
    Ok(Outcome {
        changed: true,
        keys: vec![
            ("session_id", id.into()),
            ("session", to_object(&stored)),
            ("ttl", ttl.map(to_json).into()),
        ],
        before_and_after: Some((vec![to_object(&stored)], vec![to_object(&stored)])),
        warnings,
    })
}

/// The id of the only session of a name.
async fn renewable<T: Transport>(action: &Action, consul: &Consul<'_, T>) -> Result<String> {
    let (found, id) = look_up(action, consul).await?;
    let name = shown(action.name.as_deref().unwrap_or_default());
    match (id, found.sessions.is_empty()) {
        (Some(id), _) => Ok(id),
        (None, true) if found.filtered => {
            Err(ensure::filtered(&format!("renew the session `{name}`")))
        }
        (None, true) => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "cannot renew the session `{name}`: no session has this name, or the token may not read it"
            ),
        )),
        (None, false) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "cannot renew by name: {} sessions are named `{name}`; use the `id` of one: {}",
                found.sessions.len(),
                ensure::id_list(&found.sessions)
            ),
        )),
    }
}

/// Predicts the stored session, without the id, indexes and default node, which Consul assigns.
fn predicted(wanted: &NewSession) -> Value {
    let mut session = create_body(wanted);
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

fn to_object(stored: &StoredSession) -> Value {
    stored.json.clone()
}

fn objects(sessions: &[StoredSession]) -> Vec<Value> {
    sessions.iter().map(to_object).collect()
}

fn into_objects(sessions: Vec<StoredSession>) -> Value {
    let objects = sessions.into_iter().map(|stored| stored.json);
    objects.collect()
}

fn ids(sessions: &[StoredSession]) -> Value {
    sessions
        .iter()
        .map(|stored| Value::from(stored.session.id.as_str()))
        .collect()
}
