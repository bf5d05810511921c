//! The protocol of one contender for a lock: a state machine without network and clock. It is told the time and the
//! replies of Consul, and says what to request next.
//!
//! There are two lanes of requests, each with at most one under way: renewals of the session, and everything else.

#[cfg(test)]
mod every_order;

use std::time::Duration;

/// A time, as the duration since some moment in the past.
pub(crate) type Time = Duration;

/// What is contended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Nothing: the session itself is what is kept.
    Session,
    Lock,
    Semaphore,
}

/// The settings of a contender.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    pub(crate) kind: Kind,
    /// A session that exists, and is only kept.
    pub(crate) session: Option<String>,
    /// How often the session is renewed.
    pub(crate) renew_every: Duration,
    /// How long after the last good renewal the lock counts as lost, if Consul does not answer.
    pub(crate) lost_after: Duration,
    /// How long to wait for the lock; zero is one attempt.
    pub(crate) wait: Option<Duration>,
}

/// How long to try to create the first session. With the last attempt's own timeout it is less than 45 s.
const START: Duration = Duration::from_secs(30);
/// How long the first attempt may take, if the time to wait is shorter.
const FIRST: Duration = Duration::from_secs(2);
/// How long to try to release and destroy.
const LEAVE: Duration = Duration::from_secs(10);
/// The same after Consul has not answered for long.
const LEAVE_UNREACHABLE: Duration = Duration::from_secs(2);
/// When a request that failed is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// When a read that is not permitted is repeated.
const RETRY_DENIED: Duration = Duration::from_secs(10);
/// How long a blocking query lasts.
const LONG_WAIT: Duration = Duration::from_secs(60);
/// After how many seconds a lock in its lock delay is tried again.
const DELAYS: [u64; 4] = [1, 2, 3, 5];
/// Who wakes so much later than planned was stopped, or the machine slept.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the time is looked at while the lock is held.
const LOOK: Duration = Duration::from_secs(1);
/// How long Consul may take to say, after a pause, that the lock is still held.
const VERIFY: Duration = Duration::from_secs(5);

/// Which of the two lanes a request is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Main,
    Renewal,
}

/// A blocking query: the index, and how long.
pub(crate) type Wait = Option<(u64, Duration)>;

/// A request to Consul.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Create,
    /// Joins a semaphore.
    Join(String),
    /// Tries to acquire.
    Attempt(String, Wait),
    /// Looks whether the lock is still held.
    Watch(String, Wait),
    Renew(String),
    /// Releases the lock, or gives up the place.
    Release(String),
    Destroy(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Send(Lane, Request),
    /// Forgets the request that is under way.
    Cancel(Lane),
}

/// A reply of Consul.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Created(String),
    Joined,
    /// It is held, with this fencing token.
    Acquired(u64),
    /// These sessions hold it; the index.
    Occupied(Vec<String>, u64),
    /// Nobody holds it, but Consul refuses it; the index.
    Delayed(u64),
    /// Whether it is still held, and the index.
    Watched(bool, u64),
    Renewed,
    /// It is released, or destroyed.
    Done,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Failure<E> {
    pub(crate) kind: FailureKind,
    pub(crate) error: E,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FailureKind {
    /// The session does not exist.
    Gone,
    /// There was no connection.
    Unreachable,
    /// It may succeed later.
    Later,
    Denied,
    /// It will not succeed.
    Never,
}

/// Why a lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// The session has ended: it was destroyed, its node failed, or it was not renewed in time.
    SessionEnded,
    /// The key no longer names the session, because the session has ended, or because somebody deleted the key.
    Taken,
    /// Consul could not be asked for so long that the session may have ended.
    Unreachable,
    /// The token may no longer renew the session.
    Denied,
}

/// Where a contender is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status<E> {
    Starting,
    /// Waits for these holders, or for the lock delay.
    Waiting {
        holders: Vec<String>,
        delayed: bool,
    },
    Held {
        session: String,
        token: u64,
    },
    Lost(Loss),
    Leaving,
    Ended(End<E>),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End<E> {
    /// After it was held, or because nobody wants it any more.
    Left,
    /// It was not acquired in time: these sessions held it, or it was in its lock delay.
    TimedOut {
        holders: Vec<String>,
        delayed: bool,
    },
    /// Consul did not answer in time.
    Unanswered,
    Failed(E),
}

