//! `state=present`, compared with what Consul stores.

use consul_session_tests::bad_server::Server;
use consul_session_tests::consul::{self, Agent, NODE};
use consul_session_tests::program::{Run, apply};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

/// Creates a session and returns it as Consul stores it.
#[track_caller]
pub(crate) fn create(agent: &Agent, parameters: Value) -> Value {
    let result = apply(&agent.http, parameters).success();
    assert_eq!(result["changed"], true, "{result}");
    let stored = agent
        .api
        .session(result["session_id"].as_str().unwrap())
        .unwrap();
    assert_eq!(result["session"], stored);
    stored
}

#[test]
fn default_session_uses_consuls_defaults() {
    let Some(agent) = consul::plain() else { return };
    let result = apply(&agent.http, json!({"name": "present-default"})).success();
    let id = &result["session_id"];
    let stored = agent.api.session(id.as_str().unwrap()).unwrap();
    assert_eq!(
        result,
        json!({
            "changed": true,
            "session_id": id,
            "name": "present-default",
            "behavior": "release",
            "ttl": null,
            "delay": 15,
            "checks": null,
            "node": null,
            "session": stored,
        })
    );
    assert_eq!(
        stored["NodeChecks"],
        json!(["serfHealth"]),
        "the session would outlive its node"
    );
    assert_eq!(stored["LockDelay"], 15 * SECOND);
    assert_eq!(stored["Behavior"], "release");
    assert_eq!(stored["TTL"], "");
    assert_eq!(stored["Node"], NODE);
}

#[test]
fn every_attribute_is_stored() {
    let Some(agent) = consul::plain() else { return };
    let parameters = json!({
        "name": "present-all", "node": NODE, "datacenter": "dc1", "delay": "20s", "ttl": "1m30s",
        "behavior": "delete", "node_checks": ["serfHealth"],
    });
    let result = apply(&agent.http, parameters).success();
    for (key, value) in [
        ("name", json!("present-all")),
        ("behavior", json!("delete")),
        ("ttl", json!(90)),
        ("delay", json!(20)),
        ("node", json!(NODE)),
        ("checks", Value::Null),
    ] {
        assert_eq!(result[key], value, "{key}");
    }
    let stored = agent
        .api
        .session(result["session_id"].as_str().unwrap())
        .unwrap();
    assert_eq!(stored["Behavior"], "delete");
    assert_eq!(stored["LockDelay"], 20 * SECOND);
    assert_eq!(stored["TTL"], "90s");
}

#[test]
fn every_call_without_a_name_creates_a_session() {
    let Some(agent) = consul::plain() else { return };
    let first = create(agent, json!({}));
    let second = create(agent, json!({"state": "present", "ttl": "600s"}));
    assert_ne!(first["ID"], second["ID"]);
    assert_eq!(first["Name"], "");
}

#[test]
fn check_mode_writes_nothing() {
    let Some(agent) = consul::plain() else { return };
    agent.api.register_node("present-check-mode");
    let ours = || agent.api.of_node("present-check-mode");
    for (name, unique) in [
        (json!("present-predicted"), true),
        (json!("present-predicted"), false),
        (Value::Null, true),
    ] {
        let parameters = json!({
            "name": name, "unique": unique, "node": "present-check-mode", "node_checks": [], "ttl": 30,
            "check_mode": true, "diff": true,
        });
        let result = apply(&agent.http, parameters).success();
        assert_eq!(result["changed"], true);
        assert_eq!(result["session_id"], Value::Null);
        assert_eq!(result["diff"]["before"], json!([]));
        let after = &result["diff"]["after"][0];
        assert_eq!((&after["Name"], &after["TTL"]), (&name, &json!("30s")));
        assert_eq!(ours(), Vec::<Value>::new());
    }
    let there = agent.api.create(
        &json!({"Name": "present-predicted", "Node": "present-check-mode", "NodeChecks": []}),
    );
    let before = ours();
    let same = apply(
        &agent.http,
        json!({"name": "present-predicted", "check_mode": "yes"}),
    )
    .success();
    assert_eq!(
        (&same["changed"], &same["session_id"]),
        (&json!(false), &json!(there))
    );
    assert_eq!(ours(), before);
}

