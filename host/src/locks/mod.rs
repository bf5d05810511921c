//! Locks, semaphores and sessions that are kept alive.

mod clock;
mod contender;
mod driver;
#[cfg(test)]
mod linearizable;
#[cfg(test)]
mod simulation;

pub use contender::Loss;

use crate::client::Client;
use crate::component::locks as wire;
use crate::error::{Error, ErrorKind, Result};
use crate::session::{Behavior, NewSession};
use contender::{Contender, End, Kind, Settings, Status};
use driver::{Object, Target, drive};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The TTL of a lock's session, unless another is set. Consul frees the lock of a holder that died after twice as long.
const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// A renewal gets at least this long.
const MIN_RENEWAL: Duration = Duration::from_secs(2);

impl Client {
    /// Prepares to acquire the lock of this key. The client's policy must allow the key ([`Policy::locks`](crate::Policy::locks)).
    pub fn lock(&self, key: impl Into<String>) -> LockBuilder {
        let key = key.into();
        let delete_key = false;
        LockBuilder::new(self, Object::Lock { key, delete_key })
    }

    /// Prepares to take one of `places` places in the semaphore of this prefix. Everyone must use the same number.
    pub fn semaphore(&self, prefix: impl Into<String>, places: u32) -> LockBuilder {
        let prefix = prefix.into();
        let mut builder = LockBuilder::new(self, Object::Semaphore { prefix, places });
        // So that nothing of a contender that died is left.
        builder.session.behavior = Some(Behavior::Delete);
        builder
    }

    /// Prepares to create a session and to keep it alive, without a lock.
    pub fn session(&self) -> LockBuilder {
        LockBuilder::new(self, Object::Session)
    }

    /// Keeps a session alive that exists already, until the result is dropped. The session is not destroyed then.
    ///
    /// Needs the executor of tokio.
    pub fn keep_alive(&self, session: impl Into<String>, ttl: Duration) -> Lock {
        let mut builder = self.session().ttl(ttl);
        let session = session.into();
        builder.existing = Some(session.clone());
        Lock {
            running: builder.start(None),
            session,
            token: 0,
        }
    }

    /// Returns who holds the lock of this key.
    pub async fn holder(&self, key: &str) -> Result<Holder> {
        Ok(Holder::from(self.holding(key, None).await?))
    }

    /// Returns the sessions that have a place in the semaphore of this prefix, and the number of its places, if it exists.
    pub async fn semaphore_holders(&self, prefix: &str) -> Result<(Vec<String>, Option<u32>)> {
        let membership = self.places_of(prefix, None).await?;
        Ok((membership.sessions, membership.limit))
    }

    /// Writes a value to a key, if and only if this session holds the lock at that moment. The key keeps its flags. Returns
    /// its new `ModifyIndex`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the lock is not held, or if another session holds the key.
    pub async fn write(&self, lock: &HeldBy<'_>, key: &str, value: &[u8]) -> Result<u64> {
        self.write_under(&lock.into(), key, value).await
    }

    /// Deletes a key, if and only if this session holds the lock at that moment.
    ///
    /// # Errors
    ///
    /// Those of [`Client::write`].
    pub async fn delete(&self, lock: &HeldBy<'_>, key: &str) -> Result<()> {
        self.delete_under(&lock.into(), key).await
    }
}

/// A lock's key, and the session that should hold it.
#[derive(Clone, Copy, Debug)]
pub struct HeldBy<'a> {
    /// The key.
    pub key: &'a str,
    /// The session's id.
    pub session: &'a str,
}

impl From<&HeldBy<'_>> for wire::Lock {
    fn from(held: &HeldBy<'_>) -> wire::Lock {
        wire::Lock {
            key: held.key.to_owned(),
            session: held.session.to_owned(),
        }
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The session, or none if the lock is free.
    pub session: Option<String>,
    /// The value of the key.
    pub value: Vec<u8>,
    /// The flags of the key, or 0 if it does not exist.
    pub flags: u64,
    /// The key's `ModifyIndex`, or 0 if it does not exist. While its holder does not change the key, this is the fencing
    /// token.
    pub modify_index: u64,
}

