//! The lanes of a client's calls, each with places of its own: a call that waits takes no place from one that works, and
//! none of them one from the upkeep of locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who runs an instance of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Ordinary calls.
    Calls,
    /// Renewals and releases of locks that are held.
    Upkeep,
}

/// Who waits for Consul to report a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// For a lock that others hold.
    ToAcquire,
    /// For the loss of a lock that is held.
    ForLoss,
}

/// Blocking queries of one kind that a client makes at once.
pub(super) const CLIENT_WAITS: usize = 32;
/// Blocking queries of one kind that all clients of a runtime make at once.
pub(crate) const RUNTIME_WAITS: usize = 256;
/// Calls for the upkeep of locks that a client makes at once.
pub(super) const CLIENT_UPKEEP: usize = 8;

/// How long a query lasts when half of the places are taken, so that another can have its place soon.
const SHORT: Duration = Duration::from_secs(5);
/// How long a query lasts when others wait for a place.
const SHORTEST: Duration = Duration::from_secs(1);

/// The places of blocking queries.
pub(crate) struct Waits {
    places: Arc<Semaphore>,
    all: usize,
    queued: AtomicUsize,
}

/// A place for a blocking query.
pub(super) struct WaitingPlace {
    _of_client: OwnedSemaphorePermit,
    _of_runtime: OwnedSemaphorePermit,
}

impl Waits {
    pub(crate) fn new(places: usize) -> Arc<Waits> {
        Arc::new(Waits {
            places: Arc::new(Semaphore::new(places)),
            all: places,
            queued: AtomicUsize::new(0),
        })
    }

    /// Waits for a place here and in `runtime`.
    pub(super) async fn place(&self, runtime: &Waits) -> Option<WaitingPlace> {
        Some(WaitingPlace {
            _of_client: self.take().await?,
            _of_runtime: runtime.take().await?,
        })
    }

    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        let _queued = Queued::new(&self.queued);
        self.places.clone().acquire_owned().await.ok()
    }

    /// How long a query that has a place may last.
    pub(super) fn longest(&self) -> Duration {
        if self.queued.load(Ordering::Relaxed) > 0 {
            SHORTEST
        } else if self.places.available_permits() < self.all / 2 {
            SHORT
        } else {
            Duration::MAX
        }
    }
}

/// Counts while it exists.
struct Queued<'a>(&'a AtomicUsize);

impl Queued<'_> {
    fn new(count: &AtomicUsize) -> Queued<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Queued(count)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
