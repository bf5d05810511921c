//! Health checks that sessions depend on.

use crate::present::create;
use consul_session_tests::api::Api;
use consul_session_tests::consul::{self, NODE};
use consul_session_tests::program::apply;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// Consul stores some lists of checks differently than it received them. An identical second call must still find the
/// session.
#[test]
fn every_combination_of_checks_is_idempotent() {
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
        // The program sends both lists as one, because Consul drops a separate `Checks` that is `["serfHealth"]`.
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

/// Returns the IDs of service checks. Whether the stored checks also have an empty namespace depends on Consul's
/// version.
fn names(checks: &Value) -> Vec<&Value> {
    checks
        .as_array()
        .into_iter()
        .flatten()
        .map(|check| &check["ID"])
        .collect()
}

/// Registers a node check and a service check, both passing.
fn register_checks(api: &Api) {
    let web =
        json!({"Name": "web", "Check": {"CheckID": "web-ok", "TTL": "1h", "Status": "passing"}});
    api.put("/v1/agent/service/register", &web).unwrap();
    let node = json!({"ID": "node-ok", "Name": "node-ok", "TTL": "1h", "Status": "passing"});
    api.put("/v1/agent/check/register", &node).unwrap();
    // The agent registers the checks in the catalog asynchronously.
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
        assert!(
            Instant::now() < until,
            "the checks did not appear in the catalog"
        );
        thread::sleep(Duration::from_millis(50));
    }
}
