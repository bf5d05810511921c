//! Sessions: how they are created, renewed and destroyed, and how they expire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Change, Deadline, Error, State};
use crate::go::duration;
use crate::version::SessionIds;

/// The check that a session is bound to by default.
pub(crate) const SERF_HEALTH: &str = "serfHealth";
/// The default lock-delay, in nanoseconds.
pub(crate) const DEFAULT_LOCK_DELAY: i64 = 15_000_000_000;

const TTL_MIN: i64 = 10_000_000_000;
const TTL_MAX: i64 = 24 * 3_600_000_000_000;
/// A session expires this many TTLs after its creation or its last renewal.
const TTL_MULTIPLIER: u32 = 2;
/// The maximum lock-delay of a key, whatever its session says.
const MAX_LOCK_DELAY: Duration = Duration::from_secs(60);

/// A session as it is stored and serialized.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Session {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) name: String,
    /// The name as the client sent it; Consul ignores the case of node names.
    pub(crate) node: String,
    /// In nanoseconds, as the client sent it; see [`Session::effective_lock_delay`].
    pub(crate) lock_delay: i64,
    pub(crate) behavior: String,
    #[serde(rename = "TTL")]
    pub(crate) ttl: String,
    pub(crate) node_checks: Option<Vec<String>>,
    pub(crate) service_checks: Option<Vec<ServiceCheck>>,
    /// The older form of `NodeChecks`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A check of a service that a session is bound to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceCheck {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) namespace: String,
}

impl Session {
    /// Returns a session with the defaults of a creation request.
    pub(crate) fn with_defaults(node: &str) -> Session {
        Session {
            id: String::new(),
            name: String::new(),
            node: node.into(),
            lock_delay: DEFAULT_LOCK_DELAY,
            behavior: "release".into(),
            ttl: String::new(),
            node_checks: Some(vec![SERF_HEALTH.into()]),
            service_checks: None,
            checks: vec![SERF_HEALTH.into()],
            create_index: 0,
            modify_index: 0,
        }
    }

    /// Combines the two lists of checks; an empty one of either kind switches the default check
    /// off.
    fn normalize_checks(&mut self) {
        if self.checks.is_empty() {
            self.node_checks = Some(Vec::new());
        } else if self.node_checks.as_ref().is_none_or(Vec::is_empty)
            || self.checks == [SERF_HEALTH]
        {
            self.checks.clear();
        }
    }

    fn check_ids(&self) -> impl Iterator<Item = &str> {
        let service_checks = self.service_checks.iter().flatten().map(|check| &check.id);
        self.checks
            .iter()
            .chain(self.node_checks.iter().flatten())
            .chain(service_checks)
            .map(String::as_str)
    }

    /// Returns how long keys stay in lock-delay after the session's end: 0 to 60 s.
    fn effective_lock_delay(&self) -> Duration {
        u64::try_from(self.lock_delay).map_or(Duration::ZERO, |nanoseconds| {
            Duration::from_nanos(nanoseconds).min(MAX_LOCK_DELAY)
        })
    }

    fn size(&self) -> usize {
        let checks: usize = self.check_ids().map(str::len).sum();
        size_of::<Session>() + self.name.len() + self.node.len() + self.ttl.len() + checks
    }
}

/// The table of sessions, with its secondary indexes.
#[derive(Default)]
pub(crate) struct Sessions {
    /// The Raft index of the last change of the table.
    pub(crate) index: u64,
    by_key: BTreeMap<String, ActiveSession>,
    by_node: BTreeMap<String, BTreeSet<String>>,
    /// By the names of node and check, both in lower case.
    by_check: BTreeMap<(String, String), BTreeSet<String>>,
}

struct ActiveSession {
    session: Arc<Session>,
    /// Zero if the session does not expire.
    ttl: Duration,
    expires: Option<Duration>,
}

impl Sessions {
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Session>> {
        self.by_key.get(key).map(|live| live.session.clone())
    }

