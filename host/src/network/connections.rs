//! How many connections there are: open ones and idle ones, for each client and for the whole runtime. Whoever needs one
//! beyond that has an idle one closed: the oldest of the client that has the most.

use super::error::{Kind, RequestError};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Idle connections that a client keeps, whatever their origins.
pub(super) const CLIENT_IDLE: usize = 32;
/// Idle connections that all clients of a runtime keep.
const RUNTIME_IDLE: usize = 128;
/// After this time without use, a connection has no next request yet.
const SETTLED: Duration = Duration::from_millis(50);
/// Names that a client resolves at once. The system cannot be told to stop.
const LOOKUPS: usize = 8;
/// A new connection that is not used by then was made in vain: another became free before.
const UNUSED: Duration = Duration::from_secs(1);

/// The connections of a runtime.
pub(crate) struct Connections {
    open: Limit,
    idle: Mutex<Idle>,
}

/// The connections that could be closed, in the order in which they came to rest.
#[derive(Default)]
struct Idle {
    connections: BTreeMap<u64, Resting>,
    next: u64,
}

struct Resting {
    connection: Arc<Connection>,
    since: Instant,
    /// Whether it has carried a request.
    used: bool,
}

/// A client's share of the connections of a runtime.
pub(crate) struct Share {
    all: Arc<Connections>,
    open: Limit,
    lookups: Arc<Semaphore>,
}

/// A limit of open connections.
struct Limit {
    free: Arc<Semaphore>,
    /// Who waits for one to be closed.
    waiting: AtomicUsize,
    /// Those that are about to be closed.
    closing: AtomicUsize,
}

/// Permission to open a connection, until it is closed.
pub(super) struct Permits {
    _of_client: OwnedSemaphorePermit,
    _of_runtime: OwnedSemaphorePermit,
}

/// What is known about an open connection besides its stream.
pub(crate) struct Connection {
    share: Arc<Share>,
    /// Locked before the idle connections.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that were begun.
    begun: u64,
    /// Responses that were read to their end. A connection rests if there are as many, because another request may begin
    /// before the caller of the last one has seen its response.
    ended: u64,
    /// Whether the server has sent something since the last request was begun.
    answered: bool,
    /// Its place among the idle ones.
    idle: Option<u64>,
    /// It is to be closed.
    closing: bool,
    closed: bool,
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
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        })
    }

    /// Closes the oldest idle connection of a client, or of the client that has the most.
    fn close_one(&self, of: Option<&Share>) {
        while let Some((place, connection)) = self.oldest(of) {
            if connection.close(place) {
                return;
            }
        }
    }

    /// Takes the connection that [`Connections::close_one`] is about.
    fn oldest(&self, of: Option<&Share>) -> Option<(u64, Arc<Connection>)> {
        let mut idle = lock(&self.idle);
        let of = match of {
            Some(share) => std::ptr::from_ref(share),
            None => idle.counts().into_iter().max_by_key(|(_, count)| *count)?.0,
        };
        let mut connections = idle.connections.iter();
        let (place, _) = connections
            .find(|(_, resting)| resting.client() == of && resting.is_worth_closing())?;
        let place = *place;
        Some((place, idle.connections.remove(&place)?.connection))
    }

    /// Closes idle connections beyond the bounds. While calls are running, those that came to rest just now are left: the
    /// next call may have one already, and has written nothing yet.
    pub(crate) fn tidy(&self, calls_are_running: bool) {
        let mut surplus = Vec::new();
        {
            let mut idle = lock(&self.idle);
            let mut total = idle.connections.len();
            if total <= CLIENT_IDLE {
                return;
            }
            let mut counts = idle.counts();
            idle.connections.retain(|place, resting| {
                let count = counts.entry(resting.client()).or_default();
                let settled = !calls_are_running || resting.since.elapsed() > SETTLED;
                let stays = !settled || *count <= CLIENT_IDLE && total <= RUNTIME_IDLE;
                if !stays {
                    (*count, total) = (*count - 1, total - 1);
                    surplus.push((*place, resting.connection.clone()));
                }
                stays
            });
        }
        for (place, connection) in surplus {
            connection.close(place);
        }
    }
}

impl Resting {
    fn client(&self) -> *const Share {
        Arc::as_ptr(&self.connection.share)
    }

    /// Whether it has been used, or should have been by now.
    fn is_worth_closing(&self) -> bool {
        self.used || self.since.elapsed() > UNUSED
    }
}

impl Idle {
    fn insert(&mut self, connection: Arc<Connection>, used: bool) -> u64 {
        let place = self.next;
        self.next += 1;
        let resting = Resting {
            connection,
            since: Instant::now(),
            used,
        };
        self.connections.insert(place, resting);
        place
    }

