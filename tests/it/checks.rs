//! Checks that a session depends on.

use crate::present::create;
use consul_session_tests::api::Api;
use consul_session_tests::consul::{self, NODE};
use consul_session_tests::program::apply;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

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
    let until = Instant::now() + Duration::from_secs(60);
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