    /// Returns all sessions, sorted by id.
    pub(crate) fn list(&self) -> Vec<Arc<Session>> {
        let sessions = self.by_key.values().map(|live| &live.session);
        sessions.cloned().collect()
    }

    /// Returns the sessions of a node, sorted by id. The name must be in lower case.
    pub(crate) fn of_node(&self, node: &str) -> Vec<Arc<Session>> {
        let keys = self.by_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.get(key)).collect()
    }

    /// Returns the keys of the sessions bound to a check.
    pub(crate) fn of_check(&self, node: &str, check: &str) -> Vec<String> {
        let bound = self
            .by_check
            .get(&(node.to_lowercase(), check.to_lowercase()));
        bound.into_iter().flatten().cloned().collect()
    }

    /// Returns the keys of the sessions of a node.
    pub(crate) fn keys_of_node(&self, node: &str) -> Vec<String> {
        let keys = self.by_node.get(&node.to_lowercase());
        keys.into_iter().flatten().cloned().collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// Returns the key of a session id in the tables: the id in lower case, and a UUID without hyphens.
/// The error for a malformed UUID is that of Consul 1.8.
pub(crate) fn session_key(ids: SessionIds, id: &str) -> Result<String, Error> {
    if let SessionIds::Text = ids {
        return Ok(id.to_lowercase());
    }
    let malformed =
        |why: String| Error::Rejected(format!("failed session lookup: index error: {why}"));
    if id.len() != 36 {
        return Err(malformed("UUID must be 36 characters".into()));
    }
    let hyphens = id.matches('-').count();
    if hyphens > 4 {
        let why = format!("UUID should have maximum of 4 \"-\"; got {hyphens}");
        return Err(malformed(why));
    }
    let digits = id.replace('-', "");
    if !digits.len().is_multiple_of(2) {
        return Err(malformed(
            "Input (without hyphens) must be even length".into(),
        ));
    }
    match digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        None => Ok(digits.to_ascii_lowercase()),
        Some(c) => Err(malformed(format!(
            "Invalid UUID: encoding/hex: invalid byte: U+{:04X} '{c}'",
            c as u32
        ))),
    }
}

impl State {
    /// Returns the key of a session id in the tables.
    pub(crate) fn session_key(&self, id: &str) -> Result<String, Error> {
        session_key(self.version.session_ids, id)
    }

    /// Creates a session with an `id` that no other session has.
    pub(crate) fn create_session(&mut self, id: &str, mut session: Session) -> Result<(), Error> {
        session.normalize_checks();
        match session.behavior.as_str() {
            "" => session.behavior = "release".into(),
            "release" | "delete" => {}
            other => {
                return Err(Error::rejected(format!(
                    "Invalid Behavior setting '{other}'"
                )));
            }
        }
        let ttl = session_ttl(&session.ttl)?;
        if self.sessions.by_key.len() >= self.limits.sessions {
            return Err(Error::LimitReached {
                what: "sessions",
                limit: self.limits.sessions,
            });
        }
        self.check_space(session.size())?;

        // From here on the request is a write: it takes an index even if it is rejected.
        let index = self.next_index();
        self.check_session_binding(&session)
            .map_err(|error| error.prefixed(self.version.session_error_prefix))?;
        let key = self.session_key(id)?;
        session.id = id.into();
        session.create_index = index;
        session.modify_index = index;
        self.stored_bytes += session.size();

        let node = session.node.to_lowercase();
        for check in session.check_ids() {
            let bound = (node.clone(), check.to_lowercase());
            let bound = self.sessions.by_check.entry(bound).or_default();
            bound.insert(key.clone());
        }
        let of_node = self.sessions.by_node.entry(node.clone()).or_default();
        of_node.insert(key.clone());
        self.sessions.index = index;
        let live = ActiveSession {
            session: Arc::new(session),
            ttl,
            expires: None,
        };
        let session = live.session.clone();
        self.sessions.by_key.insert(key.clone(), live);
        self.restart_ttl(&key);
        self.changed(Change::Session { key, node });
        self.update_session_checks(index, &session, true);
        Ok(())
    }