    /// How many each client has.
    fn counts(&self) -> HashMap<*const Share, usize> {
        let mut counts = HashMap::new();
        for resting in self.connections.values() {
            *counts.entry(resting.client()).or_default() += 1;
        }
        counts
    }
}

impl Share {
    /// Waits until a connection may be opened. If there are too many, an idle one is closed.
    pub(super) async fn permits(&self, until: Instant) -> Result<Permits, RequestError> {
        let permits = async {
            let close_own = || self.all.close_one(Some(self));
            let of_client = self.open.take(close_own).await?;
            let of_runtime = self.all.open.take(|| self.all.close_one(None)).await?;
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

    /// Permission to resolve a name. To be kept until the system has answered, even if nobody waits for it any more.
    pub(super) async fn lookup(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.lookups.clone().acquire_owned().await
    }
}

impl Limit {
    fn new(connections: usize) -> Limit {
        let connections = connections.min(Semaphore::MAX_PERMITS);
        Limit {
            free: Arc::new(Semaphore::new(connections)),
            waiting: AtomicUsize::new(0),
            closing: AtomicUsize::new(0),
        }
    }

    async fn take(&self, close_one: impl FnOnce()) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        // Before one is closed, so that one that comes to rest meanwhile is closed, too.
        let _waiting = Waiting::new(&self.waiting);
        if self.lacks() {
            close_one();
        }
        self.free.clone().acquire_owned().await
    }

    /// Whether more wait than connections are about to be closed.
    fn lacks(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > self.closing.load(Ordering::SeqCst)
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
    /// A connection that is idle until its first request.
    pub(super) fn new(share: Arc<Share>) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            share,
            state: Mutex::default(),
        });
        connection.rest(&mut lock(&connection.state));
        connection.close_awaited();
        connection
    }

    /// Something is written. If the connection was to be closed, it is too late for that.
    pub(super) fn writes(&self) {
        let mut state = lock(&self.state);
        if state.begun > 0 && !state.answered {
            return;
        }
        state.begun += 1;
        state.answered = false;
        let kept = self.end_closing(&mut state);
        self.leave(&mut state);
        drop(state);
        if kept {
            // Another has to go in its place.
            self.close_awaited();
        }
    }

    /// Something was read.
    pub(super) fn reads(&self) {
        lock(&self.state).answered = true;
    }

    /// A response has been read to its end.
    pub(super) fn ended(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        state.ended += 1;
        if state.ended != state.begun || state.closing || state.closed || state.idle.is_some() {
            return;
        }
        self.rest(&mut state);
        drop(state);
        self.close_awaited();
    }

    /// A response was dropped before its end, so the connection is of no more use.
    pub(super) fn abandoned(&self) {
        let mut state = lock(&self.state);
        // Unless it has been used again, which only happens if the rest of the response was short.
        if state.begun == state.ended + 1 {
            self.begin_to_close(&mut state);
        }
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
    pub(super) fn closed(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.end_closing(&mut state);
        self.leave(&mut state);
    }

    fn rest(self: &Arc<Self>, state: &mut State) {
        let place = lock(&self.share.all.idle).insert(self.clone(), state.begun > 0);
        state.idle = Some(place);
    }

    fn leave(&self, state: &mut State) {
        if let Some(place) = state.idle.take() {
            lock(&self.share.all.idle).connections.remove(&place);
        }
    }

    /// Closes an idle connection if somebody waits for that.
    fn close_awaited(&self) {
        let (share, all) = (&self.share, &self.share.all);
        if share.open.lacks() {
            all.close_one(Some(share));
        } else if all.open.lacks() {
            all.close_one(None);
        }
    }

    /// Closes the connection if it still rests at this place.
    fn close(&self, place: u64) -> bool {
        let mut state = lock(&self.state);
        if state.idle != Some(place) {
            return false;
        }
        state.idle = None;
        self.begin_to_close(&mut state);
        true
    }

    fn begin_to_close(&self, state: &mut State) {
        if state.closing || state.closed {
            return;
        }
        state.closing = true;
        for limit in self.limits() {
            limit.closing.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// It is no longer about to be closed. Returns whether it was.
    fn end_closing(&self, state: &mut State) -> bool {
        let was = std::mem::take(&mut state.closing);
        for limit in self.limits().into_iter().filter(|_| was) {
            limit.closing.fetch_sub(1, Ordering::SeqCst);
        }
        was
    }

    fn limits(&self) -> [&Limit; 2] {
        [&self.share.open, &self.share.all.open]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
