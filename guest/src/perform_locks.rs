//! The states of an action that are about locks: `locked`, `unlocked`, `holder` and `written`.

use crate::action::Action;
use crate::consul::Consul;
use crate::ensure;
use crate::lock_types::{Lock, Outcome, Wait};
use crate::perform::Outcome as Performed;
use crate::request::Consistency;
use crate::transaction::Entry;
use crate::transport::Transport;
use consul_session_core::duration::SECOND;
use consul_session_core::error::shown;
use consul_session_core::{Error, ErrorKind, Result, session_id};
use serde_json::{Map, Value};

/// How long one blocking query lasts, in nanoseconds. A component has no clock, so it counts these.
const SLICE: u64 = 5 * SECOND;

/// Acquires a lock.
pub async fn locked<T: Transport>(
    action: &Action,
    consul: &Consul<'_, T>,
    key: &str,
) -> Result<Performed> {
    let lock = lock(action, consul, key).await?;
    let value = action.value.as_deref().unwrap_or_default();
    let (before, _) = consul.key(key, Consistency::Consistent, None).await?;
    let unchanged = before.as_ref().is_some_and(|entry| {
        entry.session.as_deref() == Some(&lock.session) && entry.value == value.as_bytes()
    });
    if unchanged || action.check_mode {
        let token = before.as_ref().filter(|_| unchanged);
        let keys = vec![
            ("key", key.into()),
            ("session_id", lock.session.clone().into()),
            (
                "fencing_token",
                token.map(|entry| entry.modify_index).into(),
            ),
        ];
        if let Some(holder) = before.as_ref().and_then(|entry| entry.session.as_deref())
            && holder != lock.session
        {
            return Err(occupied(key, &[holder.to_owned()]));
        }
        let after = described(key, Some(&lock.session), value.as_bytes());
        return Ok(Performed::changing(
            !unchanged,
            keys,
            before.as_ref(),
            key,
            after,
        ));
    }
    let token = acquire(action, consul, &lock, value.as_bytes()).await?;
    let keys = vec![
        ("key", key.into()),
        ("session_id", lock.session.clone().into()),
        ("fencing_token", token.into()),
    ];
    let after = described(key, Some(&lock.session), value.as_bytes());
    Ok(Performed::changing(true, keys, before.as_ref(), key, after))
}

/// Tries to acquire a lock until the time is over, and returns the fencing token.
async fn acquire<T: Transport>(
    action: &Action,
    consul: &Consul<'_, T>,
    lock: &Lock,
    value: &[u8],
) -> Result<u64> {
    let mut left = action.wait.unwrap_or(0);
    let mut wait: Option<Wait> = None;
    loop {
        let attempt = consul.acquire(lock, value, wait.as_ref()).await?;
        let failed = match attempt.outcome {
            Outcome::Held(token) => return Ok(token),
            Outcome::Occupied(holders) => occupied(&lock.key, &holders),
            Outcome::Delayed => {
                let message = format!(
                    "the lock `{}` is in its lock delay, because the session of its last holder has ended; try again within a minute",
                    shown(&lock.key)
                );
                Error::new(ErrorKind::Conflict, message)
            }
        };
        if left == 0 {
            return Err(failed);
        }
        // A query that ends early because the key has changed counts in full, so this waits less than allowed, never more.
        let at_most = left.min(SLICE);
        left -= at_most;
        wait = Some(Wait {
            index: attempt.index,
            at_most,
        });
    }
}

/// Releases a lock.
pub async fn unlocked<T: Transport>(
    action: &Action,
    consul: &Consul<'_, T>,
    key: &str,
) -> Result<Performed> {
    let lock = lock(action, consul, key).await?;
    let (before, _) = consul.key(key, Consistency::Consistent, None).await?;
    let holds = |entry: &Entry| entry.session.as_deref() == Some(&lock.session);
    let released = match action.check_mode {
        true => before.as_ref().is_some_and(holds),
        false => consul.release(&lock, false).await?,
    };
    let keys = vec![
        ("key", key.into()),
        ("session_id", lock.session.clone().into()),
    ];
    let value = before.as_ref().map(|entry| entry.value.clone());
    let session = before.as_ref().and_then(|entry| entry.session.as_deref());
    let after = described(
        key,
        session.filter(|_| !released),
        &value.unwrap_or_default(),
    );
    Ok(Performed::changing(
        released,
        keys,
        before.as_ref(),
        key,
        after,
    ))
}

