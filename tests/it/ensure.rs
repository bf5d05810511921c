//! `state=present` if sessions with the name already exist.

use crate::present::create;
use consul_session_tests::consul;
use consul_session_tests::program::apply;
use serde_json::json;

#[test]
fn second_identical_call_changes_nothing() {
    let Some(agent) = consul::plain() else { return };
    let parameters =
        json!({"name": "present-twice", "ttl": 30, "behavior": "delete", "diff": true});
    let first = apply(&agent.http, parameters.clone()).success();
    assert_eq!(first["changed"], true);
    assert_eq!(
        first["diff"],
        json!({"before": [], "after": [first["session"]]})
    );
    // TTLs are compared as durations, however they are written.
    for ttl in [json!(30), json!("30s"), json!("30000ms"), json!("0.5m")] {
        let mut parameters = parameters.clone();
        parameters["ttl"] = ttl;
        let again = apply(&agent.http, parameters).success();
        assert_eq!(again["changed"], false);
        assert_eq!(again["session_id"], first["session_id"]);
        assert_eq!(again["session"], first["session"]);
        assert_eq!(
            again["diff"],
            json!({"before": [first["session"]], "after": [first["session"]]})
        );
    }
    // Only given attributes are compared.
    let lax = apply(&agent.http, json!({"name": "present-twice"})).success();
    assert_eq!(lax["changed"], false);
    assert_eq!(
        (&lax["ttl"], &lax["behavior"]),
        (&json!(30), &json!("delete"))
    );
    assert_eq!(agent.api.named("present-twice").len(), 1);
}

#[test]
fn conflict_lists_the_differences() {
    let Some(agent) = consul::plain() else { return };
    let stored = create(agent, json!({"name": "present-conflict", "ttl": 30}));
    for (asked, parts) in [
        (json!({"ttl": 60}), ["ttl is 30s", "instead of 60s"]),
        (json!({"ttl": 0}), ["ttl is 30s", "instead of none"]),
        (json!({"delay": 1}), ["delay is 15s", "instead of 1s"]),
        (
            json!({"behavior": "delete"}),
            ["behavior is release", "instead of delete"],
        ),
        (
            json!({"checks": []}),
            ["checks is [serfHealth]", "instead of []"],
        ),
        (
            json!({"service_checks": ["web"]}),
            ["service_checks is []", "instead of [web]"],
        ),
        (
            json!({"ttl": 60, "delay": 1}),
            ["ttl is 30s", "delay is 15s"],
        ),
    ] {
        for check_mode in [false, true] {
            let mut parameters = asked.clone();
            parameters["name"] = "present-conflict".into();
            parameters["check_mode"] = check_mode.into();
            let failure = apply(&agent.http, parameters).failure("conflict");
            failure
                .says(&parts)
                .says(&[stored["ID"].as_str().unwrap(), "recreate"]);
        }
    }
    assert_eq!(agent.api.named("present-conflict"), [stored]);
}

#[test]
fn recreate_replaces_only_differing_sessions() {
    let Some(agent) = consul::plain() else { return };
    let old = create(agent, json!({"name": "present-recreate"}));
    let parameters = json!({"name": "present-recreate", "ttl": 30, "recreate": true, "diff": true});
    let mut predicting = parameters.clone();
    predicting["check_mode"] = true.into();
    let predicted = apply(&agent.http, predicting).success();
    assert_eq!(predicted["changed"], true);
    assert_eq!(predicted["replaced"], json!([old["ID"]]));
    assert_eq!(predicted["diff"]["before"], json!([old]));
    assert_eq!(
        agent.api.named("present-recreate"),
        std::slice::from_ref(&old)
    );

    let done = apply(&agent.http, parameters.clone()).success();
    assert_eq!(done["changed"], true);
    assert_eq!(done["replaced"], json!([old["ID"]]));
    assert_eq!(
        done["diff"],
        json!({"before": [old], "after": [done["session"]]})
    );
    assert_eq!(
        agent.api.named("present-recreate"),
        [done["session"].clone()]
    );

    let again = apply(&agent.http, parameters).success();
    assert_eq!(again["changed"], false);
    assert_eq!(again["session_id"], done["session_id"]);
}

#[test]
fn recreate_keeps_the_old_session_if_consul_rejects_the_new_one() {
    let Some(agent) = consul::plain() else { return };
    let old = create(agent, json!({"name": "present-refused"}));
    let parameters =
        json!({"name": "present-refused", "node_checks": ["no-such-check"], "recreate": true});
    apply(&agent.http, parameters)
        .failure("not-found")
        .says(&["no-such-check"]);
    assert_eq!(agent.api.named("present-refused"), [old]);
}

#[test]
fn several_sessions_with_one_name() {
    let Some(agent) = consul::plain() else { return };
    let several = || json!({"name": "present-several", "unique": false});
    let first = create(agent, several());
    let second = create(agent, several());
    assert_ne!(first["ID"], second["ID"]);
    let mut third = several();
    third["ttl"] = 30.into();
    let third = create(agent, third);

    let oldest = apply(&agent.http, json!({"name": "present-several"})).success();
    assert_eq!(oldest["changed"], false);
    assert_eq!(oldest["session"], first);
    let warning = oldest["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains(second["ID"].as_str().unwrap()),
        "{warning}"
    );
    assert!(warning.contains(third["ID"].as_str().unwrap()), "{warning}");

    let matching = apply(
        &agent.http,
        json!({"name": "present-several", "ttl": "30s"}),
    )
    .success();
    assert_eq!(matching["session"], third);

    let failure =
        apply(&agent.http, json!({"name": "present-several", "ttl": 40})).failure("conflict");
    for session in [&first, &second, &third] {
        failure.says(&[session["ID"].as_str().unwrap()]);
    }

    let parameters = json!({"name": "present-several", "ttl": 30, "recreate": true});
    let one = apply(&agent.http, parameters).success();
    assert_eq!(one["changed"], true);
    assert_eq!(one["session"], third);
    assert_eq!(agent.api.named("present-several"), [third]);
}