impl Holder {
    /// Whether the key lists the places of a semaphore.
    pub fn is_semaphore(&self) -> bool {
        self.flags == 0xe0f6_9a2b_aa41_4de0
    }
}

impl From<wire::Holding> for Holder {
    fn from(holding: wire::Holding) -> Holder {
        Holder {
            session: holding.session,
            value: holding.value,
            flags: holding.flags,
            modify_index: holding.modify_index,
        }
    }
}

/// The settings of a lock, a semaphore or a session that is to be kept.
#[must_use]
pub struct LockBuilder {
    client: Client,
    session: NewSession,
    existing: Option<String>,
    object: Object,
    value: Vec<u8>,
    lost_after: Option<Duration>,
    renew_every: Option<Duration>,
}

impl fmt::Debug for LockBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockBuilder")
            .field("client", &self.client)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// How an attempt goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Its session is created, and it has not tried yet.
    Starting,
    /// These sessions hold the lock, or all places. If it is empty, somebody else was faster.
    Occupied(Vec<String>),
    /// Nobody holds the lock, but Consul refuses it, because a holder's session ended less than its lock delay ago.
    Delayed,
    /// It gives up, and cleans up.
    Leaving,
    /// The lock is held.
    Acquired,
    /// It was not acquired in time.
    TimedOut,
}

impl LockBuilder {
    fn new(client: &Client, object: Object) -> LockBuilder {
        LockBuilder {
            client: client.clone(),
            // Without checks: if its node seems to have failed, Consul would end the session of a holder that still works, and
            // that it cannot tell, before the holder knows. So only the TTL counts.
            session: NewSession::named("consul-session lock")
                .ttl(DEFAULT_TTL)
                .node_checks::<&str>([]),
            existing: None,
            object,
            value: Vec::new(),
            lost_after: None,
            renew_every: None,
        }
    }

    /// Sets how long the session lives without a renewal. Default: 15 s. Consul frees the lock of a holder that died after
    /// twice as long, and an election of a leader may take longer than 15 s: see docs/locks.md.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.session.ttl = Some(ttl);
        self
    }

    /// Sets how long the lock stays blocked after the session has ended without releasing it. Default: Consul's, 15 s.
    pub fn lock_delay(mut self, lock_delay: Duration) -> Self {
        self.session.lock_delay = Some(lock_delay);
        self
    }

    /// Sets the name of the session. Default: `consul-session lock`.
    pub fn session_name(mut self, name: impl Into<String>) -> Self {
        self.session.name = Some(name.into());
        self
    }

    /// Sets the value that the key has while the lock is held, for people who look. Default: none.
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = value.into();
        self
    }

    /// Sets whether the key is deleted when the lock is released. Default: it stays, with its value.
    pub fn delete_key(mut self, delete_key: bool) -> Self {
        if let Object::Lock {
            delete_key: own, ..
        } = &mut self.object
        {
            *own = delete_key;
        }
        self
    }

    /// Sets how long after the last good renewal the lock counts as lost if Consul cannot be asked. Default: the TTL.
    ///
    /// Nobody else gets the lock before twice the TTL plus the lock delay have passed (a semaphore has no lock delay). A
    /// holder that needs time to stop should be told so much earlier.
    pub fn lost_after(mut self, lost_after: Duration) -> Self {
        self.lost_after = Some(lost_after);
        self
    }

    /// Sets how often the session is renewed. Default: a third of the TTL.
    pub fn renew_every(mut self, renew_every: Duration) -> Self {
        self.renew_every = Some(renew_every);
        self
    }

    /// Waits for the lock, however long that takes: through elections of a leader and outages.
    ///
    /// Needs the executor of tokio, whose task renews the session until the lock is released or dropped. Dropping the
    /// future gives up: what was begun is released and destroyed in the background.
    ///
    /// # Errors
    ///
    /// Fails if the first session cannot be created within 30 s, at once if nobody listens at the address, if a parameter is wrong or permission is missing, and with
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the key is used for something else.
    pub async fn acquire(self) -> Result<Lock> {
        let lock = self.contend(None).acquired().await?;
        lock.ok_or_else(|| {
            Error::new(
                ErrorKind::Other,
                "the executor ended before the lock was free",
            )
        })
    }

    /// Acquires the lock if it is free, and returns none if not: if it is held, or in its lock delay.
    ///
    /// # Errors
    ///
    /// Those of [`LockBuilder::acquire`].
    pub async fn try_acquire(self) -> Result<Option<Lock>> {
        self.acquire_within(Duration::ZERO).await
    }

    /// Waits for the lock for so long at most, and returns none if it was not free by then.
    ///
    /// # Errors
    ///
    /// Those of [`LockBuilder::acquire`].
    pub async fn acquire_within(self, wait: Duration) -> Result<Option<Lock>> {
        self.contend(Some(wait)).acquired().await
    }

    /// Begins to contend for the lock, and returns what tells how it goes on.
    pub fn contend(self, wait: Option<Duration>) -> Contending {
        Contending {
            running: self.start(wait),
            shown: None,
        }
    }

    fn start(self, wait: Option<Duration>) -> Running {
        let ttl = self.session.ttl.unwrap_or(DEFAULT_TTL);
        let renew_every = self.renew_every.unwrap_or(ttl / 3);
        let target = Arc::new(Target {
            object: self.object,
            client: self.client,
            session: self.session,
            value: self.value,
            renewal: (ttl / 3).max(MIN_RENEWAL),
        });
        let settings = Settings {
            kind: match target.object {
                Object::Session => Kind::Session,
                Object::Lock { .. } => Kind::Lock,
                Object::Semaphore { .. } => Kind::Semaphore,
            },
            session: self.existing,
            renew_every,
            lost_after: self.lost_after.unwrap_or(ttl),
            wait,
        };
        let contender = Contender::new(settings, clock::now());
        let (sender, status) = watch::channel(contender.status());
        let (wanted, dropped) = oneshot::channel();
        tokio::spawn(drive(target.clone(), contender, sender, dropped));
        Running {
            target,
            status,
            wanted,
        }
    }
}

