//! The operations of the interface `locks`.
//!
//! Keys are read with `GET /v1/kv`, and written by transactions: Consul's answer to a transaction contains the index of the
//! acquisition, which is the fencing token, and tells a held lock from one in its lock delay. With `?acquire=`, both
//! would take another read.

use crate::consul::{Consul, Refused};
use crate::lock_types::{Attempt, Holding, Lock, Membership, Outcome, Place, Wait};
use crate::request::Consistency;
use crate::transaction::{Entry, Put, Step};
use crate::transport::Transport;
use consul_session_core::error::shown;
use consul_session_core::{Error, ErrorKind, Result, key, session_id};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The flags of a lock's key, as Consul's own client sets and checks them.
pub const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// The flags of a semaphore's keys.
pub const SEMAPHORE_FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

/// The key of a semaphore that lists who has a place, below its prefix.
const PLACES: &str = ".lock";

/// How often a write is tried while others change the same key. Each time, one of them has succeeded.
const MAX_ROUNDS: u32 = 100;

/// The value of a semaphore's list.
#[derive(Debug, Default)]
struct Places {
    limit: u32,
    holders: BTreeSet<String>,
}

/// What is read below the prefix of a semaphore.
struct Semaphore {
    places: Places,
    /// The index of the list, or 0 if there is none.
    places_index: u64,
    /// The sessions that hold a key below the prefix.
    alive: BTreeSet<String>,
    /// The index of the read.
    index: u64,
}

