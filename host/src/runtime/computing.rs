//! Who may compute: as many components at once as the executor has threads, in the order in which they ask, with a turn
//! of one tick each. Without that, a client with many calls that compute would get as many turns between two of any
//! other's.

use super::Slot;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{self, Handle};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use wasmtime::Trap;

/// How long a component may compute in one call. The largest response that the built-in one reads takes it 0.3 s.
const BUDGET: Duration = Duration::from_secs(2);
/// A component that computed for so long has yielded, instead of waiting for something.
const LONG: Duration = Duration::from_millis(1);
/// Executors that are remembered without being in use.
const MAX_EXECUTORS: usize = 64;

/// The components of a runtime that compute.
#[derive(Default)]
pub(crate) struct Computing(Places);

/// A client's share of them: it waits in one line, however many calls it has.
pub(crate) struct Share {
    all: Arc<Computing>,
    own: Places,
}

/// A place for each thread of an executor. Those of one executor are no use to another, which may not be running.
#[derive(Default)]
struct Places(Mutex<HashMap<runtime::Id, Arc<Semaphore>>>);

/// What a call has left to compute.
pub(super) struct Budget(Duration);

impl Default for Budget {
    fn default() -> Budget {
        Budget(BUDGET)
    }
}

/// The component of a call has computed for too long.
#[derive(Debug)]
struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it computed for more than {} s", BUDGET.as_secs())
    }
}

impl std::error::Error for Exhausted {}

impl Computing {
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share {
            all: self.clone(),
            own: Places::default(),
        })
    }
}

impl Places {
    fn of_this_executor(&self) -> Arc<Semaphore> {
        let executor = Handle::current();
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() > MAX_EXECUTORS {
            places.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let new = || Arc::new(Semaphore::new(executor.metrics().num_workers()));
        places.entry(executor.id()).or_insert_with(new).clone()
    }
}

/// The places that a call waits for, in this order.
struct Lines {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Lines {
    /// A place, if nobody waits for one.
    fn free_place(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = self.own.clone().try_acquire_owned().ok()?;
        Some([own, self.all.clone().try_acquire_owned().ok()?])
    }

    async fn place(&self) -> Result<[OwnedSemaphorePermit; 2], AcquireError> {
        let own = self.own.clone().acquire_owned().await?;
        Ok([own, self.all.clone().acquire_owned().await?])
    }

    /// Runs a component until it takes long, or there is no place for it.
    async fn briefly<T>(
        &self,
        budget: &mut Budget,
        mut work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> Option<wasmtime::Result<T>> {
        loop {
            let place = self.free_place()?;
            let polled = budget.poll(work.as_mut()).await;
            if let Polled::Ended { long: true, .. } = polled {
                network_first().await;
            }
            drop(place);
            match polled {
                Polled::Ended { result, .. } => return Some(result),
                Polled::Yielded => return None,
                Polled::Waits => woken().await,
            }
        }
    }

    /// Runs a component to its end. It has a place while it computes, but not while it waits.
    async fn in_turn<T>(
        &self,
        budget: &mut Budget,
        mut work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        loop {
            let place = self.place().await?;
            match budget.poll(work.as_mut()).await {
                Polled::Ended { result, long } => {
                    if long {
                        network_first().await;
                    }
                    return result;
                }
                Polled::Waits => {
                    drop(place);
                    woken().await;
                }
                Polled::Yielded => {
                    // The first pause ends at once, because the component has woken the task.
                    tokio::task::yield_now().await;
                    network_first().await;
                }
            }
        }
    }
}

impl Share {
    /// Runs a component that yields at every tick, until a deadline. As long as it computes for moments only and there is
    /// a place, it runs here, and then in a task of its own.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        slot: &Arc<Slot>,
        budget: &mut Budget,
        deadline: tokio::time::Instant,
        work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> wasmtime::Result<T> {
        budget.check()?;
        let (lines, mut work) = (self.lines(), Box::pin(work));
        let here = tokio::time::timeout_at(deadline, lines.briefly(budget, work.as_mut()));
        match here.await {
            Ok(Some(result)) => return result,
            Ok(None) => {}
            Err(_) => return Err(Trap::Interrupt.into()),
        }
        let mut left = std::mem::take(budget);
        let rest = async move {
            let spent = lines.in_turn(&mut left, work.as_mut());
            let result = tokio::time::timeout_at(deadline, spent).await;
            (result, left)
        };
        let (result, left) = self.in_task(slot.clone(), rest).await?;
        *budget = left;
        result.unwrap_or_else(|_| Err(Trap::Interrupt.into()))
    }

    /// Goes on in a task of its own. The task goes on when nobody polls the call, so that no place is held by what is not
    /// running; it ends when the call is dropped, and until then keeps the call's slot.
    async fn in_task<T: Send + 'static>(
        &self,
        slot: Arc<Slot>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> wasmtime::Result<T> {
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _slot = slot;
            work.await
        });
        match task.join_next().await {
            Some(Ok(result)) => Ok(result),
            Some(Err(failed)) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => Err(wasmtime::Error::new(cancelled)),
            },
            None => unreachable!("a task was spawned"),
        }
    }

    fn lines(&self) -> Lines {
        Lines {
            own: self.own.of_this_executor(),
            all: self.all.0.of_this_executor(),
        }
    }
}

/// What a component did when it was polled.
enum Polled<T> {
    Ended {
        result: wasmtime::Result<T>,
        /// Whether it took long.
        long: bool,
    },
    /// It has more to compute.
    Yielded,
    /// It waits for something.
    Waits,
}

/// A pause of someone who has computed for long, and still has its place: nobody computes before the executor has looked
/// after the network. Otherwise it would do so after 61 turns.
async fn network_first() {
    tokio::task::yield_now().await;
}

impl Budget {
    fn check(&self) -> wasmtime::Result<()> {
        if self.0.is_zero() {
            return Err(wasmtime::Error::new(Exhausted));
        }
        Ok(())
    }

    /// Polls a component, which spends time.
    async fn poll<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> Polled<T> {
        let begun = Instant::now();
        let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        let took = begun.elapsed();
        self.0 = self.0.saturating_sub(took);
        match (polled, self.check()) {
            (Poll::Ready(result), _) => Polled::Ended {
                result,
                long: took >= LONG,
            },
            (Poll::Pending, Err(exhausted)) => Polled::Ended {
                result: Err(exhausted),
                long: true,
            },
            (Poll::Pending, Ok(())) if took < LONG => Polled::Waits,
            (Poll::Pending, Ok(())) => Polled::Yielded,
        }
    }
}

/// Waits until what was polled last wakes the task.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| match std::mem::replace(&mut waited, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