/// A contender under way. It gives up when this is dropped.
struct Running {
    target: Arc<Target>,
    status: watch::Receiver<Status<Error>>,
    wanted: oneshot::Sender<()>,
}

impl Running {
    /// Gives up, and waits until everything is released and destroyed, or cannot be.
    async fn end(self) {
        drop(self.wanted);
        let mut status = self.status;
        let ended = |status: &Status<Error>| matches!(status, Status::Ended(_));
        // If the task is gone, the executor is going.
        let _ = status.wait_for(ended).await;
    }
}

/// An attempt to acquire a lock. Dropping it gives up.
#[must_use]
pub struct Contending {
    running: Running,
    shown: Option<Progress>,
}

impl fmt::Debug for Contending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contending").finish_non_exhaustive()
    }
}

impl Contending {
    /// Waits for the next change, and says what it is. Cancel-safe: the attempt goes on.
    ///
    /// # Errors
    ///
    /// Those of [`LockBuilder::acquire`].
    pub async fn next(&mut self) -> Result<Progress> {
        loop {
            let progress = match &*self.running.status.borrow_and_update() {
                Status::Starting => Progress::Starting,
                Status::Waiting { delayed: true, .. } => Progress::Delayed,
                Status::Waiting { holders, .. } => Progress::Occupied(holders.clone()),
                Status::Held { .. } | Status::Lost(_) => return Ok(Progress::Acquired),
                Status::Ended(End::Failed(error)) => return Err(error.clone()),
                Status::Ended(End::Unanswered) => {
                    let message = "Consul did not answer within the time to wait for the lock";
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
                Status::Ended(End::TimedOut { holders, delayed }) => {
                    let why = match delayed {
                        true => Progress::Delayed,
                        false => Progress::Occupied(holders.clone()),
                    };
                    // First what it waited for, if that was not said yet.
                    match &self.shown {
                        Some(Progress::Delayed | Progress::Occupied(_)) => Progress::TimedOut,
                        _ => why,
                    }
                }
                Status::Ended(_) => return Ok(Progress::TimedOut),
                Status::Leaving => Progress::Leaving,
            };
            if progress == Progress::TimedOut || self.shown.as_ref() != Some(&progress) {
                self.shown = Some(progress.clone());
                return Ok(progress);
            }
            if self.running.status.changed().await.is_err() {
                // The executor is going.
                return Ok(Progress::TimedOut);
            }
        }
    }

    /// Waits until the lock is held. Returns none if it was not acquired in time. Dropping the future gives up.
    ///
    /// # Errors
    ///
    /// Those of [`LockBuilder::acquire`].
    pub async fn acquired(mut self) -> Result<Option<Lock>> {
        loop {
            match self.next().await? {
                Progress::Acquired => return Ok(self.into_lock()),
                Progress::TimedOut => return Ok(None),
                _ => {}
            }
        }
    }

    /// The lock, after [`Contending::next`] has returned [`Progress::Acquired`].
    pub fn into_lock(self) -> Option<Lock> {
        let (session, token) = match &*self.running.status.borrow() {
            Status::Held { session, token } => (session.clone(), *token),
            // Lost already.
            Status::Lost(_) => (String::new(), 0),
            _ => return None,
        };
        Some(Lock {
            running: self.running,
            session,
            token,
        })
    }

    /// Gives up, and waits until everything is released and destroyed, or cannot be.
    pub async fn give_up(self) {
        self.running.end().await;
    }
}

/// A lock that is held, a place in a semaphore, or a session that is kept alive.
///
/// A task of tokio's executor renews the session. Dropping this releases the lock and destroys the session in the
/// background, as long as the executor runs; [`Lock::release`] waits for that.
#[must_use]
pub struct Lock {
    running: Running,
    session: String,
    token: u64,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("key", &self.key())
            .field("session", &self.session)
            .field("fencing_token", &self.token)
            .finish()
    }
}

