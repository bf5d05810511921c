//! The key-value store, with locks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::sessions::session_key;
use super::{Change, Deadline, Error, State};

/// How long the index of a key's deletion is kept.
const TOMBSTONE_TTL: Duration = Duration::from_secs(15 * 60);

/// A key as it is stored and serialized.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    pub(crate) lock_index: u64,
    pub(crate) key: String,
    pub(crate) flags: u64,
    #[serde(serialize_with = "base64_or_null")]
    pub(crate) value: Bytes,
    /// The id of the session that holds the key, as the client sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

fn base64_or_null<S: Serializer>(value: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_empty() {
        serializer.serialize_none()
    } else {
        serializer.serialize_str(&STANDARD.encode(value))
    }
}

/// A write of a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) flags: u64,
}

/// The table of keys, with its secondary indexes.
#[derive(Default)]
pub(crate) struct Store {
    /// The Raft index of the last change of the table.
    index: u64,
    entries: BTreeMap<String, Arc<Entry>>,
    /// The keys that each session holds, by the session's key.
    held: HashMap<String, BTreeSet<String>>,
    /// Deleted keys and prefixes, with the index of the deletion.
    tombstones: BTreeMap<String, u64>,
    /// Keys in lock-delay, with the time at which it ends.
    delays: HashMap<String, Duration>,
    /// What a running transaction has changed.
    undo: Option<Undo>,
}

struct Undo {
    index: u64,
    entries: Vec<(String, Option<Arc<Entry>>)>,
    tombstones: Vec<(String, Option<u64>)>,
}

impl Store {
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// Returns the keys with a prefix, sorted.
    pub(crate) fn list<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        prefix_range(&self.entries, prefix).map(|(_, entry)| entry)
    }

    pub(crate) fn key_index(&self, key: &str) -> u64 {
        self.get(key).map_or(self.index, |entry| entry.modify_index)
    }

    pub(crate) fn prefix_index(&self, prefix: &str) -> u64 {
        if prefix.is_empty() {
            return self.index;
        }
        let deleted = prefix_range(&self.tombstones, prefix).map(|(_, index)| *index);
        let present = self.list(prefix).map(|entry| entry.modify_index);
        present.chain(deleted).max().unwrap_or(self.index)
    }

    /// Returns the longest prefix that covers the branch of the radix tree on which a missing key
    /// would be. A change of any key on that branch wakes a query for the missing one.
    pub(crate) fn branch_of<'a>(&self, missing: &'a str) -> &'a str {
        let shared_with_neighbours = |from: &str, to: &str| {
            let earlier = (Bound::Unbounded, Bound::Excluded(from));
            let before = self.entries.range::<str, _>(earlier).next_back();
            let later = (Bound::Included(to), Bound::Unbounded);
            let after = self.entries.range::<str, _>(later).next();
            let neighbours = before.into_iter().chain(after);
            let shared = neighbours.map(|(key, _)| common_prefix_len(key, missing));
            shared.max().unwrap_or(0)
        };
        // `along`: how far the tree follows the key. `fork`: the last fork before that.
        let along = &missing[..shared_with_neighbours(missing, missing)];
        let fork = shared_with_neighbours(along, &format!("{along}{}", char::MAX));
        let next = along[fork.min(along.len())..].chars().next();
        &along[..next.map_or(along.len(), |next| fork + next.len_utf8())]
    }

    pub(crate) fn end_lock_delay(&mut self, key: &str) {
        self.delays.remove(key);
    }

    #[cfg(test)]
    pub(crate) fn delay_count(&self) -> usize {
        self.delays.len()
    }
}

/// Returns the length of the longest common prefix of two keys, in bytes.
fn common_prefix_len(one: &str, other: &str) -> usize {
    let alike = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    alike.map(|(c, _)| c.len_utf8()).sum()
}

fn prefix_range<'a, V>(
    map: &'a BTreeMap<String, V>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a V)> {
    map.range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}

impl State {
    /// Writes a key, whoever holds it. The holder stays, but LockIndex becomes 0.
    pub(crate) fn kv_set(&mut self, put: Put) -> Result<(), Error> {
        self.check_key_space(&put)?;
        let index = self.next_index();
        self.set(index, put);
        Ok(())
    }

    /// Writes a key if its ModifyIndex is `expected`; 0 means that the key must not exist.
    pub(crate) fn kv_cas(&mut self, put: Put, expected: u64) -> Result<bool, Error> {
        self.check_key_space(&put)?;
        let index = self.next_index();
        Ok(self.cas(index, put, expected).is_some())
    }