impl<T: Transport> Consul<'_, T> {
    /// Acquires a lock if it is free.
    pub async fn acquire(&self, lock: &Lock, value: &[u8], wait: Option<&Wait>) -> Result<Attempt> {
        let session = &session_id::parse(&lock.session)?;
        let key = lock.key.as_str();
        for _ in 0..MAX_ROUNDS {
            let (entry, index) = self.key(key, Consistency::Default, wait).await?;
            if let Some(entry) = &entry {
                check_flags(entry, LOCK_FLAGS, "lock")?;
            }
            let holder = entry.and_then(|entry| entry.session);
            if let Some(holder) = holder.filter(|holder| !is(holder, session)) {
                return Ok(Attempt {
                    outcome: Outcome::Occupied(vec![holder]),
                    index,
                });
            }
            let put = Put {
                key,
                value,
                flags: LOCK_FLAGS,
            };
            let purpose = format!("acquire the lock `{}`", shown(key));
            match self
                .transact(&[Step::Lock(put, session)], purpose, "")
                .await?
            {
                Ok(entries) => {
                    let token = index_of(&entries)?;
                    return Ok(Attempt {
                        outcome: Outcome::Held(token),
                        index: token,
                    });
                }
                Err(refused) if refused.says(0, "lock delay") => {
                    return Ok(Attempt {
                        outcome: Outcome::Delayed,
                        index,
                    });
                }
                // Another session was faster. With `wait`, its key has changed, so the next read returns at once.
                Err(refused) if refused.says(0, "already held") => {}
                Err(refused) => return Err(refused.error),
            }
            if wait.is_some() {
                return Ok(Attempt {
                    outcome: Outcome::Occupied(Vec::new()),
                    index,
                });
            }
        }
        Err(contended(key))
    }

    /// Releases a lock, and returns whether the session held it.
    pub async fn release(&self, lock: &Lock, delete_key: bool) -> Result<bool> {
        let session = &session_id::parse(&lock.session)?;
        key::check("key", &lock.key)?;
        let key = lock.key.as_str();
        let purpose = || format!("release the lock `{}`", shown(key));
        if delete_key {
            let steps = [Step::CheckSession { key, session }, Step::Delete(key)];
            return match self.transact(&steps, purpose(), "").await? {
                Ok(_) => Ok(true),
                Err(refused) if lost(&refused) => {
                    self.remove_free(key, purpose()).await?;
                    Ok(false)
                }
                Err(refused) => Err(refused.error),
            };
        }
        for _ in 0..MAX_ROUNDS {
            let (entry, _) = self.key(key, Consistency::Consistent, None).await?;
            let Some(entry) = entry.filter(|entry| is_held(entry, session)) else {
                return Ok(false);
            };
            let put = Put {
                key,
                value: &entry.value,
                flags: entry.flags,
            };
            let index = entry.modify_index;
            let steps = [Step::CheckIndex { key, index }, Step::Unlock(put, session)];
            match self.transact(&steps, purpose(), "").await? {
                Ok(_) => return Ok(true),
                // Somebody wrote a value, which stays. Or the lock was lost, which the next round finds out.
                Err(refused) if !refused.refusals.is_empty() => {}
                Err(refused) => return Err(refused.error),
            }
        }
        Err(contended(key))
    }

    /// Deletes the key of a lock that nobody holds: it was lost, and the end of the session has left the key.
    async fn remove_free(&self, key: &str, purpose: String) -> Result<()> {
        let (entry, _) = self.key(key, Consistency::Consistent, None).await?;
        let free = |entry: &Entry| entry.session.is_none() && entry.flags == LOCK_FLAGS;
        if let Some(entry) = entry.filter(free) {
            let index = entry.modify_index;
            // Whoever has changed it meanwhile uses it.
            let steps = [Step::DeleteCas { key, index }];
            let _ = self.transact(&steps, purpose, "").await?;
        }
        Ok(())
    }

    /// Returns who holds a lock.
    pub async fn holder(&self, key: &str, wait: Option<&Wait>) -> Result<Holding> {
        let (entry, index) = self.key(key, Consistency::Consistent, wait).await?;
        let entry = entry.unwrap_or_default();
        Ok(Holding {
            session: entry.session,
            value: entry.value,
            flags: entry.flags,
            modify_index: entry.modify_index,
            index,
        })
    }

    /// Writes a key while the lock is held, and returns its new index.
    pub async fn write(&self, lock: &Lock, key: &str, value: &[u8]) -> Result<u64> {
        let session = &session_id::parse(&lock.session)?;
        key::check("key", &lock.key)?;
        for _ in 0..MAX_ROUNDS {
            let (entry, _) = self.key(key, Consistency::Consistent, None).await?;
            let entry = entry.unwrap_or_default();
            refuse_others(&entry, key, session)?;
            let put = Put {
                key,
                value,
                flags: entry.flags,
            };
            // A plain write to a held key would set its LockIndex to 0.
            let write = match &entry.session {
                Some(_) => Step::Lock(put, session),
                None => Step::Cas(put, entry.modify_index),
            };
            let purpose = format!(
                "write `{}` under the lock `{}`",
                shown(key),
                shown(&lock.key)
            );
            match self.guarded(lock, session, write, purpose).await? {
                Some(entries) => return index_of(&entries),
                None => continue,
            }
        }
        Err(contended(key))
    }

    /// Deletes a key while the lock is held.
    pub async fn delete(&self, lock: &Lock, key: &str) -> Result<()> {
        let session = &session_id::parse(&lock.session)?;
        key::check("key", &lock.key)?;
        for _ in 0..MAX_ROUNDS {
            let (entry, _) = self.key(key, Consistency::Consistent, None).await?;
            let entry = entry.unwrap_or_default();
            refuse_others(&entry, key, session)?;
            let index = entry.modify_index;
            // A key that does not exist has the index 0, and deleting it does nothing but check the session.
            let delete = Step::DeleteCas { key, index };
            let purpose = format!(
                "delete `{}` under the lock `{}`",
                shown(key),
                shown(&lock.key)
            );
            if self
                .guarded(lock, session, delete, purpose)
                .await?
                .is_some()
            {
                return Ok(());
            }
        }
        Err(contended(key))
    }

    /// Takes one step while the lock is held. Returns none if the key has changed meanwhile.
    async fn guarded(
        &self,
        lock: &Lock,
        session: &str,
        step: Step<'_>,
        purpose: String,
    ) -> Result<Option<Vec<Entry>>> {
        let check = Step::CheckSession {
            key: &lock.key,
            session,
        };
        let hint = "the session does not hold the lock, so nothing was written";
        match self.transact(&[check, step], purpose, hint).await? {
            Ok(entries) => Ok(Some(entries)),
            Err(refused) if lost(&refused) => Err(refused.error),
            Err(_) => Ok(None),
        }
    }

    /// Joins those who want a place in a semaphore.
    pub async fn join(&self, place: &Place, value: &[u8]) -> Result<()> {
        let session = &session_id::parse(&place.session)?;
        check_prefix(&place.prefix)?;
        let put = Put {
            key: &contender(&place.prefix, session),
            value,
            flags: SEMAPHORE_FLAGS,
        };
        let purpose = format!("join the semaphore `{}`", shown(&place.prefix));
        let joined = self
            .transact(&[Step::Lock(put, session)], purpose, "")
            .await?;
        joined.map(drop).map_err(|refused| refused.error)
    }

    /// Takes a place in a semaphore if one is free.
    pub async fn take_place(
        &self,
        place: &Place,
        limit: u32,
        wait: Option<&Wait>,
    ) -> Result<Attempt> {
        let session = &session_id::parse(&place.session)?;
        if limit == 0 {
            return Err(Error::invalid("limit", "`limit` must be at least 1"));
        }
        let prefix = place.prefix.as_str();
        check_prefix(prefix)?;
        let mut wait = wait;
        for _ in 0..MAX_ROUNDS {
            let found = self.semaphore(prefix, wait.take()).await?;
            let Semaphore {
                mut places,
                places_index,
                index,
                ..
            } = found;
            if places.limit != 0 && places.limit != limit {
                let message = format!(
                    "the semaphore `{}` has {} places, not {limit}; everyone must use the same number",
                    shown(prefix),
                    places.limit
                );
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            if places.holders.contains(session.as_str()) {
                return Ok(Attempt {
                    outcome: Outcome::Held(places_index),
                    index,
                });
            }
            if places.holders.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                return Ok(Attempt {
                    outcome: Outcome::Occupied(places.holders.into_iter().collect()),
                    index,
                });
            }
            places.limit = limit;
            places.holders.insert(session.clone());
            let own = contender(prefix, session);
            let check = Step::CheckSession { key: &own, session };
            let (key, value) = (list(prefix), places.to_json());
            let write = cas(&key, &value, places_index);
            let purpose = format!("take a place in the semaphore `{}`", shown(prefix));
            match self.transact(&[check, write], purpose, "").await? {
                Ok(entries) => {
                    let token = index_of(&entries)?;
                    return Ok(Attempt {
                        outcome: Outcome::Held(token),
                        index: token,
                    });
                }
                Err(refused) if lost(&refused) => {
                    let message = format!(
                        "the session {session} has not joined the semaphore `{}`, or has ended",
                        shown(prefix)
                    );
                    return Err(Error::new(ErrorKind::NotFound, message));
                }
                Err(_) => {}
            }
        }
        Err(contended(prefix))
    }

    /// Gives up a place in a semaphore, or the wish for one.
    pub async fn leave(&self, place: &Place) -> Result<()> {
        let session = &session_id::parse(&place.session)?;
        let prefix = place.prefix.as_str();
        check_prefix(prefix)?;
        let own = contender(prefix, session);
        for _ in 0..MAX_ROUNDS {
            let found = self.semaphore(prefix, None).await?;
            let Semaphore {
                mut places,
                places_index,
                mut alive,
                ..
            } = found;
            alive.remove(session.as_str());
            let had_place = places.holders.remove(session.as_str());
            let (key, value) = (list(prefix), places.to_json());
            let mut steps = vec![Step::Delete(&own)];
            if places_index != 0 && places.holders.is_empty() && alive.is_empty() {
                steps.push(Step::DeleteCas {
                    key: &key,
                    index: places_index,
                });
            } else if had_place {
                steps.push(cas(&key, &value, places_index));
            }
            let purpose = format!("leave the semaphore `{}`", shown(prefix));
            if self.transact(&steps, purpose, "").await?.is_ok() {
                return Ok(());
            }
        }
        Err(contended(prefix))
    }

    /// Returns who has a place in a semaphore.
    pub async fn places(&self, prefix: &str, wait: Option<&Wait>) -> Result<Membership> {
        check_prefix(prefix)?;
        let found = self.semaphore(prefix, wait).await?;
        Ok(Membership {
            sessions: found.places.holders.into_iter().collect(),
            limit: Some(found.places.limit).filter(|limit| *limit != 0),
            index: found.index,
        })
    }

    /// Reads a semaphore, without the places of sessions that have ended.
    async fn semaphore(&self, prefix: &str, wait: Option<&Wait>) -> Result<Semaphore> {
        let read = self.keys_below(prefix, Consistency::Consistent, wait);
        let (entries, index) = read.await?;
        let key = list(prefix);
        let (mut places, mut places_index) = (Places::default(), 0);
        let mut alive = BTreeSet::new();
        for entry in entries {
            if entry.key == key {
                check_flags(&entry, SEMAPHORE_FLAGS, "semaphore")?;
                places_index = entry.modify_index;
                if !entry.value.is_empty() {
                    places = Places::parse(&entry.value).ok_or_else(|| {
                        let message =
                            format!("the value of `{}` is not a semaphore's", shown(&key));
                        Error::new(ErrorKind::Conflict, message)
                    })?;
                }
            }
            alive.extend(entry.session.map(|session| session.to_ascii_lowercase()));
        }
        places
            .holders
            .retain(|session| alive.contains(&session.to_ascii_lowercase()));
        Ok(Semaphore {
            places,
            places_index,
            alive,
            index,
        })
    }
}