impl Lock {
    /// The fencing token: Consul's index of the acquisition. It is higher for every later acquisition of the same lock. A
    /// session without a lock has 0.
    pub fn fencing_token(&self) -> u64 {
        self.token
    }

    /// The id of the session.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The key that the session holds: the lock's, or in a semaphore the contender's own. Empty for a session without a
    /// lock.
    pub fn key(&self) -> String {
        match &self.running.target.object {
            Object::Session => String::new(),
            Object::Lock { key, .. } => key.clone(),
            Object::Semaphore { prefix, .. } => format!("{prefix}/{}", self.session),
        }
    }

    /// Waits until the lock is lost, and says why. While it is held, the future is pending. Cancel-safe.
    pub async fn lost(&self) -> Loss {
        let mut status = self.running.status.clone();
        let lost = |status: &Status<Error>| matches!(status, Status::Lost(_) | Status::Ended(_));
        match status.wait_for(lost).await.as_deref() {
            Ok(Status::Lost(loss)) => *loss,
            // The task that renewed it is gone, and the executor with it.
            Ok(_) | Err(_) => Loss::Unreachable,
        }
    }

    /// Whether the lock is lost, as far as is known.
    pub fn is_lost(&self) -> bool {
        !matches!(&*self.running.status.borrow(), Status::Held { .. })
    }

    /// Writes a value to a key, if and only if the lock is held at that moment. See [`Client::write`].
    ///
    /// # Errors
    ///
    /// Those of [`Client::write`].
    pub async fn write(&self, key: &str, value: &[u8]) -> Result<u64> {
        let own = self.key();
        self.running
            .target
            .client
            .write(&self.held(&own), key, value)
            .await
    }

    /// Deletes a key, if and only if the lock is held at that moment.
    ///
    /// # Errors
    ///
    /// Those of [`Client::write`].
    pub async fn delete(&self, key: &str) -> Result<()> {
        let own = self.key();
        self.running
            .target
            .client
            .delete(&self.held(&own), key)
            .await
    }

    fn held<'a>(&'a self, key: &'a str) -> HeldBy<'a> {
        HeldBy {
            key,
            session: &self.session,
        }
    }

    /// Releases the lock, destroys the session, and waits until that is done, for 10 s at most: without Consul, the TTL
    /// does it. If the future is dropped, it goes on in the background.
    pub async fn release(self) {
        self.running.end().await;
    }
}
