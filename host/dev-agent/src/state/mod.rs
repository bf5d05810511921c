//! The state machine: one index, the tables, and the deadlines.
//!
//! Nothing here knows of HTTP, of tokio or of a clock. Time moves only through
//! [`State::advance`]; whoever touches the state advances it first, so a session is gone the
//! moment it is due, whether or not a timer has fired yet.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use self::catalog::Catalog;
use self::kv::Store;
use self::sessions::Sessions;
use crate::limits::Limits;

pub(crate) mod catalog;
pub(crate) mod kv;
pub(crate) mod sessions;
pub(crate) mod txn;

#[cfg(test)]
mod tests;

/// The agent's whole state.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) datacenter: String,
    /// The agent's own node.
    pub(crate) node: String,
    /// Time since the agent's start.
    pub(crate) now: Duration,
    pub(crate) sessions: Sessions,
    pub(crate) kv: Store,
    pub(crate) catalog: Catalog,
    /// Bytes held by keys, values and sessions.
    pub(crate) stored_bytes: usize,
    /// Consul's raft index: every write takes one, also a write that changes nothing.
    index: u64,
    deadlines: BTreeSet<(Duration, Deadline)>,
    changes: HashSet<Change>,
}

/// What is due at some time. Ordered, so that equal times have one order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// A session, by key, reaches twice its TTL.
    Session(String),
    /// A TTL check of the own node has not been renewed.
    Check(String),
    /// A key's lock-delay ends.
    LockDelay(String),
    /// Deleted keys are forgotten.
    Tombstones,
}

/// What a write touched: who waits for it is woken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    Session {
        key: String,
        node: String,
    },
    Key(String),
    /// A node, in lower case, its services or checks.
    Node(String),
}

/// What a blocking query reads. It is also what its waiter waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Query {
    /// One session, by key.
    Session(String),
    Sessions,
    /// The sessions of a node, in lower case.
    NodeSessions(String),
    Key(String),
    Prefix(String),
    Nodes,
    /// A node with its services, in lower case.
    Node(String),
    /// The checks of a node, in lower case.
    NodeChecks(String),
    Checks,
}

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Consul would refuse it too, with this text.
    Rejected(String),
    /// A limit of the agent is reached.
    Full { what: &'static str, limit: usize },
}

impl Error {
    pub(crate) fn rejected(text: impl Into<String>) -> Error {
        Error::Rejected(text.into())
    }
}

/// What raft writes down before the first change of a table: a new Consul registers its node at index 10. An index of 1 is
/// what both answer where there is none.
const STARTING_INDEX: u64 = 9;

impl State {
    /// A fresh state with the agent's own node registered and passing.
    pub(crate) fn new(node: &str, datacenter: &str, limits: Limits) -> State {
        let mut state = State {
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
        state.register_own_node();
        state
    }

    /// Moves the time to `now`, lets everything happen that is due by then, in order, and
    /// reports the next deadline.
    pub(crate) fn advance(&mut self, now: Duration) -> Option<Duration> {
        while let Some((due, _)) = self.deadlines.first() {
            if *due > now {
                break;
            }
            // Things happen when they are due, however late it is noticed: a lock-delay
            // counts from the end of the session, not from the request that found it ended.
            self.now = self.now.max(*due);
            let Some((_, deadline)) = self.deadlines.pop_first() else {
                break;
            };
            match deadline {
                Deadline::Session(key) => self.expire_session(&key),
                Deadline::Check(id) => self.expire_check(&id),
                Deadline::LockDelay(key) => self.kv.end_delay(&key),
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

    /// Takes the next raft index for a write.
    pub(crate) fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    pub(crate) fn changed(&mut self, change: Change) {
        self.changes.insert(change);
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self) -> HashSet<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The index a query answers with; never 0, for 0 means "do not block".
    pub(crate) fn index_of(&self, query: &Query) -> u64 {
        let index = match query {
            // Not the session's own index: that would make no difference to a client that asks
            // again after a wake-up, and Consul answers the table's.
            Query::Session(_) | Query::Sessions | Query::NodeSessions(_) => self.sessions.index,
            Query::Key(key) => self.kv.key_index(key),
            Query::Prefix(prefix) => self.kv.prefix_index(prefix),
            Query::Nodes => self.catalog.nodes_index,
            Query::Node(name) => self.catalog.node_index(name),
            Query::NodeChecks(_) | Query::Checks => self.catalog.checks_index,
        };
        index.max(1)
    }

    /// What a query waits for: what it reads, or where there is nothing to read, what stands in its place. Consul keeps its
    /// tables in radix trees and watches the branch at which a key would be.
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

    /// Refuses a write that would hold `more` bytes beyond the limit.
    pub(crate) fn room_for(&self, more: usize) -> Result<(), Error> {
        if self.stored_bytes.saturating_add(more) > self.limits.stored_bytes {
            return Err(Error::Full {
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
