//! Concurrent processes that request the same session.

use consul_session_tests::consul;
use consul_session_tests::program::apply;
use serde_json::{Value, json};
use std::sync::Barrier;
use std::thread;

/// Runs the same action in several processes at the same time and returns their results.
fn at_once(processes: usize, url: &str, parameters: &Value) -> Vec<Value> {
    let barrier = Barrier::new(processes);
    thread::scope(|scope| {
        let runs: Vec<_> = (0..processes)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    apply(url, parameters.clone()).success()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

fn changed(results: &[Value]) -> usize {
    results
        .iter()
        .filter(|result| result["changed"] == true)
        .count()
}

#[test]
fn concurrent_calls_get_one_session() {
    let Some(agent) = consul::plain() else { return };
    let results = at_once(
        50,
        &agent.http,
        &json!({"name": "race", "ttl": "600s", "timeout": "60s"}),
    );
    let there = agent.api.named("race");
    assert_eq!(there.len(), 1, "{there:?}");
    for result in &results {
        assert_eq!(result["session_id"], there[0]["ID"]);
        assert_eq!(result["session"], there[0]);
    }
    assert_eq!(changed(&results), 1);
}

/// Runs several rounds, because a process removes another's new session only with unlucky timing.
#[test]
fn concurrent_recreates_get_one_session() {
    let Some(agent) = consul::plain() else { return };
    for round in 0..4 {
        let name = format!("race-recreate-{round}");
        let old = agent.api.create(&json!({"Name": name}));
        let parameters = json!({"name": name, "ttl": "600s", "timeout": "60s", "recreate": true});
        let results = at_once(20, &agent.http, &parameters);
        let there = agent.api.named(&name);
        assert_eq!(there.len(), 1, "{there:?}");
        assert_ne!(there[0]["ID"], old);
        for result in &results {
            assert_eq!(result["session_id"], there[0]["ID"]);
        }
        assert!(changed(&results) >= 1);
    }
}

/// Processes that want different attributes replace each other's sessions. None of them fails with a conflict that
/// recommends `recreate`, since all have set it.
#[test]
fn concurrent_recreates_with_different_attributes_succeed() {
    let Some(agent) = consul::plain() else { return };
    for round in 0..6 {
        let name = &format!("race-differ-{round}");
        let barrier = Barrier::new(12);
        thread::scope(|scope| {
            for number in 0..12 {
                let (barrier, agent) = (&barrier, &agent);
                scope.spawn(move || {
                    let ttl = 600 + number % 2;
                    let wanted = json!({"name": name, "ttl": ttl, "recreate": true, "timeout": 60});
                    barrier.wait();
                    apply(&agent.http, wanted).success();
                });
            }
        });
        assert_eq!(agent.api.named(name).len(), 1, "round {round}");
    }
}

#[test]
fn concurrent_calls_without_unique_get_separate_sessions() {
    let Some(agent) = consul::plain() else { return };
    let results = at_once(
        10,
        &agent.http,
        &json!({"name": "race-many", "unique": false, "timeout": 60}),
    );
    assert_eq!(changed(&results), 10);
    assert_eq!(agent.api.named("race-many").len(), 10);
}
