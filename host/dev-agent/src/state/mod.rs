//! The state machine: one Raft index, the tables, and the deadlines.
//!
//! It knows nothing of HTTP, Tokio or clocks. Time moves only through [`State::advance`], which is
//! called before every access: a session is gone at the moment it expires, whether or not a timer
//! has fired yet.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use self::catalog::Catalog;
use self::kv::Store;
use self::sessions::Sessions;
use crate::limits::Limits;
use crate::version::Differences;

pub(crate) mod catalog;
pub(crate) mod kv;
pub(crate) mod sessions;
pub(crate) mod txn;

#[cfg(test)]
mod tests;

/// The whole state of an agent.
pub(crate) struct State {
    pub(crate) version: &'static Differences,
    pub(crate) limits: Limits,
    pub(crate) datacenter: String,
    /// The name of the agent's own node.
    pub(crate) node: String,
    /// The time since the start of the agent.
    pub(crate) now: Duration,
    pub(crate) sessions: Sessions,
    pub(crate) kv: Store,
    pub(crate) catalog: Catalog,
    /// The size of all keys, values and sessions, in bytes.
    pub(crate) stored_bytes: usize,
    /// Consul's Raft index. Every write increments it, even a write that changes nothing.
    index: u64,
    deadlines: BTreeSet<(Duration, Deadline)>,
    changes: HashSet<Change>,
}

/// An event that is due at some time. The order of the variants makes equal times deterministic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// The session with this key has lived for twice its TTL.
    Session(String),
    /// The TTL of this check of the own node has passed without an update.
    Check(String),
    /// The lock-delay of this key ends.
    LockDelay(String),
    /// Tombstones are removed.
    Tombstones,
}

/// Something that a write changed, and blocked queries may wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    Session {
        key: String,
        node: String,
    },
    Key(String),
    /// A node, its services or its checks; by name in lower case.
    Node(String),
}

/// What a read selects, and what a blocked query waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Query {
    /// A session, by its [`session_key`](sessions::session_key).
    Session(String),
    Sessions,
    /// The sessions of a node, by its name in lower case.
    NodeSessions(String),
    Key(String),
    Prefix(String),
    Nodes,
    /// A node with its services, by its name in lower case.
    Node(String),
    /// The checks of a node, by its name in lower case.
    NodeChecks(String),
    Checks,
}

/// The error of an operation that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Consul rejects the operation as well, with this text.
    Rejected(String),
    /// A limit of the agent is reached.
    LimitReached { what: &'static str, limit: usize },
}

impl Error {
    pub(crate) fn rejected(text: impl Into<String>) -> Error {
        Error::Rejected(text.into())
    }

    /// Puts a prefix before Consul's text.
    pub(crate) fn prefixed(self, prefix: &str) -> Error {
        match self {
            Error::Rejected(text) => Error::Rejected(format!("{prefix}{text}")),
            limit @ Error::LimitReached { .. } => limit,
        }
    }
}

/// The index before the first write. A new Consul registers its node at index 10: the writes before
/// that set up Raft.
const STARTING_INDEX: u64 = 9;

impl State {
    /// Creates a state in which the agent's own node is registered and its check passes.
    pub(crate) fn new(
        version: &'static Differences,
        node: &str,
        datacenter: &str,
        limits: Limits,
    ) -> State {
        let mut state = State {
            version,
            limits,
            datacenter: datacenter.into(),
            node: node.into(),
            now: Duration::ZERO,
            sessions: Sessions::default(),
            kv: Store::default(),
            catalog: Catalog::default(),
            stored_bytes: 0,
            index: STARTING_INDEX,
            deadlines: BTreeSet::new(),
            changes: HashSet::new(),
        };
        state.register_local_node();
        state
    }

    /// Moves the time to `now` and runs every event that is due by then, in order. Returns the next
    /// deadline.
    pub(crate) fn advance(&mut self, now: Duration) -> Option<Duration> {
        while let Some((due, _)) = self.deadlines.first() {
            if *due > now {
                break;
            }
            // Events take effect at their deadline, however late they run: a lock-delay counts from
            // the end of the session, not from the request that noticed the end.
            self.now = self.now.max(*due);
            let Some((_, deadline)) = self.deadlines.pop_first() else {
                break;
            };
            match deadline {
                Deadline::Session(key) => self.expire_session(&key),
                Deadline::Check(id) => self.expire_check(&id),
                Deadline::LockDelay(key) => self.kv.end_lock_delay(&key),
                Deadline::Tombstones => self.reap_tombstones(),
            }
        }
        self.now = self.now.max(now);
        self.next_deadline()
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    pub(crate) fn schedule(&mut self, due: Duration, deadline: Deadline) {
        self.deadlines.insert((due, deadline));
    }

    pub(crate) fn cancel(&mut self, due: Duration, deadline: Deadline) {
        self.deadlines.remove(&(due, deadline));
    }

    /// Increments and returns the Raft index, for a write.
    pub(crate) fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    pub(crate) fn changed(&mut self, change: Change) {
        self.changes.insert(change);
    }

    /// Returns and forgets what has changed since the last call.
    pub(crate) fn take_changes(&mut self) -> HashSet<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the index of a query. It is never 0, which in a request means "do not block".
    pub(crate) fn index_of(&self, query: &Query) -> u64 {
        let index = match query {
            // Consul, too, reports the index of the table rather than of the session.
            Query::Session(_) | Query::Sessions | Query::NodeSessions(_) => self.sessions.index,
            Query::Key(key) => self.kv.key_index(key),
            Query::Prefix(prefix) => self.kv.prefix_index(prefix),
            Query::Nodes => self.catalog.nodes_index,
            Query::Node(name) => self.catalog.node_index(name),
            Query::NodeChecks(_) | Query::Checks => self.catalog.checks_index,
        };
        index.max(1)
    }

    /// Returns whether `query` selects nothing, in a version in which it then keeps blocking until it
    /// selects something, even if its index changes.
    pub(crate) fn is_missing(&self, query: &Query) -> bool {
        self.version.missing_keeps_blocking
            && match query {
                Query::Session(key) => self.sessions.get(key).is_none(),
                Query::Key(key) => self.kv.get(key).is_none(),
                _ => false,
            }
    }

    /// Returns the query that a blocked `query` waits for: the query itself, or a wider one if it
    /// selects nothing. Consul keeps its tables in radix trees and watches the branch on which a
    /// missing key would be.
    pub(crate) fn watched(&self, query: Query) -> Query {
        match query {
            Query::Session(key) if self.sessions.get(&key).is_none() => Query::Sessions,
            Query::NodeSessions(node) if self.sessions.of_node(&node).is_empty() => Query::Sessions,
            Query::Key(key) if self.kv.get(&key).is_none() => {
                Query::Prefix(self.kv.branch_of(&key).to_owned())
            }
            Query::Prefix(prefix) if self.kv.list(&prefix).next().is_none() => {
                Query::Prefix(self.kv.branch_of(&prefix).to_owned())
            }
            there => there,
        }
    }

    /// Rejects a write of `more` bytes if they exceed the limit.
    pub(crate) fn check_space(&self, more: usize) -> Result<(), Error> {
        if self.stored_bytes.saturating_add(more) > self.limits.stored_bytes {
            return Err(Error::LimitReached {
                what: "stored bytes",
                limit: self.limits.stored_bytes,
            });
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn deadline_count(&self) -> usize {
        self.deadlines.len()
    }
}
