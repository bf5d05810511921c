//! The state behind its lock, driven by the clock, and the reads that block on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use crate::state::{Query, State};
use crate::waiters::{TooManyBlockedQueries, Waiter, Waiters};

/// How long a blocking query waits if the request does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// A random part of the wait, at most one in this many, is added to it, so that clients do not all
/// return at once.
const JITTER: u32 = 16;

/// The state of an agent, shared by all its requests.
pub(crate) struct SharedState {
    state: Mutex<State>,
    waiters: Arc<Waiters>,
    started: Instant,
    /// Notified when a deadline was added before all others.
    earlier_deadline: Notify,
}

/// Whether and how long a read blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlockingOptions {
    /// The read blocks until the index is greater than this; with 0 it does not block.
    pub(crate) index: u64,
    /// The longest wait; zero means the default.
    pub(crate) wait: Duration,
}

impl SharedState {
    pub(crate) fn new(state: State) -> SharedState {
        SharedState {
            waiters: Arc::new(Waiters::new(state.limits.waiters)),
            state: Mutex::new(state),
            started: Instant::now(),
            earlier_deadline: Notify::new(),
        }
    }

    /// Advances the state to the present, runs `operation` on it and wakes the blocked queries that
    /// its changes may concern.
    pub(crate) fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> T {
        // A panic in one request must not disable the agent for all others.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.advance(self.started.elapsed());
        let result = operation(&mut state);
        let changes = state.take_changes();
        if !changes.is_empty() {
            self.waiters.wake(&changes);
        }
        let next = state.next_deadline();
        drop(state);
        if next.is_some_and(|next| known.is_none_or(|known| next < known)) {
            self.earlier_deadline.notify_one();
        }
        result
    }

    /// Returns the index of `query` and the result of `rows`, once the index is greater than the
    /// one in `blocking` or its wait is over.
    ///
    /// # Errors
    ///
    /// Fails if the query would block and the limit of blocked queries is reached.
    pub(crate) async fn read<T>(
        &self,
        query: Query,
        blocking: BlockingOptions,
        rows: impl Fn(&State) -> T,
    ) -> Result<(u64, T), TooManyBlockedQueries> {
        let deadline = Instant::now() + with_jitter(blocking.wait);
        // After a timeout, Consul responds with the index from before the wait.
        let mut known = None;
        let mut above = blocking.index;
        let mut was_missing = false;
        loop {
            let step = self.with(|state| {
                if let Some(known) = known
                    && Instant::now() >= deadline
                {
                    return Ok(Step::Done(known, rows(state)));
                }
                let index = state.index_of(&query);
                if state.is_missing(&query) {
                    if was_missing {
                        above = index;
                    }
                    was_missing = true;
                }
                if blocking.index == 0 || index > above {
                    return Ok(Step::Done(index, rows(state)));
                }
                known = Some(index);
                // Under the same lock as the index was read, so no change is missed.
                let watched = state.watched(query.clone());
                Waiters::register(&self.waiters, watched)
                    .map(|(waiter, notified)| Step::Wait(waiter, notified))
            })?;
            match step {
                Step::Done(index, rows) => return Ok((index, rows)),
                Step::Wait(_waiter, notified) => tokio::select! {
                    () = notified => {}
                    () = sleep_until(deadline) => {}
                },
            }
        }
    }

    /// Advances the state at each deadline, which wakes the queries that block on what happens then.
    /// Never returns.
    pub(crate) async fn run_clock(&self) {
        loop {
            match self.with(|state| state.next_deadline()) {
                None => self.earlier_deadline.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(self.started + next) => {}
                    () = self.earlier_deadline.notified() => {}
                },
            }
        }
    }
}

enum Step<T> {
    Done(u64, T),
    Wait(Waiter, OwnedNotified),
}

fn with_jitter(wait: Duration) -> Duration {
    let wait = match wait {
        Duration::ZERO => DEFAULT_WAIT,
        wait => wait.min(MAX_WAIT),
    };
    wait + (wait / JITTER).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_lengthened_by_a_sixteenth_at_most() {
        let within = |asked: u64, shortest: u64| {
            let shortest = Duration::from_secs(shortest);
            let wait = with_jitter(Duration::from_secs(asked));
            assert!(
                (shortest..=shortest + shortest / JITTER).contains(&wait),
                "{asked} s: {wait:?}"
            );
        };
        for _ in 0..1_000 {
            within(1, 1);
            within(600, 600);
            within(601, 600);
            within(0, 300);
        }
    }
}
