//! `state=info`, `node` and `list`, which always return a list and never report a change.

use consul_session_tests::consul::{self, Agent};
use consul_session_tests::program::{Program, apply};
use serde_json::{Value, json};

#[test]
fn info_by_id_and_by_name() {
    let Some(agent) = consul::plain() else { return };
    let id = agent
        .api
        .create(&json!({"Name": "reads-info", "TTL": "30s"}));
    let session = agent.api.session(&id).unwrap();
    let expected = json!({"changed": false, "session_id": id, "sessions": [session]});
    for parameters in [
        json!({"id": id}),
        json!({"id": id.to_uppercase(), "datacenter": "dc1"}),
        json!({"name": "reads-info"}),
        json!({"name": "reads-info", "node": "HARNESS"}),
        json!({"name": "reads-info", "check_mode": true, "diff": false}),
    ] {
        let mut parameters = parameters;
        parameters["state"] = "info".into();
        assert_eq!(
            apply(&agent.http, parameters.clone()).success(),
            expected,
            "{parameters}"
        );
    }
    agent.api.create(&json!({"Name": "reads-info"}));
    let two = apply(&agent.http, json!({"state": "info", "name": "reads-info"})).success();
    assert_eq!(two["sessions"], json!(agent.api.named("reads-info")));
    assert_eq!(
        (
            two["sessions"].as_array().unwrap().len(),
            &two["session_id"]
        ),
        (2, &Value::Null)
    );
}

#[test]
fn info_of_a_missing_session_is_an_empty_list() {
    let Some(agent) = consul::plain() else { return };
    let id = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
    let unknown = apply(&agent.http, json!({"state": "info", "id": id})).success();
    assert_eq!(
        unknown,
        json!({"changed": false, "session_id": id, "sessions": []})
    );
    let unknown = apply(
        &agent.http,
        json!({"state": "info", "name": "reads-nobody"}),
    )
    .success();
    assert_eq!(
        unknown,
        json!({"changed": false, "session_id": null, "sessions": []})
    );
    apply(
        &agent.http,
        json!({"state": "info", "id": id, "datacenter": "dc9"}),
    )
    .failure("not-found");
}

#[test]
fn node_returns_the_sessions_of_a_node() {
    let Some(agent) = consul::plain() else { return };
    let node = "Reads ü/ node?";
    agent.api.register_node(node);
    let of = |node: &str| apply(&agent.http, json!({"state": "node", "node": node})).success();
    for count in 0..3 {
        let result = of(node);
        assert_eq!(result["node"], node);
        assert_eq!(result["changed"], false);
        assert_eq!(result["sessions"].as_array().unwrap().len(), count);
        agent
            .api
            .create(&json!({"Name": "reads-node", "Node": node, "NodeChecks": []}));
    }
    assert_eq!(of("READS Ü/ NODE?")["sessions"], of(node)["sessions"]);
    assert_eq!(
        of("reads-nowhere"),
        json!({"changed": false, "node": "reads-nowhere", "sessions": []})
    );

    let failure = apply(&agent.http, json!({"state": "node", "name": node})).failure("invalid");
    assert_eq!(failure.get("parameter"), "node");
    for node in ["..", "a//b", "/", "a\nb", "."] {
        let failure = apply(&agent.http, json!({"state": "node", "node": node})).failure("invalid");
        assert_eq!(failure.get("parameter"), "node", "{node:?}");
    }
}

/// Uses a separate agent, because the test counts all sessions.
#[test]
fn list_returns_any_number_of_sessions() {
    let Some(agent) = Agent::start() else { return };
    let mut there = 0;
    for count in [0, 1, 2, 300] {
        for _ in there..count {
            agent.api.create(&json!({"Name": "reads-list"}));
        }
        there = count;
        let result = apply(&agent.http, json!({"state": "list"})).success();
        assert_eq!(result["changed"], false);
        assert_eq!(result["sessions"], json!(agent.api.sessions()));
        assert_eq!(result["sessions"].as_array().unwrap().len(), count);
        let url = format!("url={}", agent.http);
        let by_arguments = Program::new(["apply", "state=list", &url]).run().success();
        assert_eq!(by_arguments, result);
    }
    apply(&agent.http, json!({"state": "list", "datacenter": "dc9"})).failure("not-found");
}
