//! How many connections there are: open ones and idle ones, for each client and for the whole runtime. Whoever opens one
//! beyond that closes the idle connection that has waited longest.

use super::error::{Kind, RequestError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Idle connections that a client keeps, whatever their origins.
pub(super) const CLIENT_IDLE: usize = 32;
/// Idle connections that all clients of a runtime keep.
const RUNTIME_IDLE: usize = 128;

/// The connections of a runtime.
pub(crate) struct Connections {
    open: Limit,
    idle: Mutex<Idle>,
}

/// The idle connections, the one that has waited longest first.
#[derive(Default)]
struct Idle {
    connections: BTreeMap<u64, Arc<Connection>>,
    next: u64,
}

/// A client's share of the connections of a runtime.
pub(crate) struct Share {
    all: Arc<Connections>,
    open: Limit,
    idle: AtomicUsize,
}

/// A limit of open connections.
struct Limit {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Permission to open a connection, until it is closed.
pub(super) struct Permits {
    _of_client: OwnedSemaphorePermit,
    _of_runtime: OwnedSemaphorePermit,
}

/// What is known about an open connection besides its stream.
pub(crate) struct Connection {
    share: Arc<Share>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Its place among the idle ones.
    idle: Option<u64>,
    /// It is to be closed, because others need its place.
    closing: bool,
    /// The task that reads from it.
    reader: Option<Waker>,
}

impl Connections {
    /// For a runtime that carries out so many calls at once.
    pub(crate) fn new(calls: usize) -> Arc<Connections> {
        Arc::new(Connections {
            open: Limit::new(calls.saturating_add(RUNTIME_IDLE)),
            idle: Mutex::default(),
        })
    }

    /// The share of a client that carries out so many calls at once.
    pub(crate) fn share(self: &Arc<Self>, calls: usize) -> Arc<Share> {
        Arc::new(Share {
            all: self.clone(),
            open: Limit::new(calls.saturating_add(CLIENT_IDLE)),
            idle: AtomicUsize::new(0),
        })
    }

    /// Takes the idle connection that has waited longest among those that `which` accepts.
    fn oldest(&self, which: impl Fn(&Connection) -> bool) -> Option<Arc<Connection>> {
        let mut idle = lock(&self.idle);
        let place = idle
            .connections
            .iter()
            .find(|(_, connection)| which(connection))
            .map(|(place, _)| *place)?;
        let connection = idle.connections.remove(&place)?;
        connection.share.idle.fetch_sub(1, Ordering::Relaxed);
        Some(connection)
    }
}

impl Share {
    /// Waits until a connection may be opened. If there are too many, an idle one is closed.
    pub(super) async fn permits(&self, until: Instant) -> Result<Permits, RequestError> {
        let permits = async {
            let of_client = self.open.take(|| self.close_oldest_of_client()).await?;
            let of_runtime = self.all.open.take(|| self.close_oldest_of_all()).await?;
            Ok::<_, AcquireError>(Permits {
                _of_client: of_client,
                _of_runtime: of_runtime,
            })
        };
        match timeout_at(until, permits).await {
            // The semaphores are never closed.
            Ok(Ok(permits)) => Ok(permits),
            Ok(Err(_)) | Err(_) => Err(RequestError::new(
                Kind::TooMany,
                "too many connections are open",
            )),
        }
    }

    fn close_oldest_of_client(&self) {
        let own = |connection: &Connection| std::ptr::eq(&*connection.share, self);
        if let Some(oldest) = self.all.oldest(own) {
            oldest.close();
        }
    }

    fn close_oldest_of_all(&self) {
        if let Some(oldest) = self.all.oldest(|_| true) {
            oldest.close();
        }
    }
}

impl Limit {
    fn new(connections: usize) -> Limit {
        let connections = connections.min(Semaphore::MAX_PERMITS);
        Limit {
            free: Arc::new(Semaphore::new(connections)),
            waiting: AtomicUsize::new(0),
        }
    }

    async fn take(&self, close_one: impl FnOnce()) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        // Before one is closed, so that one that comes to rest meanwhile is closed, too.
        let _waiting = Waiting::new(&self.waiting);
        close_one();
        self.free.clone().acquire_owned().await
    }

    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

/// Counts while it exists.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection {
    pub(super) fn new(share: Arc<Share>) -> Arc<Connection> {
        Arc::new(Connection {
            share,
            state: Mutex::default(),
        })
    }

    /// The connection has nothing to do.
    pub(super) fn rest(self: &Arc<Self>) {
        let all = &self.share.all;
        let idle_of_all = {
            let mut state = lock(&self.state);
            if state.idle.is_some() || state.closing {
                return;
            }
            let mut idle = lock(&all.idle);
            let place = idle.next;
            idle.next += 1;
            idle.connections.insert(place, self.clone());
            state.idle = Some(place);
            idle.connections.len()
        };
        let idle_of_client = self.share.idle.fetch_add(1, Ordering::Relaxed) + 1;
        if idle_of_client > CLIENT_IDLE || self.share.open.is_awaited() {
            self.share.close_oldest_of_client();
        } else if idle_of_all > RUNTIME_IDLE || all.open.is_awaited() {
            self.share.close_oldest_of_all();
        }
    }

    /// A request is written, so the connection is not idle. If it was to be closed, it is too late for that.
    pub(super) fn work(&self) {
        let mut state = lock(&self.state);
        state.closing = false;
        self.leave(&mut state);
    }

    /// Whether the connection is to be closed. If not, the task is woken when it is.
    pub(super) fn closes(&self, context: &Context<'_>) -> bool {
        let mut state = lock(&self.state);
        match &mut state.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        state.closing
    }

    /// The stream has been dropped.
    pub(super) fn ended(&self) {
        self.leave(&mut lock(&self.state));
    }

    fn leave(&self, state: &mut State) {
        if let Some(place) = state.idle.take()
            && lock(&self.share.all.idle)
                .connections
                .remove(&place)
                .is_some()
        {
            self.share.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        // It may have begun to work since it was chosen.
        if state.idle.take().is_some() {
            state.closing = true;
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