impl Places {
    /// Reads the value that Consul's own client writes.
    fn parse(value: &[u8]) -> Option<Places> {
        let json: Value = serde_json::from_slice(value).ok()?;
        let holders = match json.get("Holders") {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(holders) => holders.as_object()?.keys().cloned().collect(),
        };
        Some(Places {
            limit: json.get("Limit")?.as_u64()?.try_into().ok()?,
            holders,
        })
    }

    fn to_json(&self) -> Vec<u8> {
        let holders = self.holders.iter().cloned();
        let holders: Map<String, Value> = holders.map(|id| (id, true.into())).collect();
        let mut json = Map::new();
        json.insert("Limit".to_owned(), self.limit.into());
        json.insert("Holders".to_owned(), holders.into());
        Value::Object(json).to_string().into_bytes()
    }
}

/// Refuses a prefix that does not become a key by a slash and a name.
fn check_prefix(prefix: &str) -> Result<()> {
    key::check("prefix", prefix)?;
    if prefix.ends_with('/') {
        return Err(Error::invalid("prefix", "`prefix` ends with a slash"));
    }
    Ok(())
}

fn cas<'a>(key: &'a str, value: &'a [u8], index: u64) -> Step<'a> {
    let put = Put {
        key,
        value,
        flags: SEMAPHORE_FLAGS,
    };
    Step::Cas(put, index)
}

