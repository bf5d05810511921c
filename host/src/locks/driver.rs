//! Runs a contender: sends its requests through the client, and tells it the time and the replies.

use super::clock;
use super::contender::{Action, Contender, Failure, FailureKind, Lane, Reply, Request, Status};
use crate::client::{self, Client};
use crate::component::locks::{Lock, Outcome, Place, Wait};
use crate::error::{Error, ErrorKind};
use crate::session::{NewSession, nanoseconds};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The time limit of a create. Consul needs 7.3 s to report that it has no leader.
const CREATE: Duration = Duration::from_secs(10);
/// The time limit of a release.
const RELEASE: Duration = Duration::from_secs(5);

/// What is contended for, and with what.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) session: NewSession,
    pub(super) object: Object,
    pub(super) value: Vec<u8>,
    /// The time limit of a renewal.
    pub(super) renewal: Duration,
}

pub(super) enum Object {
    Session,
    Lock { key: String, delete_key: bool },
    Semaphore { prefix: String, places: u32 },
}

type Answer = Result<Reply, Failure<Error>>;
type UnderWay = Option<Pin<Box<dyn Future<Output = Answer> + Send>>>;

/// Runs a contender to its end. It leaves when `wanted` is dropped.
pub(super) async fn drive(
    target: Arc<Target>,
    mut contender: Contender<Error>,
    status: watch::Sender<Status<Error>>,
    mut wanted: oneshot::Receiver<()>,
) {
    let (mut main, mut renewal): (UnderWay, UnderWay) = (None, None);
    let mut leaving = false;
    loop {
        let now = clock::now();
        for action in contender.next(now) {
            let (lane, under_way) = match action {
                Action::Cancel(lane) => (lane, None),
                Action::Send(lane, request) => {
                    let target = target.clone();
                    let answer = async move { target.answer(request).await };
                    (lane, Some(Box::pin(answer) as Pin<Box<_>>))
                }
            };
            match lane {
                Lane::Main => main = under_way,
                Lane::Renewal => renewal = under_way,
            }
        }
        let current = contender.status();
        if let Status::Ended(_) = current {
            status.send_replace(current);
            return;
        }
        status.send_if_modified(|last| {
            let changed = *last != current;
            *last = current;
            changed
        });
        let until = contender
            .wake_at(now)
            .map(|at| tokio::time::Instant::now() + at.saturating_sub(now));
        tokio::select! {
            answer = ready(&mut main) => contender.reply(clock::now(), Lane::Main, answer),
            answer = ready(&mut renewal) => contender.reply(clock::now(), Lane::Renewal, answer),
            () = sleep_until(until) => {}
            _ = &mut wanted, if !leaving => {
                leaving = true;
                contender.leave(clock::now());
            }
        }
    }
}

/// The answer to what is under way, which then no longer is.
async fn ready(under_way: &mut UnderWay) -> Answer {
    match under_way {
        Some(answer) => {
            let answer = answer.await;
            *under_way = None;
            answer
        }
        None => std::future::pending().await,
    }
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Target {
    async fn answer(&self, request: Request) -> Answer {
        self.carry_out(request).await.map_err(|error| Failure {
            kind: kind_of(&error),
            error,
        })
    }

    async fn carry_out(&self, request: Request) -> Result<Reply, Error> {
        let client = &self.client;
        match request {
            Request::Create => {
                let timeout = client.timeout().min(CREATE);
                let create = client.create_in(client::Lane::Calls, timeout, &self.session);
                Ok(Reply::Created(create.await?))
            }
            Request::Renew(id) => {
                client.renew_in(self.renewal, &id).await?;
                Ok(Reply::Renewed)
            }
            Request::Destroy(id) => {
                client.destroy_in(RELEASE, &id).await?;
                Ok(Reply::Done)
            }
            Request::Join(id) => {
                if let Object::Semaphore { prefix, .. } = &self.object {
                    client.join(&place(prefix, id), &self.value).await?;
                }
                Ok(Reply::Joined)
            }
            Request::Attempt(id, wait) => {
                let wait = wait.map(wire_wait);
                let attempt = match &self.object {
                    Object::Session => return Ok(Reply::Acquired(0)),
                    Object::Lock { key, .. } => {
                        client.acquire(&lock(key, id), &self.value, wait).await?
                    }
                    Object::Semaphore { prefix, places } => {
                        let place = place(prefix, id);
                        client.take_place(&place, *places, wait).await?
                    }
                };
                Ok(match attempt.outcome {
                    Outcome::Held(token) => Reply::Acquired(token),
                    Outcome::Occupied(holders) => Reply::Occupied(holders, attempt.index),
                    Outcome::Delayed => Reply::Delayed(attempt.index),
                })
            }
            Request::Watch(id, wait) => {
                let wait = wait.map(wire_wait);
                let is_own = |holder: &String| holder.eq_ignore_ascii_case(&id);
                match &self.object {
                    Object::Session => Ok(Reply::Watched(true, 0)),
                    Object::Lock { key, .. } => {
                        let holding = client.holding(key, wait).await?;
                        let held = holding.session.as_ref().is_some_and(is_own);
                        Ok(Reply::Watched(held, holding.index))
                    }
                    Object::Semaphore { prefix, .. } => {
                        let membership = client.places_of(prefix, wait).await?;
                        let held = membership.sessions.iter().any(is_own);
                        Ok(Reply::Watched(held, membership.index))
                    }
                }
            }
            Request::Release(id) => {
                match &self.object {
                    Object::Session => {}
                    Object::Lock { key, delete_key } => {
                        let lock = lock(key, id);
                        client.release(RELEASE, &lock, *delete_key).await?;
                    }
                    Object::Semaphore { prefix, .. } => {
                        client.leave(RELEASE, &place(prefix, id)).await?;
                    }
                }
                Ok(Reply::Done)
            }
        }
    }
}

fn lock(key: &str, session: String) -> Lock {
    Lock {
        key: key.to_owned(),
        session,
    }
}

fn place(prefix: &str, session: String) -> Place {
    Place {
        prefix: prefix.to_owned(),
        session,
    }
}

fn wire_wait((index, at_most): (u64, Duration)) -> Wait {
    Wait {
        index,
        at_most: nanoseconds(at_most),
    }
}

fn kind_of(error: &Error) -> FailureKind {
    match error.kind() {
        ErrorKind::NotFound => FailureKind::Gone,
        ErrorKind::Denied => FailureKind::Denied,
        // Without a response, and certainly not sent: nobody listens there.
        ErrorKind::Transport if !error.maybe_applied() => FailureKind::Unreachable,
        _ if error.is_retryable() => FailureKind::Later,
        _ => FailureKind::Never,
    }
}
