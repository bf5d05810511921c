//! The blocked queries, and which of them a change wakes.
//!
//! A blocked query costs one map entry and no thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::state::{Change, Query};

/// All blocked queries of an agent.
pub(crate) struct Waiters {
    limit: usize,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    count: usize,
    /// How to wake the waiters of each query, and how many there are.
    queries: HashMap<Query, (Arc<Notify>, usize)>,
    /// The number of waiters for prefixes of each length. A change of a key looks up prefixes of
    /// these lengths only, not every prefix of the key.
    prefix_lengths: BTreeMap<usize, usize>,
}

/// The error of a query that may not block: as many as the limit are blocked already.
#[derive(Debug)]
pub(crate) struct TooManyBlockedQueries {
    pub(crate) limit: usize,
}

/// The registration of a blocked query. Dropping it ends the registration, also when the client
/// disconnects.
pub(crate) struct Waiter {
    waiters: Arc<Waiters>,
    query: Query,
}

impl Waiters {
    pub(crate) fn new(limit: usize) -> Waiters {
        Waiters {
            limit,
            registry: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a blocked query, and returns the future that completes with the next change that
    /// may concern it.
    pub(crate) fn register(
        waiters: &Arc<Waiters>,
        query: Query,
    ) -> Result<(Waiter, OwnedNotified), TooManyBlockedQueries> {
        let mut registry = waiters.lock();
        if registry.count >= waiters.limit {
            return Err(TooManyBlockedQueries {
                limit: waiters.limit,
            });
        }
        registry.count += 1;
        if let Query::Prefix(prefix) = &query {
            *registry.prefix_lengths.entry(prefix.len()).or_default() += 1;
        }
        let (notify, count) = registry.queries.entry(query.clone()).or_default();
        *count += 1;
        // The future receives notifications from its creation on, not from its first poll.
        let notified = notify.clone().notified_owned();
        let waiter = Waiter {
            waiters: waiters.clone(),
            query,
        };
        Ok((waiter, notified))
    }

    /// Wakes the queries that `changes` may concern.
    pub(crate) fn wake(&self, changes: &HashSet<Change>) {
        let registry = self.lock();
        if registry.count == 0 {
            return;
        }
        let wake = |query: Query| {
            if let Some((notify, _)) = registry.queries.get(&query) {
                notify.notify_waiters();
            }
        };
        let mut nodes = false;
        let mut sessions = false;
        for change in changes {
            match change {
                Change::Session { key, node } => {
                    sessions = true;
                    wake(Query::Session(key.clone()));
                    wake(Query::NodeSessions(node.clone()));
                }
                Change::Key(key) => {
                    wake(Query::Key(key.clone()));
                    for (length, _) in registry.prefix_lengths.range(..=key.len()) {
                        if let Some(prefix) = key.get(..*length) {
                            wake(Query::Prefix(prefix.into()));
                        }
                    }
                }
                Change::Node(node) => {
                    nodes = true;
                    wake(Query::Node(node.clone()));
                    wake(Query::NodeChecks(node.clone()));
                }
            }
        }
        if sessions {
            wake(Query::Sessions);
        }
        if nodes {
            wake(Query::Nodes);
            wake(Query::Checks);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut registry = self.waiters.lock();
        registry.count -= 1;
        if let Some((_, count)) = registry.queries.get_mut(&self.query) {
            *count -= 1;
            if *count == 0 {
                registry.queries.remove(&self.query);
            }
        }
        if let Query::Prefix(prefix) = &self.query
            && let Some(count) = registry.prefix_lengths.get_mut(&prefix.len())
        {
            *count -= 1;
            if *count == 0 {
                registry.prefix_lengths.remove(&prefix.len());
            }
        }
    }
}
