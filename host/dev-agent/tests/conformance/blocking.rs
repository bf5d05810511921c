//! Blocking queries: which changes wake them, and how long they wait.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Answer, NOBODY, Server, everywhere, timed};

const SECOND: Duration = Duration::from_secs(1);
/// A wait that a busy machine does not take for long, to be cut short by what is tested.
const LONG: Duration = Duration::from_secs(60);

/// Blocks on `path` above an index for so long, does something after a pause, and tells how long the query took.
pub fn blocked(
    server: &Server,
    path: &str,
    (index, wait): (u64, Duration),
    pause: Duration,
    change: impl FnOnce(),
) -> (Duration, Answer) {
    let mark = if path.contains('?') { '&' } else { '?' };
    let waiting = format!("{path}{mark}index={index}&wait={}ms", wait.as_millis());
    thread::scope(|scope| {
        let query = scope.spawn(|| timed(|| server.get(&waiting)));
        thread::sleep(pause);
        change();
        query.join().unwrap()
    })
}

/// If the query comes after the change, it is answered all the same.
#[track_caller]
fn wakes(server: &Server, path: &str, change: impl FnOnce()) -> Answer {
    let index = server.get(path).index();
    let (took, answer) = blocked(server, path, (index, LONG), SECOND / 4, change);
    assert!(took < LONG, "{} {path}: {took:?}", server.name);
    answer
}

/// A query that comes after the change may be answered at once, and nothing tells when a server has begun to wait. So
/// there are three attempts, each with a much longer pause before the change; a server that wakes fails them all.
#[track_caller]
fn sleeps_on(server: &Server, path: &str, change: impl Fn(usize)) {
    let mut took = Duration::ZERO;
    for (attempt, pause) in [SECOND / 4, 4 * SECOND, 20 * SECOND]
        .into_iter()
        .enumerate()
    {
        let (index, wait) = (server.get(path).index(), pause + 3 * SECOND);
        let answer;
        (took, answer) = blocked(server, path, (index, wait), pause, || change(attempt));
        if took >= wait {
            assert_eq!(answer.index(), index, "{} {path}", server.name);
            return;
        }
    }
    panic!("{} {path}: woken after {took:?}", server.name);
}

#[test]
fn sessions_wake() {
    everywhere(|server| {
        let id = server.create("");
        let gone = wakes(server, &format!("/v1/session/info/{id}"), || {
            server.destroy(&id)
        });
        gone.is(200, "[]");
        let mut made = String::new();
        let list = wakes(server, "/v1/session/list", || made = server.create(""));
        assert!(list.body.contains(&made));
        let node = format!("/v1/session/node/{}", server.node());
        wakes(server, &node, || server.destroy(&made));
    });
}

