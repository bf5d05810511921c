//! `state=absent` by ID and by name, and which sessions it reports as removed.

use consul_session_tests::bad_server::Server;
use consul_session_tests::consul::{self, NODE};
use consul_session_tests::program::apply;
use serde_json::{Value, json};

const UNKNOWN: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";

#[test]
fn removes_by_id_once() {
    let Some(agent) = consul::plain() else { return };
    let id = agent.api.create(&json!({"Name": "absent-id"}));
    let session = agent.api.session(&id).unwrap();
    let parameters =
        json!({"state": "absent", "id": id.to_uppercase(), "datacenter": "dc1", "diff": true});

    let mut predicting = parameters.clone();
    predicting["check_mode"] = true.into();
    let predicted = apply(&agent.http, predicting).success();
    assert_eq!(
        agent.api.session(&id).as_ref(),
        Some(&session),
        "check mode removed the session"
    );

    let done = apply(&agent.http, parameters.clone()).success();
    assert_eq!(
        done,
        json!({
            "changed": true,
            "session_id": id,
            "session_ids": [id],
            "diff": {"before": [session], "after": []},
        })
    );
    assert_eq!(predicted, done);
    assert_eq!(agent.api.session(&id), None);

    let again = apply(&agent.http, parameters).success();
    assert_eq!(again["changed"], false);
    assert_eq!(again["session_ids"], json!([]));
    assert_eq!(again["diff"], json!({"before": [], "after": []}));
}

#[test]
fn removes_all_sessions_with_a_name() {
    let Some(agent) = consul::plain() else { return };
    let first = agent.api.create(&json!({"Name": "absent-name"}));
    let second = agent
        .api
        .create(&json!({"Name": "absent-name", "TTL": "30s"}));
    let other = agent.api.create(&json!({"Name": "absent-name-not"}));
    let parameters = json!({"state": "absent", "name": "absent-name"});
    let mut predicting = parameters.clone();
    predicting["check_mode"] = true.into();

    let predicted = apply(&agent.http, predicting).success();
    assert_eq!(
        agent.api.named("absent-name").len(),
        2,
        "check mode removed sessions"
    );
    let done = apply(&agent.http, parameters.clone()).success();
    assert_eq!(
        done,
        json!({"changed": true, "session_id": null, "session_ids": [first, second]})
    );
    assert_eq!(predicted, done);
    assert_eq!(agent.api.named("absent-name"), Vec::<Value>::new());
    assert!(agent.api.session(&other).is_some());

    let again = apply(&agent.http, parameters).success();
    assert_eq!(
        again,
        json!({"changed": false, "session_id": null, "session_ids": []})
    );
}

#[test]
fn removes_by_name_on_one_node() {
    let Some(agent) = consul::plain() else { return };
    agent.api.register_node("absent-node");
    let here = agent
        .api
        .create(&json!({"Name": "absent-node", "Node": "absent-node", "NodeChecks": []}));
    let there = agent.api.create(&json!({"Name": "absent-node"}));
    let on = |node: &str| {
        apply(
            &agent.http,
            json!({"state": "absent", "name": "absent-node", "node": node}),
        )
        .success()
    };

    assert_eq!(on("elsewhere")["changed"], false);
    assert_eq!(
        on("ABSENT-node"),
        json!({"changed": true, "session_id": here, "session_ids": [here]})
    );
    assert!(agent.api.session(&there).is_some());
    assert_eq!(on(&NODE.to_lowercase())["session_ids"], json!([there]));
}

#[test]
fn unknown_id_changes_nothing() {
    let Some(agent) = consul::plain() else { return };
    let result = apply(&agent.http, json!({"state": "absent", "id": UNKNOWN})).success();
    assert_eq!(
        result,
        json!({"changed": false, "session_id": UNKNOWN, "session_ids": []})
    );
    apply(
        &agent.http,
        json!({"state": "absent", "id": UNKNOWN, "datacenter": "dc9"}),
    )
    .failure("not-found");
}

#[test]
fn malformed_ids_are_rejected_before_any_request() {
    let server = Server::answering(200, &[], "[]");
    for state in ["absent", "info", "renew"] {
        for id in [
            "x",
            "../../agent/self",
            &format!("{UNKNOWN}?dc=x"),
            &format!("{UNKNOWN}\n"),
            &UNKNOWN.replace('-', "_"),
        ] {
            let failure =
                apply(&server.url(), json!({"state": state, "id": id})).failure("invalid");
            assert_eq!(failure.get("parameter"), "id", "{id}");
        }
        let failure = apply(&server.url(), json!({"state": state})).failure("invalid");
        failure.says(&["`id` or the `name`"]);
    }
    assert_eq!(server.requests(), []);
}

/// A caller can combine the ID of one session with the name of another.
#[test]
fn warns_if_the_name_does_not_match_the_id() {
    let Some(agent) = consul::plain() else { return };
    let id = agent.api.create(&json!({"Name": "absent-true-name"}));
    let result = apply(
        &agent.http,
        json!({"state": "absent", "id": id, "name": "absent-false-name"}),
    )
    .success();
    assert_eq!(result["changed"], true);
    assert!(
        result["warnings"][0]
            .as_str()
            .unwrap()
            .contains("absent-true-name")
    );
}