    /// Acquires a key for a session; returns whether the session now holds it.
    pub(crate) fn kv_acquire(&mut self, put: Put, session: &str) -> Result<bool, Error> {
        // Consul checks the lock-delay before it looks for the session.
        if self.is_in_lock_delay(&put.key) {
            return Ok(false);
        }
        self.check_key_space(&put)?;
        let index = self.next_index();
        let locked = self.lock(index, put, session);
        let locked = locked.map_err(|error| error.prefixed(self.version.kv_error_prefix))?;
        Ok(locked.is_some())
    }

    /// Releases a key and replaces its value and flags, if the session holds the key.
    pub(crate) fn kv_release(&mut self, put: Put, session: &str) -> Result<bool, Error> {
        self.check_key_space(&put)?;
        let index = self.next_index();
        let unlocked = self.unlock(index, put, session);
        let unlocked = unlocked.map_err(|error| error.prefixed(self.version.kv_error_prefix))?;
        Ok(unlocked.is_some())
    }

    /// Deletes a key, held or not. It does not enter a lock-delay.
    pub(crate) fn kv_delete(&mut self, key: &str) {
        let index = self.next_index();
        self.delete(index, key);
    }

    /// Deletes a key if its ModifyIndex is `expected`; returns true as well if there is no key.
    pub(crate) fn kv_delete_cas(&mut self, key: &str, expected: u64) -> bool {
        let index = self.next_index();
        self.delete_cas(index, key, expected)
    }

    /// Deletes all keys with a prefix.
    pub(crate) fn kv_delete_tree(&mut self, prefix: &str) {
        let index = self.next_index();
        self.delete_tree(index, prefix);
    }

    pub(crate) fn is_in_lock_delay(&self, key: &str) -> bool {
        self.kv.delays.get(key).is_some_and(|end| *end > self.now)
    }

    /// Rejects a write that would exceed the limits of the store.
    pub(crate) fn check_key_space(&self, put: &Put) -> Result<(), Error> {
        let known = self.kv.entries.contains_key(&put.key);
        if !known && self.kv.entries.len() + self.kv.delays.len() >= self.limits.keys {
            return Err(Error::LimitReached {
                what: "keys",
                limit: self.limits.keys,
            });
        }
        self.check_space(put.key.len() + put.value.len())
    }

    // The methods below take the index from their caller: all operations of a transaction share
    // one, and so do all keys of a session that ends.

    pub(crate) fn set(&mut self, index: u64, put: Put) -> Arc<Entry> {
        let session = self.kv.get(&put.key).and_then(|old| old.session.clone());
        self.write(index, put, 0, session)
    }

    pub(crate) fn cas(&mut self, index: u64, put: Put, expected: u64) -> Option<Arc<Entry>> {
        let current = self.kv.get(&put.key).map_or(0, |old| old.modify_index);
        (current == expected).then(|| self.set(index, put))
    }

    pub(crate) fn lock(
        &mut self,
        index: u64,
        put: Put,
        session: &str,
    ) -> Result<Option<Arc<Entry>>, Error> {
        if session.is_empty() {
            return Err(Error::rejected("missing session"));
        }
        if self.sessions.get(&self.session_key(session)?).is_none() {
            return Err(Error::rejected(format!("invalid session {session:?}")));
        }
        let lock_index = match self.kv.get(&put.key) {
            None => 1,
            Some(old) => match &old.session {
                None => old.lock_index + 1,
                // Consul compares the ids as sent: the same id in upper case is another holder.
                Some(holder) if holder == session => old.lock_index,
                Some(_) => return Ok(None),
            },
        };
        Ok(Some(self.write(
            index,
            put,
            lock_index,
            Some(session.into()),
        )))
    }