/// A contender for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Contender<E> {
    settings: Settings,
    begun: Time,
    phase: Phase<E>,
    session: Option<Session>,
    /// Whether there was a session before.
    started: bool,
    main: Option<Sent>,
    renewal: Option<Sent>,
    /// When the main lane sends again.
    next_at: Time,
    /// What Consul must be told before the session goes.
    to_release: bool,
    /// When it wants to be woken.
    promised: Option<Time>,
    /// What to forget.
    cancelled: Vec<Lane>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    id: String,
    /// When the last good renewal was sent.
    renewed: Time,
    renew_at: Time,
    /// Whether the last renewal failed, and was denied.
    failed: Option<FailureKind>,
}

/// A request under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    request: Request,
    at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase<E> {
    Creating,
    Joining,
    Waiting {
        index: u64,
        holders: Vec<String>,
        /// How often it was in its lock delay, one after the other.
        delays: usize,
        /// Whether Consul has answered an attempt.
        tried: bool,
    },
    Held {
        token: u64,
        index: u64,
        /// Consul is asked, after a pause, whether it is still held: until when, and what it has confirmed.
        verifying: Option<Verifying>,
    },
    Lost(Loss),
    Leaving {
        until: Time,
        end: End<E>,
    },
    Ended(End<E>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Verifying {
    until: Time,
    renewed: bool,
    seen: bool,
}

impl<E: Clone> Contender<E> {
    pub(crate) fn new(settings: Settings, now: Time) -> Contender<E> {
        let (phase, session) = match &settings.session {
            None => (Phase::Creating, None),
            Some(id) => {
                let session = Session {
                    id: id.clone(),
                    renewed: now,
                    renew_at: now,
                    failed: None,
                };
                (held(0), Some(session))
            }
        };
        Contender {
            settings,
            begun: now,
            phase,
            started: session.is_some(),
            session,
            main: None,
            renewal: None,
            next_at: now,
            to_release: false,
            promised: None,
            cancelled: Vec::new(),
        }
    }

    pub(crate) fn status(&self) -> Status<E> {
        match &self.phase {
            Phase::Creating | Phase::Joining | Phase::Waiting { tried: false, .. } => {
                Status::Starting
            }
            Phase::Waiting {
                holders, delays, ..
            } => Status::Waiting {
                holders: holders.clone(),
                delayed: *delays > 0,
            },
            Phase::Held { token, .. } => Status::Held {
                session: self.id().unwrap_or_default(),
                token: *token,
            },
            Phase::Lost(loss) => Status::Lost(*loss),
            Phase::Leaving { .. } => Status::Leaving,
            Phase::Ended(end) => Status::Ended(end.clone()),
        }
    }

    /// Whether the lock is held for certain: nobody else can hold it now.
    #[cfg(test)]
    pub(super) fn is_sure(&self, now: Time) -> bool {
        matches!(
            self.phase,
            Phase::Held {
                verifying: None,
                ..
            }
        ) && self.is_alive(now)
    }

    /// Whether the session exists for certain.
    fn is_alive(&self, now: Time) -> bool {
        let session = self.session.as_ref();
        session
            .is_some_and(|session| now < session.renewed.saturating_add(self.settings.lost_after))
    }

    /// Says what to do now.
    pub(crate) fn next(&mut self, now: Time) -> Vec<Action> {
        let paused = self.promised.is_some_and(|promised| now > promised + PAUSE);
        self.look(now, paused);
        let mut actions: Vec<Action> = self.cancelled.drain(..).map(Action::Cancel).collect();
        if let Some(request) = self.renewal_due(now) {
            self.renewal = Some(Sent {
                request: request.clone(),
                at: now,
            });
            actions.push(Action::Send(Lane::Renewal, request));
        }
        if self.main.is_none()
            && now >= self.next_at
            && let Some(request) = self.main_request(now)
        {
            self.to_release |= matches!(request, Request::Join(_) | Request::Attempt(..));
            self.main = Some(Sent {
                request: request.clone(),
                at: now,
            });
            actions.push(Action::Send(Lane::Main, request));
        }
        actions
    }

    /// When to call [`Contender::next`] again, if nothing happens before.
    pub(crate) fn wake_at(&mut self, now: Time) -> Option<Time> {
        let main = self.main.is_none().then_some(self.next_at);
        let renewal = match &self.session {
            Some(session) if self.renewal.is_none() && self.renews() => Some(session.renew_at),
            _ => None,
        };
        let own = match &self.phase {
            Phase::Creating | Phase::Joining | Phase::Waiting { .. } => (main, self.give_up_at()),
            Phase::Held { verifying, .. } => {
                // A session without a lock has nothing to look at.
                let main = main.filter(|_| self.settings.kind != Kind::Session);
                let lost = self.session.as_ref().map_or(now, |session| {
                    session.renewed.saturating_add(self.settings.lost_after)
                });
                let until = verifying.map_or(lost, |verifying| verifying.until);
                (main, Some(until.min(now + LOOK)))
            }
            Phase::Leaving { until, .. } => (main, Some(*until)),
            Phase::Lost(_) | Phase::Ended(_) => (None, None),
        };
        let wake_at = [own.0, own.1, renewal].into_iter().flatten().min();
        self.promised = wake_at.map(|at| at.max(now));
        self.promised
    }

    /// Nobody wants the lock any more.
    pub(crate) fn leave(&mut self, now: Time) {
        self.leave_because(now, End::Left);
    }

    /// A reply has arrived, or there is none.
    pub(crate) fn reply(&mut self, now: Time, lane: Lane, reply: Result<Reply, Failure<E>>) {
        let sent = match lane {
            Lane::Main => self.main.take(),
            Lane::Renewal => self.renewal.take(),
        };
        match (lane, sent) {
            (Lane::Renewal, Some(sent)) => self.renewal_reply(now, sent.at, reply),
            (Lane::Main, Some(sent)) => self.main_reply(now, &sent, reply),
            (_, None) => {}
        }
    }

    fn id(&self) -> Option<String> {
        self.session.as_ref().map(|session| session.id.clone())
    }

    /// When waiting ends.
    fn give_up_at(&self) -> Option<Time> {
        let wait = self.settings.wait.filter(|wait| !wait.is_zero())?;
        let wait = match self.phase {
            Phase::Waiting { tried: true, .. } => wait,
            _ => wait.max(FIRST),
        };
        Some(self.begun.saturating_add(wait))
    }

    fn renews(&self) -> bool {
        matches!(
            self.phase,
            Phase::Joining | Phase::Waiting { .. } | Phase::Held { .. }
        )
    }

    /// What the time alone changes.
    fn look(&mut self, now: Time, paused: bool) {
        match &mut self.phase {
            Phase::Creating | Phase::Joining | Phase::Waiting { .. } => {
                if self.give_up_at().is_some_and(|at| now >= at) {
                    self.give_up(now);
                }
            }
            Phase::Held {
                index, verifying, ..
            } => {
                let Some(session) = &mut self.session else {
                    return;
                };
                let lost = now >= session.renewed.saturating_add(self.settings.lost_after);
                if paused && verifying.is_none() {
                    // Connections may be dead, and timers late: ask anew.
                    if lost {
                        *verifying = Some(Verifying {
                            until: now + VERIFY,
                            renewed: false,
                            seen: self.settings.kind == Kind::Session,
                        });
                    }
                    session.renew_at = now;
                    // At once, and not when something changes.
                    *index = 0;
                    self.next_at = now;
                    self.cancel(Lane::Main);
                    self.cancel(Lane::Renewal);
                } else if let Some(verifying) = verifying {
                    if now >= verifying.until {
                        self.lose(Loss::Unreachable);
                    }
                } else if lost {
                    let loss = match session.failed {
                        Some(FailureKind::Denied) => Loss::Denied,
                        _ => Loss::Unreachable,
                    };
                    self.lose(loss);
                }
            }
            Phase::Leaving { until, .. } => {
                if now >= *until {
                    self.end();
                }
            }
            Phase::Lost(_) | Phase::Ended(_) => {}
        }
    }

    fn renewal_due(&self, now: Time) -> Option<Request> {
        let session = self.session.as_ref()?;
        let due = self.renews() && self.renewal.is_none() && now >= session.renew_at;
        due.then(|| Request::Renew(session.id.clone()))
    }

    fn main_request(&mut self, now: Time) -> Option<Request> {
        let id = self.id();
        match (&self.phase, id) {
            (Phase::Creating, _) => Some(Request::Create),
            (Phase::Joining, Some(id)) => Some(Request::Join(id)),
            (Phase::Waiting { index, delays, .. }, Some(id)) => {
                let longest = match *delays {
                    0 => LONG_WAIT,
                    delays => Duration::from_secs(DELAYS[(delays - 1).min(DELAYS.len() - 1)]),
                };
                let left = self
                    .give_up_at()
                    .map_or(longest, |at| at.saturating_sub(now));
                let wait = (*index, longest.min(left).max(Duration::from_millis(1)));
                Some(Request::Attempt(id, Some(wait).filter(|_| *index > 0)))
            }
            (Phase::Held { .. }, Some(_)) if self.settings.kind == Kind::Session => None,
            (Phase::Held { index, .. }, Some(id)) => {
                let wait = Some((*index, LONG_WAIT)).filter(|_| *index > 0);
                Some(Request::Watch(id, wait))
            }
            (Phase::Leaving { .. }, Some(id)) => {
                if self.to_release {
                    Some(Request::Release(id))
                } else if self.settings.session.is_none() {
                    Some(Request::Destroy(id))
                } else {
                    self.end();
                    None
                }
            }
            (Phase::Leaving { .. }, None) => {
                self.end();
                None
            }
            _ => None,
        }
    }

    fn renewal_reply(&mut self, now: Time, sent: Time, reply: Result<Reply, Failure<E>>) {
        let Some(session) = &mut self.session else {
            return;
        };
        match reply {
            Ok(_) => {
                session.renewed = sent;
                session.renew_at = sent + self.settings.renew_every;
                if session.failed.take().is_some() {
                    // What was sent to a Consul that did not answer may never be answered.
                    self.next_at = now;
                    self.cancel(Lane::Main);
                }
                if let Phase::Held {
                    verifying: Some(verifying),
                    ..
                } = &mut self.phase
                {
                    verifying.renewed = true;
                }
                self.end_verifying();
            }
            Err(Failure {
                kind: FailureKind::Gone,
                ..
            }) => match self.phase {
                Phase::Held { .. } => self.lose(Loss::SessionEnded),
                _ => self.begin_anew(now),
            },
            Err(failure) => {
                session.failed = Some(failure.kind);
                session.renew_at = now + RETRY;
            }
        }
    }

    fn main_reply(&mut self, now: Time, sent: &Sent, reply: Result<Reply, Failure<E>>) {
        self.next_at = now;
        match reply {
            Ok(reply) => self.main_success(now, sent.at, reply),
            Err(failure) => self.main_failure(now, sent, failure),
        }
    }

    fn main_success(&mut self, now: Time, sent: Time, reply: Reply) {
        let alive = self.is_alive(now);
        match (&mut self.phase, reply) {
            // After a pause, this session may have ended.
            (Phase::Creating, Reply::Created(_))
                if self.settings.kind == Kind::Session
                    && now >= sent.saturating_add(self.settings.lost_after) => {}
            (_, Reply::Created(id)) => {
                self.session = Some(Session {
                    id,
                    renewed: sent,
                    renew_at: sent + self.settings.renew_every,
                    failed: None,
                });
                self.started = true;
                if let Phase::Creating = self.phase {
                    self.phase = match self.settings.kind {
                        Kind::Session => held(0),
                        Kind::Lock => waiting(),
                        Kind::Semaphore => Phase::Joining,
                    };
                }
            }
            (Phase::Joining, Reply::Joined) => self.phase = waiting(),
            (Phase::Waiting { index, .. }, Reply::Acquired(_)) if !alive => {
                // After a pause, the reply is old news. The session has to be renewed first.
                *index = 0;
                self.next_at = now + RETRY;
                if let Some(session) = &mut self.session {
                    session.renew_at = now;
                }
            }
            (Phase::Waiting { .. }, Reply::Acquired(token)) => {
                self.phase = Phase::Held {
                    token,
                    index: token,
                    verifying: None,
                };
            }
            (
                Phase::Waiting {
                    index,
                    holders,
                    delays,
                    tried,
                },
                reply @ (Reply::Occupied(..) | Reply::Delayed(_)),
            ) => {
                *tried = true;
                let seen = match reply {
                    Reply::Occupied(now_holding, seen) => {
                        (*holders, *delays) = (now_holding, 0);
                        seen
                    }
                    Reply::Delayed(seen) => {
                        (*holders, *delays) = (Vec::new(), *delays + 1);
                        seen
                    }
                    _ => 0,
                };
                // An index that goes backwards is one of a restored snapshot.
                *index = if seen < *index { 0 } else { seen };
                if self.settings.wait == Some(Duration::ZERO) {
                    self.give_up(now);
                }
            }
            (Phase::Held { .. }, Reply::Watched(false, _)) => self.lose(Loss::Taken),
            (
                Phase::Held {
                    index, verifying, ..
                },
                Reply::Watched(true, seen),
            ) => {
                *index = if seen < *index { 0 } else { seen };
                if let Some(verifying) = verifying {
                    verifying.seen = true;
                }
                self.end_verifying();
            }
            (Phase::Leaving { .. }, Reply::Done) => self.left_step(),
            _ => {}
        }
    }

    fn main_failure(&mut self, now: Time, sent: &Sent, failure: Failure<E>) {
        let Failure { kind, error } = failure;
        let first = !self.started;
        let too_late = now >= self.begun + START;
        match &mut self.phase {
            Phase::Creating if first => match kind {
                FailureKind::Later if !too_late => self.next_at = now + RETRY,
                _ => self.leave_because(now, End::Failed(error)),
            },
            Phase::Creating => match kind {
                FailureKind::Later | FailureKind::Unreachable => self.next_at = now + RETRY,
                _ => self.leave_because(now, End::Failed(error)),
            },
            Phase::Joining | Phase::Waiting { .. } => {
                let tried = matches!(self.phase, Phase::Waiting { tried: true, .. });
                match kind {
                    // Its place is gone, but perhaps not its session.
                    FailureKind::Gone
                        if self.settings.kind == Kind::Semaphore
                            && matches!(self.phase, Phase::Waiting { .. }) =>
                    {
                        self.phase = Phase::Joining;
                    }
                    FailureKind::Gone => self.begin_anew(now),
                    FailureKind::Later | FailureKind::Unreachable
                        if tried || self.settings.wait != Some(Duration::ZERO) || !too_late =>
                    {
                        self.next_at = now + RETRY;
                        if let Phase::Waiting { index, .. } = &mut self.phase {
                            *index = 0;
                        }
                    }
                    _ => self.leave_because(now, End::Failed(error)),
                }
            }
            Phase::Held { index, .. } => {
                *index = 0;
                self.next_at = match kind {
                    FailureKind::Later | FailureKind::Unreachable | FailureKind::Gone => {
                        now + RETRY
                    }
                    FailureKind::Denied | FailureKind::Never => now + RETRY_DENIED,
                };
            }
            Phase::Leaving { .. } => match kind {
                FailureKind::Later | FailureKind::Unreachable
                    if sent.request != Request::Create =>
                {
                    self.next_at = now + RETRY;
                }
                _ => self.left_step(),
            },
            Phase::Lost(_) | Phase::Ended(_) => {}
        }
    }

    /// A step of leaving is done, or cannot be done.
    fn left_step(&mut self) {
        if self.to_release {
            self.to_release = false;
        } else {
            self.session = None;
        }
    }

    /// The session has ended while the lock was waited for.
    fn begin_anew(&mut self, now: Time) {
        self.session = None;
        self.to_release = false;
        self.next_at = now;
        self.cancel(Lane::Main);
        self.cancel(Lane::Renewal);
        self.phase = Phase::Creating;
    }

    fn end_verifying(&mut self) {
        if let Phase::Held { verifying, .. } = &mut self.phase
            && verifying.is_some_and(|verifying| verifying.renewed && verifying.seen)
        {
            *verifying = None;
        }
    }

    /// The time to wait is over.
    fn give_up(&mut self, now: Time) {
        let end = match &self.phase {
            Phase::Waiting {
                holders,
                delays,
                tried: true,
                ..
            } => End::TimedOut {
                holders: holders.clone(),
                delayed: *delays > 0,
            },
            _ => End::Unanswered,
        };
        self.leave_because(now, end);
    }

    fn lose(&mut self, loss: Loss) {
        self.cancel(Lane::Main);
        self.cancel(Lane::Renewal);
        self.phase = Phase::Lost(loss);
    }

    fn leave_because(&mut self, now: Time, end: End<E>) {
        if let Phase::Leaving { .. } | Phase::Ended(_) = self.phase {
            return;
        }
        // The id of a session that is being created is not known before the reply.
        let creating = self.main.as_ref();
        if !creating.is_some_and(|sent| sent.request == Request::Create) {
            self.cancel(Lane::Main);
            self.next_at = now;
        }
        self.cancel(Lane::Renewal);
        let until = match self.phase {
            Phase::Lost(Loss::Unreachable) => now + LEAVE_UNREACHABLE,
            _ if matches!(end, End::Unanswered) => now + LEAVE_UNREACHABLE,
            _ => now + LEAVE,
        };
        self.phase = Phase::Leaving { until, end };
    }

    fn end(&mut self) {
        self.cancel(Lane::Main);
        self.cancel(Lane::Renewal);
        if let Phase::Leaving { end, .. } = &self.phase {
            self.phase = Phase::Ended(end.clone());
        }
    }

    fn cancel(&mut self, lane: Lane) {
        let sent = match lane {
            Lane::Main => self.main.take(),
            Lane::Renewal => self.renewal.take(),
        };
        if sent.is_some() {
            self.cancelled.push(lane);
        }
    }
}

fn held<E>(token: u64) -> Phase<E> {
    Phase::Held {
        token,
        index: 0,
        verifying: None,
    }
}

fn waiting<E>() -> Phase<E> {
    Phase::Waiting {
        index: 0,
        holders: Vec::new(),
        delays: 0,
        tried: false,
    }
}