/// Returns who holds a lock.
pub async fn holder<T: Transport>(consul: &Consul<'_, T>, key: &str) -> Result<Performed> {
    let holding = consul.holder(key, None).await?;
    let token = holding.session.as_ref().map(|_| holding.modify_index);
    let keys = vec![
        ("key", key.into()),
        ("session_id", holding.session.into()),
        ("fencing_token", token.into()),
        ("value", text(&holding.value)),
    ];
    Ok(Performed::read(keys, false))
}

/// Writes a key while a lock is held.
pub async fn written<T: Transport>(
    action: &Action,
    consul: &Consul<'_, T>,
    key: &str,
) -> Result<Performed> {
    let lock = lock(action, consul, action.lock.as_deref().unwrap_or_default()).await?;
    let value = action.value.as_deref().unwrap_or_default();
    let (before, _) = consul.key(key, Consistency::Consistent, None).await?;
    let same = before
        .as_ref()
        .is_some_and(|entry| entry.value == value.as_bytes());
    let index = if same || action.check_mode {
        let holding = consul.holder(&lock.key, None).await?;
        if holding.session.as_deref() != Some(&lock.session) {
            let message = format!(
                "the session {} does not hold the lock `{}`, so nothing was written",
                lock.session,
                shown(&lock.key)
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        before.as_ref().map(|entry| entry.modify_index)
    } else {
        Some(consul.write(&lock, key, value.as_bytes()).await?)
    };
    let keys = vec![
        ("key", key.into()),
        ("lock", lock.key.clone().into()),
        ("session_id", lock.session.clone().into()),
        ("modify_index", index.into()),
    ];
    let session = before.as_ref().and_then(|entry| entry.session.as_deref());
    let after = described(key, session, value.as_bytes());
    Ok(Performed::changing(
        !same,
        keys,
        before.as_ref(),
        key,
        after,
    ))
}

/// The lock of this key for the session that the parameters name.
async fn lock<T: Transport>(action: &Action, consul: &Consul<'_, T>, key: &str) -> Result<Lock> {
    let session = match (&action.id, &action.name) {
        (Some(id), _) => session_id::parse(id)?,
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            let found = ensure::find(consul, name, action.node.as_deref()).await?;
            match found.sessions.as_slice() {
                [only] => only.session.id.clone(),
                [] => {
                    let message = format!(
                        "there is no session named `{}`; create it with state=present",
                        shown(name)
                    );
                    return Err(Error::new(ErrorKind::NotFound, message));
                }
                several => {
                    let message = format!(
                        "{} sessions are named `{}`; name one of them by `session`",
                        several.len(),
                        shown(name)
                    );
                    return Err(Error::new(ErrorKind::Conflict, message));
                }
            }
        }
    };
    Ok(Lock {
        key: key.to_owned(),
        session,
    })
}

fn occupied(key: &str, holders: &[String]) -> Error {
    let by = match holders {
        [] => "another session".to_owned(),
        holders => holders.join(", "),
    };
    let message = format!("the lock `{}` is held by {by}", shown(key));
    Error::new(ErrorKind::Conflict, message)
}

impl Performed {
    fn changing(
        changed: bool,
        keys: Vec<(&'static str, Value)>,
        before: Option<&Entry>,
        key: &str,
        after: Value,
    ) -> Performed {
        let before = before.map(|entry| described(key, entry.session.as_deref(), &entry.value));
        Performed {
            changed,
            keys,
            before_and_after: Some((before.into_iter().collect(), vec![after])),
            warnings: Vec::new(),
        }
    }
}

/// A key, as a diff shows it.
fn described(key: &str, session: Option<&str>, value: &[u8]) -> Value {
    let mut object = Map::new();
    object.insert("Key".to_owned(), key.into());
    object.insert("Session".to_owned(), session.into());
    object.insert("Value".to_owned(), text(value));
    object.into()
}

/// A value as text. What is not UTF-8 is replaced.
fn text(value: &[u8]) -> Value {
    String::from_utf8_lossy(value).into()
}
