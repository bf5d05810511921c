//! Who may compute: as many components at once as the executor has threads, in the order in which they ask, with a turn
//! of one tick each. Without that, a client with many calls that compute would get as many turns between two of any
//! other's.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// How long a component may compute in one call. The largest response that the built-in one reads takes it 0.3 s.
const BUDGET: Duration = Duration::from_secs(2);

/// A component that computed for so long has yielded, instead of waiting for something.
const LONG: Duration = Duration::from_millis(1);

/// The places of a runtime's components that compute.
#[derive(Default)]
pub(crate) struct Computing(OnceLock<Arc<Semaphore>>);

/// A client's share of them: it waits in one line, however many calls it has.
pub(crate) struct Share {
    all: Arc<Computing>,
    own: OnceLock<Arc<Semaphore>>,
}

/// What a call has left to compute.
pub(super) struct Budget(Duration);

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
            own: OnceLock::new(),
        })
    }
}

/// A place for each thread of the executor, which is known when the first call is made.
fn places(of: &OnceLock<Arc<Semaphore>>) -> Arc<Semaphore> {
    let new = || Arc::new(Semaphore::new(Handle::current().metrics().num_workers()));
    of.get_or_init(new).clone()
}

impl Share {
    async fn place(&self) -> Result<[OwnedSemaphorePermit; 2], AcquireError> {
        let own = places(&self.own).acquire_owned().await?;
        Ok([own, places(&self.all.0).acquire_owned().await?])
    }
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget(BUDGET)
    }

    /// Runs a component that yields at every tick. It has a place while it computes, but not while it waits.
    pub(super) async fn spend<T>(
        &mut self,
        share: &Share,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let mut work = pin!(work);
        loop {
            let place = share.place().await?;
            let begun = Instant::now();
            let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            if let Poll::Ready(result) = polled {
                return result;
            }
            let took = begun.elapsed();
            self.0 = self.0.saturating_sub(took);
            if self.0.is_zero() {
                return Err(wasmtime::Error::new(Exhausted));
            }
            if took < LONG {
                drop(place);
                woken().await;
            } else {
                // With its place, so that nobody computes before the executor has looked after the network. Otherwise it
                // would do so after 61 turns. The first pause ends at once, because the component has woken the task.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
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
