//! When sessions end and keys come free. These tests sleep for real, so there are few.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::{Server, everywhere, until};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What a busy machine, or a real Consul on it, may need until an end is seen.
const LATE: f64 = 60.0;

/// Never early; how exact it is otherwise, the tests of the state machine say.
#[track_caller]
fn about(took: Duration, expected: f64) {
    let range = seconds(expected)..seconds(expected + LATE);
    assert!(range.contains(&took), "{took:?} is not {expected} s");
}

#[test]
fn a_session_lives_twice_its_ttl() {
    everywhere(|server| {
        let start = Instant::now();
        let plain = server.create(r#"{"TTL":"10s"}"#);
        let longer = server.create(r#"{"TTL":"10.5s"}"#);
        let renewed = server.create(r#"{"TTL":"10s"}"#);
        let forever = server.create(r#"{"TTL":"0s"}"#);
        thread::scope(|scope| {
            scope.spawn(|| {
                gone(server, &plain);
                about(start.elapsed(), 20.0);
            });
            scope.spawn(|| {
                gone(server, &longer);
                about(start.elapsed(), 21.0);
            });
            scope.spawn(|| {
                // After the TTL, but before twice the TTL: still in time.
                thread::sleep(seconds(10.5));
                let renewal = Instant::now();
                let answer = server.put(&format!("/v1/session/renew/{renewed}"), "");
                assert_eq!(answer.status, 200);
                gone(server, &renewed);
                about(renewal.elapsed(), 20.0);
            });
        });
        assert!(server.info(&forever).is_some());
        server.destroy(&forever);
    });
}

fn gone(server: &Server, id: &str) {
    until(seconds(20.0 + LATE), || server.info(id).is_none());
}

#[test]
fn lock_delays() {
    everywhere(|server| {
        let prefix = server.prefix("delays");
        thread::scope(|scope| {
            for (number, (body, expected)) in [
                (r#"{"LockDelay":"3s"}"#, 3.0),
                (r#"{"LockDelay":3,"Behavior":"delete"}"#, 3.0),
                (r#"{"LockDelay":0}"#, 0.0),
                (r#"{"LockDelay":1000}"#, 0.0),
                (r#"{"LockDelay":-5}"#, 0.0),
            ]
            .into_iter()
            .enumerate()
            {
                let prefix = &prefix;
                scope.spawn(move || {
                    let path = format!("/v1/kv/{prefix}{number}");
                    let next = server.create("");
                    let id = server.create(body);
                    server
                        .put(&format!("{path}?acquire={id}"), "")
                        .is(200, "true");
                    let start = Instant::now();
                    server.destroy(&id);
                    let acquire = || server.put(&format!("{path}?acquire={next}"), "");
                    if expected == 0.0 {
                        acquire().is(200, "true");
                    } else {
                        until(seconds(LATE), || acquire().body.starts_with("true"));
                        about(start.elapsed(), expected);
                    }
                    server.destroy(&next);
                });
            }
        });
    });
}

#[test]
fn expiry_and_then_the_delay() {
    everywhere(|server| {
        let key = server.prefix("expiry") + "k";
        let path = format!("/v1/kv/{key}");
        let start = Instant::now();
        let id = server.create(r#"{"TTL":"10s","LockDelay":"3s"}"#);
        let next = server.create("");
        server
            .put(&format!("{path}?acquire={id}"), "v")
            .is(200, "true");
        let index = server.get(&path).index();
        // A blocked query sees the expiry without anybody asking.
        let freed = server.get(&format!("{path}?index={index}&wait=90s"));
        assert_eq!(freed.json()[0].get("Session"), None);
        about(start.elapsed(), 20.0);
        until(seconds(LATE), || {
            let answer = server.put(&format!("{path}?acquire={next}"), "");
            answer.body.starts_with("true")
        });
        about(start.elapsed(), 23.0);
        assert_ne!(server.key(&key), Value::Null);
        server.destroy(&next);
    });
}
