//! Parameter values: which spellings are accepted, and which are rejected before any request.

use consul_session_tests::bad_server::Server;
use consul_session_tests::consul;
use consul_session_tests::program::{Program, apply};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

/// Checks that a parameter is rejected before any request, and returns the error message.
#[track_caller]
fn refused(parameters: Value, parameter: &str) -> String {
    let server = Server::answering(200, &[], "[]");
    let failure = apply(&server.url(), parameters).failure("invalid");
    assert_eq!(failure.get("parameter"), parameter, "{failure:?}");
    assert_eq!(failure.get("maybe_applied"), false);
    assert_eq!(server.requests(), []);
    failure.msg
}

#[test]
fn key_value_arguments_are_equivalent_to_json() {
    let Some(agent) = consul::plain() else { return };
    let url = format!("url={}", agent.http);
    let parameters = [
        "name=present-kv",
        "ttl=600",
        "delay=5",
        "checks=serfHealth",
        "unique=yes",
        "check_mode=no",
    ];
    let run = || {
        Program::new(["apply", &url].iter().chain(&parameters))
            .run()
            .success()
    };
    let first = run();
    assert_eq!(first["changed"], true);
    let stored = agent
        .api
        .session(first["session_id"].as_str().unwrap())
        .unwrap();
    assert_eq!(stored["TTL"], "600s");
    assert_eq!(stored["LockDelay"], 5 * SECOND);
    assert_eq!(stored["NodeChecks"], json!(["serfHealth"]));
    assert_eq!(run()["changed"], false);
}

#[test]
fn strings_are_coerced_as_automation_users_expect() {
    let Some(agent) = consul::plain() else { return };
    let port = agent.http.rsplit(':').next().unwrap();
    let parameters = json!({
        "name": 42, "ttl": "30", "delay": "5", "checks": "serfHealth", "unique": "yes", "recreate": "off",
        "check_mode": "no", "diff": "on", "host": "127.0.0.1", "port": port, "scheme": "http",
        "validate_certs": "yes", "datacenter": null, "timeout": "5", "behavior": "release",
    });
    let result = Program::apply(&parameters).run().success();
    assert_eq!(result["session"]["Name"], "42");
    assert_eq!(result["session"]["TTL"], "30s");
    assert!(result["diff"].is_object());
    for (parameter, value) in [
        ("unique", json!("maybe")),
        ("check_mode", json!(2)),
        ("diff", json!([])),
        ("recreate", json!("ja")),
    ] {
        refused(json!({"name": "x", parameter: value}), parameter);
    }
}

#[test]
fn delay_formats() {
    let Some(agent) = consul::plain() else { return };
    for (place, (delay, nanoseconds, shown)) in [
        (json!(0), 0, json!(0)),
        (json!("0s"), 0, json!(0)),
        (json!("1ms"), SECOND / 1000, json!("1ms")),
        (json!("500ms"), SECOND / 2, json!("500ms")),
        (json!("1.5s"), SECOND * 3 / 2, json!("1500ms")),
        (json!("20s"), 20 * SECOND, json!(20)),
        (json!("20"), 20 * SECOND, json!(20)),
        (json!(20.0), 20 * SECOND, json!(20)),
        (json!(60), 60 * SECOND, json!(60)),
        (json!("1m"), 60 * SECOND, json!(60)),
    ]
    .into_iter()
    .enumerate()
    {
        let parameters = json!({"name": format!("present-delay-{place}"), "delay": delay});
        let result = apply(&agent.http, parameters.clone()).success();
        let stored = agent
            .api
            .session(result["session_id"].as_str().unwrap())
            .unwrap();
        assert_eq!(stored["LockDelay"], nanoseconds, "{delay}");
        assert_eq!(result["delay"], shown, "{delay}");
        assert_eq!(
            apply(&agent.http, parameters).success()["changed"],
            false,
            "{delay}"
        );
    }
    for delay in [
        json!(61),
        json!("61s"),
        json!(999),
        json!(1000),
        json!(-1),
        json!("-15s"),
        json!("500ns"),
        json!(1.5),
        json!("soon"),
        json!(""),
        json!(true),
        json!([1]),
    ] {
        refused(json!({"name": "x", "delay": delay}), "delay");
    }
}

