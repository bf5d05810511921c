//! Locks, semaphores and kept sessions of the library. `locks.rs` tests those of the program.

use crate::client::runtime;
use consul_session::{Client, ErrorKind, HeldBy, Lock, Loss, NewSession, Policy, Runtime};
use consul_session_dev_agent::{DevAgent, Version};
use consul_session_tests::consul;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn client_with(runtime: &Runtime, address: &str, policy: Policy) -> Client {
    let builder = Client::builder().address(address).policy(policy);
    builder.build(runtime).unwrap()
}

fn client(address: &str) -> Client {
    let policy = Policy::deny_all().locks([""]).guarded_writes([""]);
    client_with(runtime(), address, policy)
}

/// Waits until something is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

async fn sessions_named(client: &Client, name: &str) -> usize {
    let listing = client.list().await.unwrap();
    let named = listing.sessions.iter();
    named.filter(|session| session.name == name).count()
}

/// Nobody holds the lock, and no session of this name is there.
async fn nothing_is_left(client: &Client, key: &str, name: &str) {
    until("the lock is free and the session gone", || async {
        client.holder(key).await.unwrap().session.is_none()
            && sessions_named(client, name).await == 0
    })
    .await;
}

async fn everything(client: &Client, prefix: &str) {
    let key = format!("{prefix}/x");
    let lock = || client.lock(&key).session_name(prefix).value("me");
    let first = lock().acquire().await.unwrap();
    let holder = client.holder(&key).await.unwrap();
    assert_eq!(holder.session.as_deref(), Some(first.session()));
    assert_eq!(holder.value, b"me");
    assert_eq!(holder.modify_index, first.fencing_token());
    assert!(lock().try_acquire().await.unwrap().is_none());
    assert_eq!(sessions_named(client, prefix).await, 1);

    // Guarded writes, also of the lock's own value.
    let other = format!("{prefix}/value");
    assert!(first.write(&other, b"1\0").await.unwrap() > first.fencing_token());
    first.write(&key, b"mine").await.unwrap();
    first.delete(&other).await.unwrap();
    first.delete(&other).await.unwrap();
    let stranger = HeldBy {
        key: &key,
        session: "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11",
    };
    let refused = client.write(&stranger, &other, b"2").await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Conflict);

    // Somebody waits, and gets it with a higher token.
    let token = first.fencing_token();
    let waiting = tokio::spawn(lock().acquire());
    until("it waits", || async {
        sessions_named(client, prefix).await == 2
    })
    .await;
    first.release().await;
    let second = waiting.await.unwrap().unwrap();
    assert!(second.fencing_token() > token);

    // A future that is dropped, and a lock that is dropped, leave nothing.
    let given_up = tokio::spawn(lock().acquire());
    until("it waits", || async {
        sessions_named(client, prefix).await == 2
    })
    .await;
    given_up.abort();
    drop(second);
    nothing_is_left(client, &key, prefix).await;

    // A lock that is lost says so.
    let lost = lock().lock_delay(Duration::ZERO).acquire().await.unwrap();
    client.destroy(lost.session()).await.unwrap();
    let loss = tokio::time::timeout(PATIENCE, lost.lost()).await.unwrap();
    assert!(matches!(loss, Loss::Taken | Loss::SessionEnded), "{loss:?}");
    assert!(lost.is_lost());
    let refused = lost.write(&other, b"3").await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Conflict);
    lost.release().await;
    nothing_is_left(client, &key, prefix).await;

    // A semaphore of two places.
    let places = format!("{prefix}/places");
    let place = || client.semaphore(&places, 2).session_name(prefix);
    let (one, two) = (
        place().acquire().await.unwrap(),
        place().acquire().await.unwrap(),
    );
    assert!(two.fencing_token() > one.fencing_token());
    assert!(place().try_acquire().await.unwrap().is_none());
    let (mut holders, limit) = client.semaphore_holders(&places).await.unwrap();
    let mut expected = vec![one.session().to_owned(), two.session().to_owned()];
    holders.sort();
    expected.sort();
    assert_eq!((holders, limit), (expected, Some(2)));
    assert_eq!(one.key(), format!("{places}/{}", one.session()));
    one.write(&other, b"4").await.unwrap();
    one.release().await;
    let third = place().try_acquire().await.unwrap().unwrap();
    third.release().await;
    two.release().await;
    nothing_is_left(client, &format!("{places}/.lock"), prefix).await;
    assert_eq!(client.semaphore_holders(&places).await.unwrap().1, None);

    // A session of its own.
    let kept = client
        .session()
        .session_name(prefix)
        .acquire()
        .await
        .unwrap();
    assert_eq!(kept.fencing_token(), 0);
    kept.release().await;
    let ttl = Duration::from_secs(10);
    let id = client
        .create(&NewSession::named(prefix).ttl(ttl))
        .await
        .unwrap();
    let alive = client.keep_alive(&id, ttl);
    client.destroy(&id).await.unwrap();
    let loss = tokio::time::timeout(PATIENCE, alive.lost()).await.unwrap();
    assert_eq!(loss, Loss::SessionEnded);
}

