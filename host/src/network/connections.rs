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

/// If nobody who waits for a connection gets one for this long, another is closed.
const STUCK: Duration = Duration::from_millis(50);
/// A connection that has carried more than this is not used again: the buffer it was written from never shrinks.
const MAX_WRITTEN: usize = 64 << 10;

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
    /// How many of those who waited got a permit.
    taken: AtomicUsize,
    /// When somebody was first seen waiting, and `taken` then.
    seen: Mutex<Option<(Instant, usize)>>,
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
    /// The requests that use it: none, one, or for a moment two, because the next may begin before the caller of the last
    /// one has dropped its response.
    users: u32,
    /// Whether it has been used.
    used: bool,
    /// Whether something is written that has not left yet.
    unflushed: bool,
    /// Bytes that were written.
    written: usize,
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
        loop {
            let oldest = lock(&self.idle).take_oldest(of, Resting::is_worth_closing);
            match oldest {
                Some((place, connection)) if !connection.close(place) => {}
                Some(_) | None => return,
            }
        }
    }

    /// Closes idle connections beyond the bounds. While calls are running, those that came to rest just now are left: the
    /// next call may have one already, and has written nothing yet.
    pub(crate) fn tidy(&self, calls_are_running: bool) {
        let mut surplus = Vec::new();
        {
            let mut idle = lock(&self.idle);
            if idle.connections.len() <= CLIENT_IDLE {
                return;
            }
            let settled = |resting: &Resting| {
                !calls_are_running
                    || resting.is_worth_closing() && resting.since.elapsed() > SETTLED
            };
            let mut counts = idle.counts(|_| true);
            idle.connections.retain(|place, resting| {
                let count = counts.entry(resting.client()).or_default();
                let stays = *count <= CLIENT_IDLE || !settled(resting);
                if !stays {
                    *count -= 1;
                    surplus.push((*place, resting.connection.clone()));
                }
                stays
            });
            while idle.connections.len() > RUNTIME_IDLE
                && let Some(oldest) = idle.take_oldest(None, settled)
            {
                surplus.push(oldest);
            }
        }
        for (place, connection) in surplus {
            connection.close(place);
        }
    }

    /// Closes idle connections for those who wait for one, in case what they waited for did not happen: a connection that
    /// was about to be closed is used after all, or nobody runs its task, or one that was made in vain can be closed now.
    pub(crate) fn make_room(&self) {
        if self.open.is_stuck() {
            self.close_one(None);
        }
        let shares: HashMap<*const Share, Arc<Connection>> = {
            let idle = lock(&self.idle);
            let resting = idle.connections.values();
            resting
                .filter(|resting| resting.connection.share.open.is_stuck())
                .map(|resting| (resting.client(), resting.connection.clone()))
                .collect()
        };
        for connection in shares.into_values() {
            self.close_one(Some(&connection.share));
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

    /// How many of some kind each client has.
    fn counts(&self, kind: impl Fn(&Resting) -> bool) -> HashMap<*const Share, usize> {
        let mut counts = HashMap::new();
        for resting in self.connections.values().filter(|resting| kind(resting)) {
            *counts.entry(resting.client()).or_default() += 1;
        }
        counts
    }

    /// Takes the oldest of some kind: of a client, or of the client that has the most of them.
    fn take_oldest(
        &mut self,
        of: Option<&Share>,
        kind: impl Fn(&Resting) -> bool,
    ) -> Option<(u64, Arc<Connection>)> {
        let of = match of {
            Some(share) => std::ptr::from_ref(share),
            None => {
                let counts = self.counts(&kind).into_iter();
                counts.max_by_key(|(_, count)| *count)?.0
            }
        };
        let mut connections = self.connections.iter();
        let (place, _) =
            connections.find(|(_, resting)| resting.client() == of && kind(resting))?;
        let place = *place;
        Some((place, self.connections.remove(&place)?.connection))
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
            taken: AtomicUsize::new(0),
            seen: Mutex::default(),
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
        let permit = self.free.clone().acquire_owned().await;
        self.taken.fetch_add(1, Ordering::SeqCst);
        permit
    }

    /// Whether somebody waits, and nobody who waited has got a permit for a while. Asked at every tick.
    fn is_stuck(&self) -> bool {
        let mut seen = lock(&self.seen);
        let taken = self.taken.load(Ordering::SeqCst);
        let (since, before) = seen.get_or_insert_with(|| (Instant::now(), taken));
        if self.waiting.load(Ordering::SeqCst) == 0 || *before != taken {
            *seen = None;
            return false;
        }
        if since.elapsed() < STUCK {
            return false;
        }
        *seen = None;
        true
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
        state.unflushed = true;
        self.wake_up(state);
    }

    /// Some bytes were taken.
    pub(super) fn wrote(&self, bytes: usize) {
        lock(&self.state).written += bytes;
    }

    /// Everything that was written has left.
    pub(super) fn flushed(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        state.unflushed = false;
        // After the last bytes of a request whose response had ended before.
        if state.used && state.users == 0 {
            self.rest_if_possible(state);
        }
    }

    /// It no longer rests, and is not closed.
    fn wake_up(&self, mut state: MutexGuard<'_, State>) {
        let kept = self.end_closing(&mut state);
        self.leave(&mut state);
        drop(state);
        if kept {
            // Another has to go in its place.
            self.close_awaited();
        }
    }

    fn rest_if_possible(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.closing || state.closed || state.idle.is_some() {
            return;
        }
        if state.unflushed || state.written > MAX_WRITTEN {
            self.begin_to_close(&mut state);
            return;
        }
        self.rest(&mut state);
        drop(state);
        self.close_awaited();
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
        let place = lock(&self.share.all.idle).insert(self.clone(), state.used);
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
        }
        if all.open.lacks() {
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

/// A request's use of a connection, from when it got it until the response has been read or dropped.
pub(super) struct Use {
    connection: Arc<Connection>,
    /// Whether the response was read to its end.
    complete: bool,
}

impl Use {
    pub(super) fn begin(connection: Arc<Connection>) -> Use {
        let mut state = lock(&connection.state);
        state.users += 1;
        state.used = true;
        connection.wake_up(state);
        Use {
            connection,
            complete: false,
        }
    }

    pub(super) fn is_of(&self, connection: &Arc<Connection>) -> bool {
        Arc::ptr_eq(&self.connection, connection)
    }

    /// The response has been read to its end.
    pub(super) fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut state = lock(&self.connection.state);
        state.users -= 1;
        if state.users > 0 {
            // The next request has begun, so this one's response is complete, whoever has read it.
        } else if self.complete {
            self.connection.rest_if_possible(state);
        } else {
            // The rest of the response may come, so it is of no more use.
            self.connection.begin_to_close(&mut state);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