#[test]
fn ttl_formats() {
    let Some(agent) = consul::plain() else { return };
    for (place, (ttl, text, shown)) in [
        (json!(600), "600s", json!(600)),
        (json!("600"), "600s", json!(600)),
        (json!("10m"), "600s", json!(600)),
        (json!("10500ms"), "10500ms", json!("10500ms")),
        (json!(10), "10s", json!(10)),
        (json!(86_400), "86400s", json!(86_400)),
        (json!("24h"), "86400s", json!(86_400)),
        (json!(0), "", Value::Null),
        (json!("0s"), "", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let parameters = json!({"name": format!("present-ttl-{place}"), "ttl": ttl});
        let result = apply(&agent.http, parameters.clone()).success();
        let stored = agent
            .api
            .session(result["session_id"].as_str().unwrap())
            .unwrap();
        assert_eq!(stored["TTL"], text, "{ttl}");
        assert_eq!(result["ttl"], shown, "{ttl}");
        assert_eq!(
            apply(&agent.http, parameters).success()["changed"],
            false,
            "{ttl}"
        );
    }
    for ttl in [
        json!(9),
        json!("9s"),
        json!("9999ms"),
        json!(86_401),
        json!("25h"),
        json!(-5),
        json!("never"),
        json!(10.5),
    ] {
        refused(json!({"name": "x", "ttl": ttl}), "ttl");
    }
}

#[test]
fn invalid_parameters_are_rejected_before_any_request() {
    for (parameters, parameter, part) in [
        (json!({"nmae": "x"}), "nmae", "`name`"),
        (
            json!({"name": "x", "Check_Mode": true}),
            "Check_Mode",
            "`check_mode`",
        ),
        (json!({"state": "presnt"}), "state", "`present`"),
        (json!({"state": "remove"}), "state", "absent"),
        (
            json!({"name": "x", "behavior": "explode"}),
            "behavior",
            "release, delete",
        ),
        (
            json!({"state": "absent", "name": "", "id": ""}),
            "id",
            "`id` or the `name`",
        ),
        (
            json!({"name": "x", "id": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"}),
            "id",
            "state=info",
        ),
        (json!({"recreate": true}), "recreate", "`name`"),
        (
            json!({"name": "x", "recreate": true, "unique": false}),
            "recreate",
            "contradict",
        ),
        (
            json!({"name": "x", "behavior": ""}),
            "behavior",
            "release, delete",
        ),
        (json!({"name": "x", "state": ""}), "state", "one of present"),
        (json!({"name": "x", "checks": ["a", ""]}), "checks", "empty"),
        (
            json!({"name": "x", "checks": ""}),
            "checks",
            "[] for the empty list",
        ),
        (
            json!({"name": "x", "node_checks": " "}),
            "node_checks",
            "empty",
        ),
        (
            json!({"name": "x", "service_checks": ""}),
            "service_checks",
            "empty",
        ),
        (
            json!({"name": "x", "service_checks": [{"id": "a", "x": 1}]}),
            "service_checks",
            "`x`",
        ),
        (
            json!({"name": "x", "checks": [], "node_checks": ["a"]}),
            "checks",
            "contradict",
        ),
        (
            json!({"name": "x", "checks": ["a"], "node_checks": []}),
            "checks",
            "contradict",
        ),
        (json!({"name": "x", "node": "a/../b"}), "node", "`..`"),
        (json!({"name": ["x"]}), "name", "must be a string"),
    ] {
        let message = refused(parameters.clone(), parameter);
        assert!(message.contains(part), "{parameters}: {message}");
    }
}
