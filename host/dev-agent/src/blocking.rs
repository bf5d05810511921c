//! The state behind its lock, the clock that drives it, and those who wait for a change.
//!
//! A blocked query costs one entry in a map and no thread. Entry and index are taken under the
//! same lock, so no change can slip in between; a change wakes only those whose query it can
//! concern.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use crate::state::{Change, Error, Query, State};

/// A blocking query waits this long unless it says otherwise, and at most twice that.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// Up to this part of the wait is added, so that not all clients come back at once.
const JITTER: u32 = 16;

/// The state and its waiters.
pub(super) struct Hub {
    state: Mutex<State>,
    waiters: Arc<Waiters>,
    started: Instant,
    /// Something is due earlier than the clock's task knows.
    earlier: Notify,
}

/// How a request wants to block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocking {
    /// Answer once the index is above this; 0 answers at once.
    pub(super) index: u64,
    pub(super) wait: Duration,
}

impl Hub {
    pub(super) fn new(state: State) -> Hub {
        let waiters = Waiters {
            limit: state.limits.waiters,
            by_query: Mutex::default(),
        };
        Hub {
            state: Mutex::new(state),
            waiters: Arc::new(waiters),
            started: Instant::now(),
            earlier: Notify::new(),
        }
    }

    /// Runs `operation` on a state whose time is now, and wakes whom it concerns.
    pub(super) fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let known = state.advance(self.started.elapsed());
        let result = operation(&mut state);
        let changes = state.take_changes();
        if !changes.is_empty() {
            self.waiters.wake(&changes);
        }
        let next = state.next_deadline();
        drop(state);
        if next.is_some_and(|next| known.is_none_or(|known| next < known)) {
            self.earlier.notify_one();
        }
        result
    }

    /// Reads a query's rows, after its index went above the request's or its time ran out.
    pub(super) async fn read<T>(
        &self,
        query: Query,
        blocking: Blocking,
        rows: impl Fn(&State) -> T,
    ) -> Result<(u64, T), Error> {
        let deadline = Instant::now() + with_jitter(blocking.wait);
        // The index from before the wait: time that ran out says nothing of what else has changed.
        let mut known = None;
        loop {
            let step = self.with(|state| {
                if let Some(known) = known
                    && Instant::now() >= deadline
                {
                    return Ok(Step::Answer(known, rows(state)));
                }
                let index = state.index_of(&query);
                if blocking.index == 0 || index > blocking.index {
                    return Ok(Step::Answer(index, rows(state)));
                }
                known = Some(index);
                let watched = state.watched(query.clone());
                Waiters::enter(&self.waiters, watched)
                    .map(|(place, woken)| Step::Wait(place, woken))
            })?;
            match step {
                Step::Answer(index, rows) => return Ok((index, rows)),
                Step::Wait(_place, woken) => tokio::select! {
                    () = woken => {}
                    () = sleep_until(deadline) => {}
                },
            }
        }
    }

    /// Lets things happen when they are due, for the sake of those who wait for it.
    pub(super) async fn run_clock(&self) {
        loop {
            match self.with(|state| state.next_deadline()) {
                None => self.earlier.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(self.started + next) => {}
                    () = self.earlier.notified() => {}
                },
            }
        }
    }
}

enum Step<T> {
    Answer(u64, T),
    Wait(Place, OwnedNotified),
}

/// A panic in one request must not take the agent away from all others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_jitter(wait: Duration) -> Duration {
    let wait = match wait {
        Duration::ZERO => DEFAULT_WAIT,
        wait => wait.min(MAX_WAIT),
    };
    // A random UUID is all the randomness this crate has, and enough of it.
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let most = wait / JITTER;
    wait + most.mul_f64(random as f64 / u64::MAX as f64)
}

struct Waiters {
    limit: usize,
    by_query: Mutex<ByQuery>,
}

#[derive(Default)]
struct ByQuery {
    count: usize,
    queries: HashMap<Query, (Arc<Notify>, usize)>,
    /// How many prefixes of each length somebody waits for, so that a change of a key looks up
    /// these and not every prefix the key has.
    prefix_lengths: BTreeMap<usize, usize>,
}

/// A blocked query's place in the map; it is given up when this is dropped, also when that
/// happens because the client went away.
struct Place {
    waiters: Arc<Waiters>,
    query: Query,
}

impl Waiters {
    fn enter(waiters: &Arc<Waiters>, query: Query) -> Result<(Place, OwnedNotified), Error> {
        let mut by_query = lock(&waiters.by_query);
        if by_query.count >= waiters.limit {
            return Err(Error::Full {
                what: "blocked queries",
                limit: waiters.limit,
            });
        }
        by_query.count += 1;
        if let Query::Prefix(prefix) = &query {
            *by_query.prefix_lengths.entry(prefix.len()).or_default() += 1;
        }
        let (notify, entered) = by_query.queries.entry(query.clone()).or_default();
        *entered += 1;
        // This hears of every change from here on, though nobody polls it yet.
        let woken = notify.clone().notified_owned();
        let place = Place {
            waiters: waiters.clone(),
            query,
        };
        Ok((place, woken))
    }

    fn wake(&self, changes: &HashSet<Change>) {
        let by_query = lock(&self.by_query);
        if by_query.count == 0 {
            return;
        }
        let wake = |query: Query| {
            if let Some((notify, _)) = by_query.queries.get(&query) {
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
                    for length in by_query.prefix_lengths.range(..=key.len()) {
                        if let Some(prefix) = key.get(..*length.0) {
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_query = lock(&self.waiters.by_query);
        by_query.count -= 1;
        if let Some((_, entered)) = by_query.queries.get_mut(&self.query) {
            *entered -= 1;
            if *entered == 0 {
                by_query.queries.remove(&self.query);
            }
        }
        if let Query::Prefix(prefix) = &self.query
            && let Some(waiting) = by_query.prefix_lengths.get_mut(&prefix.len())
        {
            *waiting -= 1;
            if *waiting == 0 {
                by_query.prefix_lengths.remove(&prefix.len());
            }
        }
    }
}