    pub(crate) fn unlock(
        &mut self,
        index: u64,
        put: Put,
        session: &str,
    ) -> Result<Option<Arc<Entry>>, Error> {
        if session.is_empty() {
            return Err(Error::rejected("missing session"));
        }
        match self.kv.get(&put.key) {
            Some(old) if old.session.as_deref() == Some(session) => {
                let lock_index = old.lock_index;
                Ok(Some(self.write(index, put, lock_index, None)))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn delete(&mut self, index: u64, key: &str) {
        if self.kv.get(key).is_some() {
            self.add_tombstone(key, index);
            self.replace(index, key, None);
        }
    }

    pub(crate) fn delete_cas(&mut self, index: u64, key: &str, expected: u64) -> bool {
        match self.kv.get(key) {
            Some(old) if old.modify_index != expected => false,
            _ => {
                self.delete(index, key);
                true
            }
        }
    }

    pub(crate) fn delete_tree(&mut self, index: u64, prefix: &str) {
        let keys: Vec<String> = self
            .kv
            .list(prefix)
            .map(|entry| entry.key.clone())
            .collect();
        if keys.is_empty() {
            return;
        }
        // One tombstone for the prefix; the empty prefix has the index of the table.
        if !prefix.is_empty() {
            self.add_tombstone(prefix, index);
        }
        for key in keys {
            self.replace(index, &key, None);
        }
    }

    /// Releases or deletes the keys of a session that ends, and starts their lock-delay.
    pub(crate) fn invalidate_locks(
        &mut self,
        session: &str,
        index: u64,
        delete: bool,
        delay: Duration,
    ) {
        let held = self.kv.held.get(session).cloned().unwrap_or_default();
        for key in held {
            let Some(old) = self.kv.get(&key).cloned() else {
                continue;
            };
            if delete {
                self.delete(index, &key);
            } else {
                let put = Put {
                    key: key.clone(),
                    value: old.value.clone(),
                    flags: old.flags,
                };
                self.write(index, put, old.lock_index, None);
            }
            if !delay.is_zero() {
                let end = self.now + delay;
                if let Some(before) = self.kv.delays.insert(key.clone(), end) {
                    self.cancel(before, Deadline::LockDelay(key.clone()));
                }
                self.schedule(end, Deadline::LockDelay(key));
            }
        }
    }

    /// Stores an entry. If nothing would change, neither does its index, and no query wakes.
    fn write(
        &mut self,
        index: u64,
        put: Put,
        lock_index: u64,
        session: Option<String>,
    ) -> Arc<Entry> {
        let old = self.kv.get(&put.key);
        let mut entry = Entry {
            lock_index,
            key: put.key,
            flags: put.flags,
            value: put.value,
            session,
            create_index: old.map_or(index, |old| old.create_index),
            modify_index: old.map_or(index, |old| old.modify_index),
        };
        if let Some(old) = old {
            if **old == entry {
                return old.clone();
            }
            entry.modify_index = index;
        }
        let entry = Arc::new(entry);
        let key = entry.key.clone();
        self.replace(index, &key, Some(entry.clone()));
        entry
    }

    /// Inserts, replaces or removes an entry. All changes of entries go through here.
    fn replace(&mut self, index: u64, key: &str, entry: Option<Arc<Entry>>) {
        let old = self.swap_entry(key, entry);
        if let Some(undo) = &mut self.kv.undo {
            undo.entries.push((key.into(), old));
        }
        self.kv.index = index;
        self.changed(Change::Key(key.into()));
    }

    /// Swaps an entry, and updates the keys held by sessions and the size of the store.
    fn swap_entry(&mut self, key: &str, entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        let ids = self.version.session_ids;
        let holder = |entry: &Arc<Entry>| session_key(ids, entry.session.as_deref()?).ok();
        if let Some(entry) = &entry {
            self.stored_bytes += key.len() + entry.value.len();
            if let Some(holder) = holder(entry) {
                self.kv.held.entry(holder).or_default().insert(key.into());
            }
        }
        let holds = entry.as_ref().and_then(holder);
        let old = match entry {
            Some(entry) => self.kv.entries.insert(key.into(), entry),
            None => self.kv.entries.remove(key),
        };
        if let Some(old) = &old {
            self.stored_bytes -= key.len() + old.value.len();
            if let Some(held) = holder(old)
                && holds.as_ref() != Some(&held)
                && let Some(keys) = self.kv.held.get_mut(&held)
            {
                keys.remove(key);
                if keys.is_empty() {
                    self.kv.held.remove(&held);
                }
            }
        }
        old
    }

    fn add_tombstone(&mut self, key: &str, index: u64) {
        if self.kv.tombstones.is_empty() {
            self.schedule(self.now + TOMBSTONE_TTL, Deadline::Tombstones);
        }
        let old = self.kv.tombstones.insert(key.into(), index);
        if let Some(undo) = &mut self.kv.undo {
            undo.tombstones.push((key.into(), old));
        }
        if self.kv.tombstones.len() > self.limits.keys {
            self.schedule(self.now, Deadline::Tombstones);
        }
    }

    /// Removes all tombstones. Consul removes them one by one; removing all of them needs one
    /// timer, and at worst a blocked query of a deleted prefix returns once too often.
    pub(crate) fn reap_tombstones(&mut self) {
        self.kv.tombstones.clear();
        self.kv.index = self.next_index();
    }

    pub(crate) fn begin_transaction(&mut self) {
        self.kv.undo = Some(Undo {
            index: self.kv.index,
            entries: Vec::new(),
            tombstones: Vec::new(),
        });
    }

    /// Keeps the changes since `begin_transaction`, or reverts them.
    pub(crate) fn end_transaction(&mut self, keep: bool) {
        let Some(undo) = self.kv.undo.take() else {
            return;
        };
        if keep {
            return;
        }
        for (key, entry) in undo.entries.into_iter().rev() {
            self.swap_entry(&key, entry);
        }
        for (key, index) in undo.tombstones.into_iter().rev() {
            match index {
                Some(index) => self.kv.tombstones.insert(key, index),
                None => self.kv.tombstones.remove(&key),
            };
        }
        self.kv.index = undo.index;
    }
}