#[test]
fn diff_is_only_returned_on_request() {
    let Some(agent) = consul::plain() else { return };
    let result = apply(
        &agent.http,
        json!({"name": "present-no-diff", "diff": "no"}),
    )
    .success();
    assert!(result.get("diff").is_none());
}

#[test]
fn nodes_and_datacenters() {
    let Some(agent) = consul::plain() else { return };
    let stored = create(agent, json!({"name": "present-node", "node": "hARNESS"}));
    assert_eq!(stored["Node"], "hARNESS", "Consul stores the name as given");
    let again = apply(&agent.http, json!({"name": "present-node", "node": NODE})).success();
    assert_eq!(
        (&again["changed"], &again["session_id"]),
        (&json!(false), &stored["ID"])
    );

    apply(
        &agent.http,
        json!({"name": "present-nowhere", "node": "nowhere"}),
    )
    .failure("not-found")
    .says(&["present-nowhere", "no node of this name"]);
    apply(
        &agent.http,
        json!({"name": "present-nowhere", "datacenter": "dc9"}),
    )
    .failure("not-found")
    .says(&["datacenter"]);
    apply(
        &agent.http,
        json!({"name": "present-nowhere", "checks": ["nothing"]}),
    )
    .failure("not-found")
    .says(&["nothing", "check"]);
    assert_eq!(agent.api.named("present-nowhere"), Vec::<Value>::new());

    // A session with the same name on another node is a different session.
    agent.api.register_node("present-other");
    let other = create(
        agent,
        json!({"name": "present-node", "node": "present-other", "node_checks": []}),
    );
    assert_ne!(other["ID"], stored["ID"]);
    // A node without an agent has no `serfHealth` check, which sessions depend on by default.
    apply(
        &agent.http,
        json!({"name": "present-unhealthy", "node": "present-other"}),
    )
    .failure("not-found")
    .says(&["serfHealth"]);
}

/// Consul ignores the case of node names, including that of non-ASCII letters.
#[test]
fn node_names_are_case_insensitive() {
    let Some(agent) = consul::plain() else { return };
    agent.api.register_node("present-zürich");
    let on = |node: &str| json!({"name": "present-case", "node": node, "node_checks": []});
    let stored = create(agent, on("present-zürich"));
    let again = apply(&agent.http, on("PRESENT-ZÜRICH")).success();
    assert_eq!(
        (&again["changed"], &again["session_id"]),
        (&json!(false), &stored["ID"])
    );
    assert_eq!(agent.api.named("present-case").len(), 1);
}

#[test]
fn names_with_unusual_characters_or_length() {
    let Some(agent) = consul::plain() else { return };
    let long = "n".repeat(100_000);
    for name in [
        "Grüße, 世界 🔒",
        "a\"b\\c\nd\te",
        "<&>\u{2028}",
        "../../agent/self?dc=x#y",
        "%00%0a",
        long.as_str(),
    ] {
        let stored = create(agent, json!({"name": name}));
        assert_eq!(stored["Name"], name);
        let again = apply(&agent.http, json!({"name": name})).success();
        assert_eq!(
            (&again["changed"], &again["session_id"]),
            (&json!(false), &stored["ID"])
        );
        let gone = apply(&agent.http, json!({"state": "absent", "name": name})).success();
        assert_eq!(gone["session_ids"], json!([stored["ID"]]));
    }
}

/// Consul's indexes are 64-bit integers, which a float does not represent exactly.
#[test]
fn indexes_are_exact() {
    let session = json!({
        "ID": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11", "Name": "n", "Node": "x", "LockDelay": 15 * SECOND,
        "Behavior": "release", "TTL": "", "NodeChecks": [], "ServiceChecks": null,
        "CreateIndex": u64::MAX, "ModifyIndex": u64::MAX - 1, "Unheard": {"of": 9_007_199_254_740_993_u64},
    });
    let server = Server::answering(200, &[], json!([session]).to_string());
    let run: Run = apply(&server.url(), json!({"name": "n"}));
    assert_eq!(run.success()["session"], session);
    assert!(run.stdout.contains("18446744073709551615") && run.stdout.contains("9007199254740993"));
}
