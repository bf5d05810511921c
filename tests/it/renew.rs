//! `state=renew`.

use consul_session_tests::consul;
use consul_session_tests::program::apply;
use serde_json::{Value, json};

#[test]
fn renews_by_id_and_by_name() {
    let Some(agent) = consul::plain() else { return };
    let id = agent.api.create(&json!({"Name": "renew", "TTL": "1h"}));
    let session = agent.api.session(&id).unwrap();
    for by in [
        json!({"id": id}),
        json!({"id": id.to_uppercase()}),
        json!({"name": "renew"}),
        json!({"name": "renew", "check_mode": true}),
    ] {
        let mut parameters = by.clone();
        parameters["state"] = "renew".into();
        let result = apply(&agent.http, parameters).success();
        assert_eq!(
            result,
            json!({"changed": true, "session_id": id, "session": session, "ttl": 3600}),
            "{by}"
        );
    }
}

#[test]
fn warns_about_a_session_without_ttl() {
    let Some(agent) = consul::plain() else { return };
    let id = agent.api.create(&json!({"Name": "renew-forever"}));
    let result = apply(&agent.http, json!({"state": "renew", "id": id})).success();
    assert_eq!(result["ttl"], Value::Null);
    assert!(result["warnings"][0].as_str().unwrap().contains("no ttl"));
}

#[test]
fn missing_session_is_not_found() {
    let Some(agent) = consul::plain() else { return };
    let id = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
    for check_mode in [false, true] {
        for (by, what) in [
            (json!({"id": id}), id),
            (json!({"name": "renew-nobody"}), "renew-nobody"),
        ] {
            let mut parameters = by;
            parameters["state"] = "renew".into();
            parameters["check_mode"] = check_mode.into();
            let failure = apply(&agent.http, parameters).failure("not-found");
            failure.says(&["cannot renew", what]);
            assert_eq!(failure.get("maybe_applied"), false);
        }
    }
}

#[test]
fn ambiguous_name_is_a_conflict() {
    let Some(agent) = consul::plain() else { return };
    let ids = [(); 2].map(|()| {
        agent
            .api
            .create(&json!({"Name": "renew-two", "TTL": "30s"}))
    });
    apply(&agent.http, json!({"state": "renew", "name": "renew-two"}))
        .failure("conflict")
        .says(&[&ids[0], &ids[1], "`id`"]);
}
