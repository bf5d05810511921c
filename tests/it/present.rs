//! state=present, read back from Consul itself.

use consul_session_tests::api::Api;
use consul_session_tests::bad_server::Server;
use consul_session_tests::consul::{self, Agent, NODE};
use consul_session_tests::program::{Program, Run, apply};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

/// Creates what is asked for, and returns it as Consul stores it.
#[track_caller]
fn create(agent: &Agent, parameters: Value) -> Value {
    let result = apply(&agent.http, parameters).success();
    assert_eq!(result["changed"], true, "{result}");
    let stored = agent
        .api
        .session(result["session_id"].as_str().unwrap())
        .unwrap();
    assert_eq!(result["session"], stored);
    stored
}

/// Fails unless the parameter is refused before any request goes out.
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
fn a_default_session_leaves_everything_to_consul() {
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
        "it would outlive its node"
    );
    assert_eq!(stored["LockDelay"], 15 * SECOND);
    assert_eq!(stored["Behavior"], "release");
    assert_eq!(stored["TTL"], "");
    assert_eq!(stored["Node"], NODE);
}

#[test]
fn every_attribute_arrives() {
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
fn key_value_arguments_say_the_same_as_json() {
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
fn delays() {
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
fn ttls() {
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

/// However Consul rewrites the checks it is given: what was asked for once is there the second time.
#[test]
fn every_combination_of_checks_is_found_again() {
    let Some(agent) = consul::plain() else { return };
    register_checks(&agent.api);
    for (place, (asked, node_checks, service_checks, checks)) in [
        (json!({}), json!(["serfHealth"]), Value::Null, Value::Null),
        (json!({"checks": []}), json!([]), Value::Null, Value::Null),
        (json!({"node_checks": []}), json!([]), Value::Null, Value::Null),
        (json!({"node_checks": ["serfHealth"]}), json!(["serfHealth"]), Value::Null, Value::Null),
        (json!({"node_checks": ["node-ok"]}), json!(["node-ok"]), Value::Null, Value::Null),
        (json!({"node_checks": ["node-ok", "serfHealth"]}), json!(["node-ok", "serfHealth"]), Value::Null, Value::Null),
        (json!({"node_checks": "serfHealth, node-ok"}), json!(["serfHealth", "node-ok"]), Value::Null, Value::Null),
        (json!({"checks": ["serfHealth"]}), json!(["serfHealth"]), Value::Null, Value::Null),
        (json!({"checks": "node-ok"}), json!(["serfHealth"]), Value::Null, json!(["node-ok"])),
        (json!({"checks": ["node-ok", "web-ok"]}), json!(["serfHealth"]), Value::Null, json!(["node-ok", "web-ok"])),
        (json!({"checks": "serfHealth,node-ok"}), json!(["serfHealth"]), Value::Null, json!(["serfHealth", "node-ok"])),
        // Two lists go as one: of two, Consul drops the older one if it names `serfHealth` alone.
        (json!({"checks": ["node-ok"], "node_checks": ["serfHealth"]}), json!(["serfHealth", "node-ok"]), Value::Null, Value::Null),
        (json!({"checks": ["serfHealth"], "node_checks": ["node-ok"]}), json!(["node-ok", "serfHealth"]), Value::Null, Value::Null),
        (json!({"checks": ["node-ok"], "node_checks": ["node-ok"]}), json!(["node-ok"]), Value::Null, Value::Null),
        (json!({"checks": [], "node_checks": []}), json!([]), Value::Null, Value::Null),
        (json!({"service_checks": ["web-ok"]}), json!(["serfHealth"]), json!([{"ID": "web-ok"}]), Value::Null),
        (json!({"service_checks": "web-ok"}), json!(["serfHealth"]), json!([{"ID": "web-ok"}]), Value::Null),
        (json!({"service_checks": [{"id": "web-ok"}]}), json!(["serfHealth"]), json!([{"ID": "web-ok"}]), Value::Null),
        (json!({"service_checks": []}), json!(["serfHealth"]), json!([]), Value::Null),
        (json!({"service_checks": ["web-ok"], "node_checks": []}), json!([]), json!([{"ID": "web-ok"}]), Value::Null),
        (json!({"service_checks": ["web-ok"], "checks": []}), json!([]), json!([{"ID": "web-ok"}]), Value::Null),
        (
            json!({"service_checks": ["web-ok"], "checks": ["node-ok"], "node_checks": ["serfHealth"]}),
            json!(["serfHealth", "node-ok"]),
            json!([{"ID": "web-ok"}]),
            Value::Null,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut parameters = asked.clone();
        parameters["name"] = format!("present-checks-{place}").into();
        let stored = create(agent, parameters.clone());
        assert_eq!(stored["NodeChecks"], node_checks, "{asked}");
        assert_eq!(names(&stored["ServiceChecks"]), names(&service_checks), "{asked}");
        assert_eq!(stored.get("Checks").unwrap_or(&Value::Null), &checks, "{asked}");
        let again = apply(&agent.http, parameters).success();
        assert_eq!(again["changed"], false, "{asked}: {again}");
        assert_eq!(again["session_id"], stored["ID"], "{asked}");
    }
}

/// The ids of service checks; Consul adds an empty namespace, or none.
fn names(checks: &Value) -> Vec<&Value> {
    checks
        .as_array()
        .into_iter()
        .flatten()
        .map(|check| &check["ID"])
        .collect()
}

/// A check of the node and one of a service, both passing.
fn register_checks(api: &Api) {
    let web =
        json!({"Name": "web", "Check": {"CheckID": "web-ok", "TTL": "1h", "Status": "passing"}});
    api.put("/v1/agent/service/register", &web).unwrap();
    let node = json!({"ID": "node-ok", "Name": "node-ok", "TTL": "1h", "Status": "passing"});
    api.put("/v1/agent/check/register", &node).unwrap();
    // The agent tells the catalog a moment later.
    let until = Instant::now() + Duration::from_secs(10);
    let known = || {
        let checks = api.get(&format!("/v1/health/node/{NODE}")).unwrap();
        ["web-ok", "node-ok"].iter().all(|name| {
            checks
                .as_array()
                .unwrap()
                .iter()
                .any(|check| check["CheckID"] == *name)
        })
    };
    while !known() {
        assert!(Instant::now() < until, "the checks do not get registered");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_asked_for_twice_is_there_once() {
    let Some(agent) = consul::plain() else { return };
    let parameters =
        json!({"name": "present-twice", "ttl": 30, "behavior": "delete", "diff": true});
    let first = apply(&agent.http, parameters.clone()).success();
    assert_eq!(first["changed"], true);
    assert_eq!(
        first["diff"],
        json!({"before": [], "after": [first["session"]]})
    );
    // The same by other words: a TTL is compared as a duration.
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
    // Only what is asked for is compared.
    let lax = apply(&agent.http, json!({"name": "present-twice"})).success();
    assert_eq!(lax["changed"], false);
    assert_eq!(
        (&lax["ttl"], &lax["behavior"]),
        (&json!(30), &json!("delete"))
    );
    assert_eq!(agent.api.named("present-twice").len(), 1);
}

#[test]
fn a_conflict_says_what_differs() {
    let Some(agent) = consul::plain() else { return };
    let stored = create(agent, json!({"name": "present-conflict", "ttl": 30}));
    for (asked, parts) in [
        (json!({"ttl": 60}), ["ttl is 30s", "asked for 60s"]),
        (json!({"ttl": 0}), ["ttl is 30s", "asked for none"]),
        (json!({"delay": 1}), ["delay is 15s", "asked for 1s"]),
        (
            json!({"behavior": "delete"}),
            ["behavior is release", "asked for delete"],
        ),
        (
            json!({"checks": []}),
            ["checks is [serfHealth]", "asked for []"],
        ),
        (
            json!({"service_checks": ["web"]}),
            ["service_checks is []", "asked for [web]"],
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
fn recreate_replaces_what_differs_and_nothing_else() {
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
fn recreate_keeps_the_old_one_if_consul_refuses_the_new() {
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
fn several_of_one_name() {
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

#[test]
fn without_a_name_every_call_makes_another() {
    let Some(agent) = consul::plain() else { return };
    let first = create(agent, json!({}));
    let second = create(agent, json!({"state": "present", "ttl": "10s"}));
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
fn diff_is_only_given_where_asked_for() {
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
    assert_eq!(stored["Node"], "hARNESS", "Consul keeps it as typed");
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
    .says(&["present-nowhere", "No node of this name"]);
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

    // The same name on another node is another session.
    agent.api.register_node("present-other");
    let other = create(
        agent,
        json!({"name": "present-node", "node": "present-other", "node_checks": []}),
    );
    assert_ne!(other["ID"], stored["ID"]);
    // And one on a node without an agent has no health check to keep.
    apply(
        &agent.http,
        json!({"name": "present-unhealthy", "node": "present-other"}),
    )
    .failure("not-found")
    .says(&["serfHealth"]);
}

/// Consul folds the case of every alphabet.
#[test]
fn a_node_is_found_in_any_case() {
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
fn names_of_any_kind_and_length() {
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

#[test]
fn texts_are_coerced_as_automation_users_expect() {
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
fn wrong_parameters_are_refused_before_any_request() {
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
        (json!({"name": "x", "checks": ""}), "checks", "list []"),
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
        (json!({"name": ["x"]}), "name", "text"),
    ] {
        let message = refused(parameters.clone(), parameter);
        assert!(message.contains(part), "{parameters}: {message}");
    }
}

/// Consul's indexes are 64 bits wide; read as a float they would end in other digits.
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