    /// Checks that the node and the checks exist and that none of the checks is critical.
    fn check_session_binding(&self, session: &Session) -> Result<(), Error> {
        let Some(node) = self.catalog.node(&session.node) else {
            return Err(Error::rejected("Missing node registration"));
        };
        for id in session.check_ids() {
            match node.check(id) {
                None => {
                    return Err(Error::rejected(format!(
                        "Missing check '{id}' registration"
                    )));
                }
                Some(check) if check.status == "critical" => {
                    return Err(Error::rejected(format!(
                        "Check '{id}' is in critical state"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Restarts the TTL of a session and returns it, or `None` if there is none. No index changes.
    pub(crate) fn renew_session(&mut self, id: &str) -> Result<Option<Arc<Session>>, Error> {
        let key = self.session_key(id)?;
        self.restart_ttl(&key);
        Ok(self.sessions.get(&key))
    }

    fn restart_ttl(&mut self, key: &str) {
        let Some(live) = self.sessions.by_key.get_mut(key) else {
            return;
        };
        if live.ttl.is_zero() {
            return;
        }
        let expires = self.now + live.ttl * TTL_MULTIPLIER;
        if let Some(before) = live.expires.replace(expires) {
            self.cancel(before, Deadline::Session(key.into()));
        }
        self.schedule(expires, Deadline::Session(key.into()));
    }

    /// Destroys a session. It is not an error if there is none.
    pub(crate) fn destroy_session(&mut self, id: &str) -> Result<(), Error> {
        let key = self.session_key(id)?;
        let index = self.next_index();
        self.end_session(&key, index);
        Ok(())
    }

    pub(crate) fn expire_session(&mut self, key: &str) {
        let index = self.next_index();
        self.end_session(key, index);
    }

    /// Removes a session at `index`, and releases or deletes its keys, which enter their
    /// lock-delay.
    pub(crate) fn end_session(&mut self, key: &str, index: u64) {
        let Some(ActiveSession {
            session, expires, ..
        }) = self.sessions.by_key.remove(key)
        else {
            return;
        };
        if let Some(expires) = expires {
            self.cancel(expires, Deadline::Session(key.into()));
        }
        self.stored_bytes -= session.size();
        self.sessions.index = index;

        let node = session.node.to_lowercase();
        if let Some(of_node) = self.sessions.by_node.get_mut(&node) {
            of_node.remove(key);
            if of_node.is_empty() {
                self.sessions.by_node.remove(&node);
            }
        }
        for check in session.check_ids() {
            let bound = (node.clone(), check.to_lowercase());
            if let Some(sessions) = self.sessions.by_check.get_mut(&bound) {
                sessions.remove(key);
                if sessions.is_empty() {
                    self.sessions.by_check.remove(&bound);
                }
            }
        }
        let delete = session.behavior == "delete";
        self.invalidate_locks(key, index, delete, session.effective_lock_delay());
        self.changed(Change::Session {
            key: key.into(),
            node,
        });
        self.update_session_checks(index, &session, false);
    }
}

/// Validates the TTL of a creation request; zero means none.
fn session_ttl(text: &str) -> Result<Duration, Error> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let ttl = duration::parse(text)
        .map_err(|why| Error::rejected(format!("Session TTL '{text}' invalid: {why}")))?;
    match u64::try_from(ttl) {
        Ok(0) => Ok(Duration::ZERO),
        Ok(nanoseconds) if (TTL_MIN..=TTL_MAX).contains(&ttl) => {
            Ok(Duration::from_nanos(nanoseconds))
        }
        _ => Err(Error::rejected(format!(
            "Invalid Session TTL '{ttl}', must be between [10s=24h0m0s]"
        ))),
    }
}