#[tokio::test]
async fn locks_on_consul() {
    let Some(agent) = consul::plain() else { return };
    everything(&client(&agent.http), "library/consul").await;
}

#[tokio::test]
async fn locks_on_the_development_agent() {
    for version in [Version::V1_8, Version::V1_22] {
        let agent = DevAgent::builder().imitate(version).start().await.unwrap();
        everything(&client(agent.address()), "library/agent").await;
    }
}

/// A component that sends its requests itself has the same locks.
#[tokio::test]
async fn locks_with_a_component_over_wasi_http() {
    let agent = DevAgent::start().await.unwrap();
    let runtime = Runtime::from_bytes(Runtime::plugin()).unwrap();
    let policy = Policy::deny_all().locks([""]).guarded_writes([""]);
    let client = client_with(&runtime, agent.address(), policy);
    everything(&client, "library/plugin").await;
}

/// Components of version 0.1 of the package have no locks.
#[tokio::test]
async fn a_component_without_locks_is_reported_when_they_are_used() {
    let agent = DevAgent::start().await.unwrap();
    for old in [crate::sandbox::embedded(), crate::sandbox::plugin()] {
        let client = client_with(old, agent.address(), Policy::deny_all().locks([""]));
        let error = client.holder("a").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("`holder`"), "{error}");
    }
}

#[tokio::test]
async fn tenants_get_locks_by_prefix() {
    let agent = DevAgent::start().await.unwrap();
    let none = client_with(runtime(), agent.address(), Policy::deny_all());
    let error = none.lock("mine/x").acquire().await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    let policy = Policy::deny_all()
        .locks(["mine/"])
        .guarded_writes(["config/"]);
    let tenant = client_with(runtime(), agent.address(), policy);
    assert!(
        tenant
            .lock("yours/x")
            .acquire()
            .await
            .unwrap_err()
            .is_denied()
    );
    assert!(tenant.holder("yours/x").await.unwrap_err().is_denied());
    let places = tenant.semaphore("yours", 2).acquire().await;
    assert!(places.unwrap_err().is_denied());
    let lock = tenant.lock("mine/x").acquire().await.unwrap();
    lock.write("config/a", b"1").await.unwrap();
    assert!(lock.write("yours/a", b"1").await.unwrap_err().is_denied());
    lock.release().await;
    // The same through actions.
    let id = tenant.create(&NewSession::named("t")).await.unwrap();
    let act = async |action: String| tenant.action(&action).await;
    let locked = format!(r#"{{"state": "locked", "key": "mine/y", "session": "{id}"}}"#);
    assert!(act(locked.clone()).await.unwrap().changed());
    let foreign = locked.replace("mine/y", "yours/y");
    assert!(act(foreign).await.unwrap_err().is_denied());
    let written = format!(
        r#"{{"state": "written", "key": "config/b", "value": "2", "lock": "mine/y", "session": "{id}"}}"#
    );
    assert!(act(written.clone()).await.unwrap().changed());
    assert!(!act(written.clone()).await.unwrap().changed());
    let foreign = written.replace("config/b", "yours/b");
    assert!(act(foreign).await.unwrap_err().is_denied());
    // Nothing was left by what was denied.
    tenant.destroy(&id).await.unwrap();
    until("no session is left", || async {
        tenant.list().await.unwrap().sessions.is_empty()
    })
    .await;
}

/// Those who wait keep no working call from its place, and each gets the lock in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_wait_and_work_goes_on() {
    const WAITERS: usize = 100;
    let agent = DevAgent::start().await.unwrap();
    let client = client(agent.address());
    let held: Lock = client.lock("many").acquire().await.unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..WAITERS {
        let (client, inside) = (client.clone(), inside.clone());
        waiting.spawn(async move {
            let lock = client.lock("many").acquire().await.unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            inside.fetch_sub(1, Ordering::SeqCst);
            lock.release().await;
        });
    }
    until("all wait", || async {
        client.list().await.unwrap().sessions.len() == WAITERS + 1
    })
    .await;
    for _ in 0..20 {
        client.info(held.session()).await.unwrap();
    }
    held.release().await;
    let all = async {
        while let Some(done) = waiting.join_next().await {
            done.unwrap();
        }
    };
    tokio::time::timeout(3 * PATIENCE, all).await.unwrap();
}
