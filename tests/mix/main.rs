//! Many callers on few names of a real Consul, a third of whose calls are dropped half-way. In a process of its own, whose
//! memory and descriptors are its alone.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use consul_session::{Client, NewSession, OnDifference, Runtime};
use consul_session_tests::bad_server::{Server, answer};
use consul_session_tests::consul;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;
use std::time::Duration;

const CALLERS: u64 = 64;
const CALLS: u64 = 40;
const NAMES: u64 = 4;
/// As many calls at once as the runtime allows, so that a turn that is lost is missed.
const TURNS: u32 = 16;
const PATIENCE: Duration = Duration::from_secs(120);

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Polls a future so many times, and drops it if it is not ready then.
async fn polled<F: Future>(future: F, mut times: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(None);
        }
        times -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn call(client: &Client, dice: &mut Dice) {
    let name = format!("mix-{}", dice.roll(NAMES));
    let ttl = |dice: &mut Dice| Duration::from_secs(600 + dice.roll(3));
    match dice.roll(3) {
        0 => {
            // Another caller may have wished for something else.
            let wanted = NewSession::named(&name).ttl(ttl(dice));
            match client.ensure(&wanted, OnDifference::Refuse).await {
                Ok(_) => {}
                Err(error) => assert!(error.message().contains("other attributes"), "{error}"),
            }
        }
        1 => {
            let wanted = NewSession::named(&name).ttl(ttl(dice));
            client
                .ensure(&wanted, OnDifference::Recreate)
                .await
                .unwrap();
        }
        _ => {
            client.remove(&name, None).await.unwrap();
        }
    }
}

async fn mix(client: &Client, seed: u64) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut dice = Dice(seed * CALLERS + caller);
                for _ in 0..CALLS {
                    let (drops, polls) = (dice.roll(3) == 0, dice.roll(12));
                    let polls = if drops { polls } else { u64::MAX };
                    polled(call(&client, &mut dice), polls).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// Descriptors, and resident KiB.
fn held() -> (usize, u64) {
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    (descriptors, resident.unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_calls_leave_nothing_behind() {
    let Some(agent) = consul::plain() else { return };
    let runtime = Runtime::with_calls(TURNS).unwrap();
    let client = |address: &str| {
        let settings = Client::builder().address(address).timeout(PATIENCE);
        settings.max_calls(TURNS).build(&runtime).unwrap()
    };
    let consul = client(&agent.http);
    // The first time fills caches.
    mix(&consul, 1).await;
    let before = held();
    mix(&consul, 2).await;
    mix(&consul, 3).await;
    let after = held();
    // The pool keeps up to 32 connections.
    assert!(
        after.0 <= before.0 + 40,
        "descriptors: {before:?}, {after:?}"
    );
    assert!(
        after.1 <= before.1 + 32 * 1024,
        "KiB: {before:?}, {after:?}"
    );

    for number in 0..NAMES {
        let name = format!("mix-{number}");
        let wanted = NewSession::named(&name).ttl(Duration::from_secs(700));
        let ensured = consul
            .ensure(&wanted, OnDifference::Recreate)
            .await
            .unwrap();
        let there = agent.api.named(&name);
        assert_eq!(there.len(), 1, "{there:?}");
        assert_eq!(there[0]["ID"], ensured.session.id.as_str());
        consul.remove(&name, None).await.unwrap();
        assert_eq!(agent.api.named(&name).len(), 0);
    }

    // Every turn can be taken: this server answers only when as many requests wait.
    let gate = Arc::new((Mutex::new(0), Condvar::new()));
    let server = Server::after_request(move |_, stream| {
        let (waiting, changed) = &*gate;
        let mut waiting = waiting.lock().unwrap();
        *waiting += 1;
        changed.notify_all();
        drop(
            changed
                .wait_while(waiting, |waiting| *waiting < TURNS)
                .unwrap(),
        );
        answer(stream, 200, &[("Connection", "close")], b"[]")
    });
    let client = client(&server.url());
    let calls: Vec<_> = (0..TURNS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.list().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}