#[test]
fn keys_wake() {
    everywhere(|server| {
        let prefix = server.prefix("wake");
        let path = format!("/v1/kv/{prefix}k");
        let id = server.create(r#"{"LockDelay":0}"#);
        server.put(&path, "1").is(200, "true");
        let put = |query: &str, body: &str| {
            server.put(&format!("{path}{query}"), body).is(200, "true");
        };
        wakes(server, &path, || put("", "2"));
        wakes(server, &path, || put(&format!("?acquire={id}"), "2"));
        wakes(server, &path, || put(&format!("?release={id}"), "2"));
        wakes(server, &format!("/v1/kv/{prefix}?recurse"), || put("", "3"));
        wakes(server, &format!("/v1/kv/{prefix}?keys"), || put("", "4"));
        put(&format!("?acquire={id}"), "4");
        let freed = wakes(server, &path, || server.destroy(&id));
        assert_eq!(freed.json()[0].get("Session"), None);
        let gone = wakes(server, &path, || {
            server.delete(&path).is(200, "true");
        });
        gone.is(404, "");
        // A missing key: its creation.
        let made = wakes(server, &format!("{path}?raw"), || put("", "5"));
        made.is(200, "5");
        wakes(server, &format!("/v1/kv/{prefix}?recurse"), || {
            server.delete(&format!("/v1/kv/{prefix}?recurse"));
        });
        // A transaction.
        wakes(server, &path, || {
            let op = json!([{"KV": {"Verb": "set", "Key": format!("{prefix}k"), "Value": "eA=="}}]);
            assert_eq!(server.put("/v1/txn", op.to_string()).status, 200);
        });
    });
}

/// A query for a missing key waits for changes of its branch of the radix tree.
#[test]
fn what_is_missing_wakes_with_its_neighbours() {
    everywhere(|server| {
        let prefix = server.prefix("missing");
        let path = |key: &str| format!("/v1/kv/{prefix}{key}");
        let put = |key: &str| {
            server.put(&path(key), "1").is(200, "true");
        };
        for key in ["a/b", "a/c", "d/e"] {
            put(key);
        }
        for query in ["", "?recurse", "?keys", "?raw"] {
            let missing = format!("{}{query}", path("a/x"));
            wakes(server, &missing, || put(&format!("a/new{}", query.len())));
            sleeps_on(server, &missing, |attempt| {
                put(&format!("d/new{}-{attempt}", query.len()));
            });
        }
        let mut id = String::new();
        let nobodys = "/v1/session/node/nobody".to_owned();
        for path in [format!("/v1/session/info/{NOBODY}"), nobodys] {
            wakes(server, &path, || id = server.create(""));
            server.destroy(&id);
        }
    });
}

#[test]
fn other_nodes_wake_nobody() {
    everywhere(|server| {
        let register = |node: &str, status: &str| {
            let check = json!({"CheckID": "c", "Status": status});
            let body = json!({"Node": node, "Address": "10.0.0.7", "Check": check});
            server
                .put("/v1/catalog/register", body.to_string())
                .is(200, "true");
        };
        register("wake-1", "passing");
        register("wake-2", "passing");
        sleeps_on(server, "/v1/health/node/wake-1", |attempt| {
            register("wake-2", ["critical", "warning", "passing"][attempt]);
        });
        wakes(server, "/v1/health/node/wake-1", || {
            register("wake-1", "critical");
        });
        for node in ["wake-1", "wake-2"] {
            let body = format!(r#"{{"Node":"{node}"}}"#);
            server.put("/v1/catalog/deregister", body).is(200, "true");
        }
    });
}

#[test]
fn what_changes_nothing_wakes_nobody() {
    everywhere(|server| {
        let prefix = server.prefix("quiet");
        let path = format!("/v1/kv/{prefix}k");
        server.put(&path, "1").is(200, "true");
        sleeps_on(server, &path, |_| {
            server.put(&path, "1").is(200, "true");
            server.put(&format!("{path}?cas=1"), "2").is(200, "false");
            server.put(&format!("{path}2"), "1").is(200, "true");
        });
        let id = server.create(r#"{"TTL":"1h"}"#);
        let info = format!("/v1/session/info/{id}");
        sleeps_on(server, &info, |_| {
            server.put(&format!("/v1/session/renew/{id}"), "");
        });
        // The index of other queries does not change either.
        sleeps_on(server, &info, |_| server.destroy(&server.create("")));
        server.destroy(&id);
    });
}

#[test]
fn the_wait_and_a_sixteenth() {
    everywhere(|server| {
        let path = format!("/v1/kv/{}k", server.prefix("wait"));
        server.put(&path, "1").is(200, "true");
        let index = server.get(&path).index();
        let (took, answer) = timed(|| server.get(&format!("{path}?index={index}&wait=2s")));
        assert!((2 * SECOND..LONG).contains(&took), "{took:?}");
        assert_eq!(answer.index(), index);
        for at_once in [
            format!("index={}&wait=60s", index - 1),
            "index=0&wait=60s".to_owned(),
            "wait=60s".to_owned(),
        ] {
            let (took, _) = timed(|| server.get(&format!("{path}?{at_once}")));
            assert!(took < LONG, "{at_once}: {took:?}");
        }
        // An index that has not been reached yet blocks like any other.
        let (took, _) = timed(|| server.get(&format!("{path}?index={}&wait=1s", index + 1000)));
        assert!(took >= SECOND);
    });
}

#[test]
fn an_unknown_session_answers_the_table_s_index() {
    everywhere(|server| {
        let path = format!("/v1/session/info/{NOBODY}");
        let before = server.get(&path).index();
        let id = server.create("");
        let (took, answer) = timed(|| server.get(&format!("{path}?index={before}&wait=60s")));
        assert!(took < LONG);
        assert_eq!(answer.json(), Value::Array(vec![]));
        assert!(answer.index() > before);
        server.destroy(&id);
    });
}