fn list(prefix: &str) -> String {
    format!("{prefix}/{PLACES}")
}

fn contender(prefix: &str, session: &str) -> String {
    format!("{prefix}/{session}")
}

/// Whether two ids are the same: Consul finds a session in any case, but stores it as typed.
fn is(holder: &str, session: &str) -> bool {
    holder.eq_ignore_ascii_case(session)
}

fn is_held(entry: &Entry, session: &str) -> bool {
    entry
        .session
        .as_deref()
        .is_some_and(|holder| is(holder, session))
}

/// Whether a transaction failed in its first step because the session does not hold the key.
fn lost(refused: &Refused) -> bool {
    refused.says(0, "failed session check") || refused.says(0, "failed to check session")
}

/// The index of the last key that a transaction returned.
fn index_of(entries: &[Entry]) -> Result<u64> {
    entries
        .last()
        .map(|entry| entry.modify_index)
        .ok_or_else(|| {
            let message =
                "Consul carried out the transaction, but returned no key; is it a Consul agent?";
            Error::new(ErrorKind::Protocol, message).with_maybe_applied(true)
        })
}

/// Refuses a key that is used for something else.
fn check_flags(entry: &Entry, flags: u64, kind: &str) -> Result<()> {
    let used_for = match entry.flags {
        actual if actual == flags => return Ok(()),
        LOCK_FLAGS => "a lock",
        SEMAPHORE_FLAGS => "a semaphore",
        _ => "something else",
    };
    let message = format!(
        "the key `{}` is not a {kind}'s: it is used for {used_for} (flags {:#x})",
        shown(&entry.key),
        entry.flags
    );
    Err(Error::new(ErrorKind::Conflict, message))
}

fn refuse_others(entry: &Entry, key: &str, session: &str) -> Result<()> {
    match &entry.session {
        Some(holder) if !is(holder, session) => {
            let message = format!(
                "the key `{}` is held by another session, {holder}",
                shown(key)
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }
        _ => Ok(()),
    }
}

fn contended(key: &str) -> Error {
    let message = format!(
        "others changed `{}` {MAX_ROUNDS} times meanwhile, so try again later",
        shown(key)
    );
    Error::new(ErrorKind::Unavailable, message)
}
