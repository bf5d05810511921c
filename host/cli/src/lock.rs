//! `lock` and `run`: a command that runs while a lock is held, or a session is kept alive.

use crate::args::{ConnectionArgs, KeptArgs, LockArgs, OnLost, RunArgs};
use crate::child::{Child, Signals};
use crate::held::{KEY, SESSION, normalized};
use crate::{action, connect, executor, output};
use consul_session::{
    Client, Contending, Error, ErrorKind, Lock, LockBuilder, Loss, Policy, Progress, Runtime,
};
use consul_session_dev_agent::DevAgent;
use nix::sys::signal::Signal;
use serde_json::Map;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Exit status: the lock was lost while COMMAND ran.
const LOST: u8 = 123;
/// Exit status: not acquired in time.
const NOT_ACQUIRED: u8 = 124;
/// Exit status: failed before COMMAND was started.
const NOT_STARTED: u8 = 125;

const TTL: Duration = Duration::from_secs(15);
/// Consul's.
const LOCK_DELAY: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(5);
/// How much earlier than necessary a lock counts as lost, because processes need a moment to end.
const MARGIN: Duration = Duration::from_millis(500);
/// How often a session without a lock is renewed: its end is noticed by that alone.
const RENEW_SESSION: Duration = Duration::from_secs(2);
/// How long Consul may take to release and destroy after a signal.
const GIVE_UP: Duration = Duration::from_secs(3);
/// How often it is looked whether processes are left.
const LOOK: Duration = Duration::from_millis(20);
/// How many holders are shown by name.
const SHOWN: usize = 5;
/// How many characters of a name are shown.
const LONGEST_NAME: usize = 100;
/// How long the name of a holder may take.
const LOOKUP: Duration = Duration::from_secs(1);
/// How often it is said that the lock is still waited for.
const REMIND: Duration = Duration::from_secs(30);

/// More variables for COMMAND.
const TOKEN: &str = "CONSUL_LOCK_FENCING_TOKEN";
const HELD: &str = "CONSUL_LOCK_HELD";

/// What is to be held while a command runs.
pub(crate) struct Wanted {
    what: What,
    name: String,
    wait: Option<Duration>,
    lock_delay: Option<Duration>,
    kept: KeptArgs,
    command: Vec<OsString>,
}

enum What {
    Session,
    Lock(String),
    Semaphore(String, u32),
}

impl Wanted {
    pub(crate) fn lock(arguments: LockArgs) -> Wanted {
        let name = format!("consul-session lock {}", arguments.prefix);
        Wanted {
            what: match arguments.limit {
                1 => What::Lock(arguments.prefix),
                limit => What::Semaphore(arguments.prefix, limit),
            },
            name: arguments.name.unwrap_or(name),
            wait: arguments
                .wait
                .or(arguments.try_once.then_some(Duration::ZERO)),
            lock_delay: arguments.lock_delay,
            kept: arguments.kept,
            command: arguments.command,
        }
    }

    pub(crate) fn session(arguments: RunArgs) -> Wanted {
        Wanted {
            what: What::Session,
            name: arguments.name,
            wait: None,
            lock_delay: None,
            kept: arguments.kept,
            command: arguments.command,
        }
    }

    /// What it is called in messages.
    fn noun(&self) -> String {
        match &self.what {
            What::Session => format!("the session `{}`", self.name),
            What::Lock(prefix) => format!("the lock `{prefix}`"),
            What::Semaphore(prefix, limit) => format!("the semaphore `{prefix}` of {limit} places"),
        }
    }

    /// Finds out what is wrong before anything is created.
    fn check(&mut self) -> Result<Times, Error> {
        if let What::Lock(prefix) | What::Semaphore(prefix, _) = &mut self.what {
            *prefix = normalized(prefix)?;
        }
        let ttl = self.kept.ttl.unwrap_or(TTL);
        if !(Duration::from_secs(10)..=Duration::from_secs(86_400)).contains(&ttl) {
            return Err(Error::invalid("ttl", "--ttl must be 10s to 24h"));
        }
        let delay = self.lock_delay.unwrap_or(LOCK_DELAY);
        if delay > Duration::from_secs(60) {
            return Err(Error::invalid(
                "lock_delay",
                "--lock-delay must be 0 to 60s",
            ));
        }
        for (option, time) in [("--ttl", ttl), ("--lock-delay", delay)] {
            if time.subsec_nanos() % 1_000_000 != 0 {
                let message = format!("{option} must be a whole number of milliseconds");
                return Err(Error::invalid(option, message));
            }
        }
        // After the TTL without a renewal, Consul waits for it once more, and then for the lock delay.
        let (more, which) = match self.what {
            What::Lock(_) => (ttl + delay, "--ttl plus --lock-delay"),
            What::Session | What::Semaphore(..) => (ttl, "--ttl"),
        };
        let grace = self.kept.grace.unwrap_or(GRACE);
        if grace >= more {
            let message =
                format!("--grace must be less than {which}: after that, others may hold the lock");
            return Err(Error::invalid("grace", message));
        }
        Ok(Times {
            ttl,
            lost_after: ttl + more - grace - MARGIN,
            grace,
        })
    }

    fn builder(&self, client: &Client, times: &Times) -> LockBuilder {
        let builder = match &self.what {
            What::Session => client
                .session()
                .renew_every(RENEW_SESSION.min(times.ttl / 3)),
            What::Lock(prefix) => client.lock(format!("{prefix}/.lock")).delete_key(true),
            What::Semaphore(prefix, places) => client.semaphore(prefix, *places),
        };
        let builder = builder
            .session_name(&self.name)
            .ttl(times.ttl)
            .lost_after(times.lost_after);
        match self.lock_delay {
            Some(lock_delay) => builder.lock_delay(lock_delay),
            None => builder,
        }
    }

    fn policy(&self) -> Policy {
        match &self.what {
            What::Session => Policy::deny_all(),
            What::Lock(prefix) | What::Semaphore(prefix, _) => {
                Policy::deny_all().locks([format!("{prefix}/")])
            }
        }
    }
}

struct Times {
    ttl: Duration,
    /// How long after the last good renewal COMMAND must begin to end.
    lost_after: Duration,
    grace: Duration,
}

/// Runs a command while something is held.
pub(crate) fn run(connection: &ConnectionArgs, mut wanted: Wanted) -> ExitCode {
    let times = match wanted.check() {
        Ok(times) => times,
        Err(error) => {
            action::explain(&error);
            return output::USAGE_ERROR.into();
        }
    };
    let status = executor().and_then(|executor| {
        let status = executor.block_on(hold(connection, &wanted, &times));
        executor.shutdown_background();
        status
    });
    match status {
        Ok(status) => status.into(),
        Err(error) => {
            action::explain(&error);
            NOT_STARTED.into()
        }
    }
}

async fn hold(connection: &ConnectionArgs, wanted: &Wanted, times: &Times) -> Result<u8, Error> {
    let mut signals = Signals::install().map_err(|error| {
        let message = format!("cannot catch signals: {error}");
        Error::new(ErrorKind::Other, message)
    })?;
    let runtime = Runtime::with_calls(2)?;
    let agent = connect::dev_agent(connection).await?;
    let address = agent.as_ref().map(DevAgent::address);
    let mut none = Map::new();
    let client = connect::client(connection, address, &mut none, wanted.policy(), &runtime)?;
    let mut contending = wanted.builder(&client, times).contend(wanted.wait);
    let begun = Instant::now();
    let waited = wait(&mut contending, &client, wanted, &mut signals).await;
    let is_over = wanted
        .wait
        .is_some_and(|wait| !wait.is_zero() && begun.elapsed() >= wait);
    match waited {
        Waited::Acquired => {}
        Waited::TimedOut(last) => {
            output::error(&format!("{} is {}", wanted.noun(), why(&last)));
            return Ok(NOT_ACQUIRED);
        }
        Waited::Failed(error) if *error.kind() == ErrorKind::Timeout && is_over => {
            action::explain(&error);
            return Ok(NOT_ACQUIRED);
        }
        Waited::Failed(error) => return Err(error),
        Waited::Signal(signal) => {
            // At once, but not without the session, if Consul answers.
            let _ = tokio::time::timeout(GIVE_UP, contending.give_up()).await;
            return Ok(128 + signal as u8);
        }
    }
    let Some(lock) = contending.into_lock() else {
        return Ok(NOT_ACQUIRED);
    };
    let status = command(
        &lock,
        connect::variables(connection, address),
        wanted,
        times,
        &mut signals,
    )
    .await;
    let mut release = std::pin::pin!(lock.release());
    tokio::select! {
        () = &mut release => {}
        // Asked to end, but not without a word to Consul.
        _ = signals.next() => drop(tokio::time::timeout(GIVE_UP, release).await),
    }
    Ok(status)
}

enum Waited {
    Acquired,
    TimedOut(Progress),
    Failed(Error),
    Signal(Signal),
}

/// Waits until it is decided who gets the lock, and says on a terminal what it waits for.
async fn wait(
    contending: &mut Contending,
    client: &Client,
    wanted: &Wanted,
    signals: &mut Signals,
) -> Waited {
    let talks = std::io::stderr().is_terminal();
    let begun = Instant::now();
    let mut last = Progress::Starting;
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => return Waited::Signal(signal),
            progress = contending.next() => match progress {
                Ok(Progress::Acquired) => return Waited::Acquired,
                Ok(Progress::TimedOut) => return Waited::TimedOut(last),
                Err(error) => return Waited::Failed(error),
                Ok(Progress::Leaving) => continue,
                Ok(progress) => last = progress,
            },
            () = tokio::time::sleep(REMIND) => {}
        }
        if talks && last != Progress::Starting {
            let names = tokio::select! {
                biased;
                signal = signals.next() => return Waited::Signal(signal),
                names = names(client, &last) => names,
            };
            say(wanted, &last, &names, begun.elapsed());
        }
    }
}

/// Names and nodes of the holders in parentheses, or nothing if the token may not read sessions.
async fn names(client: &Client, progress: &Progress) -> String {
    let Progress::Occupied(holders) = progress else {
        return String::new();
    };
    let mut names = Vec::new();
    for id in holders.iter().take(SHOWN) {
        let session = tokio::time::timeout(LOOKUP, client.info(id)).await;
        if let Ok(Ok(Some(session))) = session {
            let name: String = session.name.chars().take(LONGEST_NAME).collect();
            names.push(format!("`{name}` on node {}", session.node));
        }
    }
    match names[..] {
        [] => String::new(),
        _ => format!(" ({})", names.join(", ")),
    }
}

fn say(wanted: &Wanted, progress: &Progress, names: &str, waited: Duration) {
    let (noun, why, waited) = (wanted.noun(), why(progress), waited.as_secs());
    output::note(&format!(
        "waiting for {noun}, which is {why}{names} ({waited} s)"
    ));
}

fn why(progress: &Progress) -> String {
    match progress {
        Progress::Occupied(holders) if !holders.is_empty() => {
            let sessions = if holders.len() == 1 {
                "session"
            } else {
                "sessions"
            };
            format!("held by {sessions} {}", holders.join(", "))
        }
        Progress::Delayed => {
            "in its lock delay, because the session of the last holder has ended".to_owned()
        }
        _ => "not free".to_owned(),
    }
}

/// Runs the command, and returns its exit status, or that the lock was lost.
async fn command(
    lock: &Lock,
    mut variables: Vec<(&'static str, OsString)>,
    wanted: &Wanted,
    times: &Times,
    signals: &mut Signals,
) -> u8 {
    variables.push((SESSION, lock.session().into()));
    // Without a lock, they are empty: those of a lock around this command belong to another session.
    let (held, token) = match wanted.what {
        What::Session => ("", String::new()),
        _ => ("true", lock.fencing_token().to_string()),
    };
    variables.push((HELD, held.into()));
    variables.push((KEY, lock.key().into()));
    variables.push((TOKEN, token.into()));
    if lock.is_lost() {
        report(lock.lost().await, wanted, false);
        return LOST;
    }
    let mut child = match Child::start(&wanted.command, &variables) {
        Ok(child) => child,
        Err(error) => {
            let name = wanted.command.first().map(|name| name.to_string_lossy());
            let name = name.unwrap_or_default();
            output::error(&format!("cannot run `{name}`: {}", error.cause()));
            return error.status();
        }
    };
    let mut lost = false;
    let mut kill_at = None;
    loop {
        tokio::select! {
            biased;
            status = child.ended() => {
                if !lost {
                    return status;
                }
                if wanted.kept.on_lost == OnLost::Terminate {
                    end_rest(&child, kill_at).await;
                }
                return LOST;
            }
            signal = signals.next() => child.pass(signal),
            loss = lock.lost(), if !lost => {
                lost = true;
                report(loss, wanted, true);
                if wanted.kept.on_lost == OnLost::Terminate {
                    child.kill(Signal::SIGTERM);
                    kill_at = Some(tokio::time::Instant::now() + times.grace);
                }
            }
            () = sleep_until(kill_at) => {
                child.kill(Signal::SIGKILL);
                kill_at = None;
            }
        }
    }
}

/// Gives what COMMAND has left behind the rest of the time to end, and then ends it.
async fn end_rest(child: &Child, kill_at: Option<tokio::time::Instant>) {
    while kill_at.is_some_and(|at| tokio::time::Instant::now() < at) {
        if !child.has_left_others() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    child.kill(Signal::SIGKILL);
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn report(loss: Loss, wanted: &Wanted, running: bool) {
    let why = match loss {
        Loss::SessionEnded => "its session has ended in Consul",
        Loss::Taken => {
            "its key no longer names its session, which has ended, or the key was deleted"
        }
        Loss::Denied => "the token may no longer renew its session",
        _ => "Consul did not answer for so long that others may hold it soon",
    };
    let command = match (running, wanted.kept.on_lost) {
        (false, _) => "COMMAND is not started",
        (true, OnLost::Terminate) => "COMMAND is told to end",
        (true, OnLost::Continue) => "COMMAND runs on",
    };
    output::error(&format!("{} is lost: {why}; {command}", wanted.noun()));
}
