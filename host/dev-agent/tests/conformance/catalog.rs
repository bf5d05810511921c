//! Nodes, services and checks, and the sessions bound to them.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Server, everywhere, until};

/// How long anything that a real agent does a moment later may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn register(server: &Server, body: Value) {
    server
        .put("/v1/catalog/register", body.to_string())
        .is(200, "true");
}

fn deregister(server: &Server, body: Value) {
    server
        .put("/v1/catalog/deregister", body.to_string())
        .is(200, "true");
}

#[test]
fn an_unknown_node() {
    everywhere(|server| {
        let index = |path: &str| server.get(path).index();
        assert_eq!(index("/v1/catalog/node/nobody"), 1);
        assert!(index("/v1/health/node/nobody") > 1, "that of all checks");
    });
}

#[test]
fn a_second_node() {
    everywhere(|server| {
        register(
            server,
            json!({"Node": "n2", "Address": "10.0.0.2", "Check":
            {"CheckID": "c1", "Name": "c one", "Status": "passing"}}),
        );
        let node = server.get("/v1/catalog/node/N2").json();
        assert_eq!(node["Services"], json!({}));
        assert_eq!(
            (&node["Node"]["Node"], &node["Node"]["Meta"]),
            (&json!("n2"), &Value::Null)
        );
        let nodes = server.get("/v1/catalog/nodes").json();
        assert!(nodes.as_array().unwrap().contains(&node["Node"]));

        // It has no serfHealth, so a default session cannot be bound to it.
        let create = |body: Value| server.put("/v1/session/create", body.to_string());
        create(json!({"Node": "n2"})).is(500, "Missing check 'serfHealth' registration");
        let one = server.create(&json!({"Node": "n2", "NodeChecks": ["c1"]}).to_string());
        let three = server.create(&json!({"Node": "n2", "NodeChecks": ["C1"]}).to_string());
        let two = server.create(&json!({"Node": "N2", "NodeChecks": []}).to_string());
        let sessions = server.get("/v1/session/node/n2").json();
        assert_eq!(sessions.as_array().unwrap().len(), 3);

        let critical = json!({"Node": "n2", "Address": "10.0.0.2", "Check":
            {"CheckID": "c1", "Name": "c one", "Status": "critical"}});
        register(server, critical);
        assert_eq!(server.info(&one), None, "its check is critical");
        assert_eq!(server.info(&three), None, "in any case");
        assert!(server.info(&two).is_some(), "it has none");
        create(json!({"Node": "n2", "NodeChecks": ["c1"]}))
            .is(500, "Check 'c1' is in critical state");
        deregister(server, json!({"Node": "n2"}));
        assert_eq!(server.info(&two), None, "its node is gone");
        server.get("/v1/catalog/node/n2").is(200, "null");
        create(json!({"Node": "n2", "NodeChecks": []})).is(500, "Missing node registration");
    });
}

#[test]
fn services_and_their_checks() {
    everywhere(|server| {
        register(
            server,
            json!({"Node": "n3", "Address": "10.0.0.3",
            "Service": {"Service": "web", "Port": 80},
            "Checks": [{"Name": "foo"}, {"CheckID": "sc", "ServiceID": "web", "Status": "passing"}]}),
        );
        let mut checks = server.get("/v1/health/node/n3").json();
        for check in checks.as_array_mut().unwrap() {
            assert!(check["CreateIndex"].take().as_u64().unwrap() > 0);
            assert!(check["ModifyIndex"].take().as_u64().unwrap() > 0);
        }
        let check = |id: &str, name: &str, status: &str, service: &str| {
            json!({
                "Node": "n3", "CheckID": id, "Name": name, "Status": status, "Notes": "",
                "Output": "", "ServiceID": service, "ServiceName": service, "ServiceTags": [],
                "Type": "", "Definition": {}, "CreateIndex": null, "ModifyIndex": null,
            })
        };
        assert_eq!(
            checks,
            json!([
                check("foo", "foo", "critical", ""),
                check("sc", "", "passing", "web")
            ])
        );
        let service = &server.get("/v1/catalog/node/n3").json()["Services"]["web"];
        assert_eq!(
            (&service["ID"], &service["Port"]),
            (&json!("web"), &json!(80))
        );

        let by_check = server.create(&json!({"Node": "n3", "NodeChecks": ["sc"]}).to_string());
        let by_service = server.create(
            &json!({"Node": "n3", "NodeChecks": [], "ServiceChecks": [{"ID": "sc"}]}).to_string(),
        );
        deregister(server, json!({"Node": "n3", "CheckID": "sc"}));
        assert_eq!(
            (server.info(&by_check), server.info(&by_service)),
            (None, None)
        );

        let again = json!({"Node": "n3", "Address": "10.0.0.3",
            "Check": {"CheckID": "sc", "ServiceID": "web", "Status": "passing"}});
        register(server, again);
        let id = server.create(&json!({"Node": "n3", "NodeChecks": ["sc"]}).to_string());
        deregister(server, json!({"Node": "n3", "ServiceID": "web"}));
        assert_eq!(server.info(&id), None, "the service took its check along");
        deregister(server, json!({"Node": "n3"}));
    });
}

#[test]
fn a_lock_falls_with_the_check() {
    everywhere(|server| {
        let key = server.prefix("check") + "k";
        let status = |status: &str| {
            register(
                server,
                json!({"Node": "n4", "Address": "10.0.0.4",
            "Check": {"CheckID": "c", "Status": status}}),
            )
        };
        status("passing");
        let body = json!({"Node": "n4", "NodeChecks": ["c"], "LockDelay": "60s"});
        let id = server.create(&body.to_string());
        server
            .put(&format!("/v1/kv/{key}?acquire={id}"), "")
            .is(200, "true");
        status("warning");
        assert_eq!(
            server.key(&key)["Session"],
            json!(id),
            "a warning is no failure"
        );
        status("critical");
        assert_eq!(server.key(&key).get("Session"), None);
        let next = server.create("");
        server
            .put(&format!("/v1/kv/{key}?acquire={next}"), "")
            .is(200, "false");
        server.destroy(&next);
        deregister(server, json!({"Node": "n4"}));
    });
}

#[test]
fn bad_registrations() {
    everywhere(|server| {
        let register = |body: &str| server.put("/v1/catalog/register", body);
        register(r#"{"Node":"n5"}"#).is(500, "Must provide address if SkipNodeUpdate is not set");
        register(r#"{"Address":"1.1.1.1"}"#).is(500, "Must provide node");
        register(r#"{"bogus":1}"#).is(400, "Request decode failed: json: unknown field \"bogus\"");
        register("{").is(400, "Request decode failed: unexpected EOF");
        register("").is(400, "Request decode failed: EOF");
        let orphan =
            r#"{"Node":"n5","Address":"1.1.1.1","Check":{"CheckID":"c","ServiceID":"nope"}}"#;
        register(orphan).is(
            500,
            "failed inserting check: Missing service registration on node \"n5\"",
        );
        server.get("/v1/catalog/node/n5").is(200, "null");
        server
            .put("/v1/catalog/deregister", "{}")
            .is(500, "Must provide node");
        deregister(server, json!({"Node": "nobody"}));
        for (path, text) in [
            ("/v1/catalog/node/", "Missing node name"),
            ("/v1/health/node/", "Missing node name"),
            ("/v1/health/state/", "Missing check state"),
        ] {
            server.get(path).is(400, text);
        }
        server.get("/v1/health/node/nobody").is(200, "[]");
        server.get("/v1/health/state/bogus").is(200, "[]");
    });
}

#[test]
fn the_agent_s_own_checks() {
    everywhere(|server| {
        let register = |body: Value| server.put("/v1/agent/check/register", body.to_string());
        register(json!({"ID": "x"})).is(400, "Missing check name");
        register(json!({"Name": "x"})).is(400, "Invalid check: TTL must be > 0 for TTL checks");
        register(json!({"Name": "x", "TTL": "3s", "Status": "bogus"})).is(400, "Bad check status");
        register(json!({"Name": "x", "TTL": "zz"}))
            .is(400, "Request decode failed: time: invalid duration \"zz\"");
        register(json!({"Name": "x", "TTL": "1s", "ServiceID": "nope"}))
            .is(500, "ServiceID \"nope\" does not exist");
        server
            .put("/v1/agent/check/pass/none", "")
            .is(500, "CheckID \"none\" does not have associated TTL");
        server
            .put("/v1/agent/check/deregister/none", "")
            .is(200, "");

        register(json!({"Name": "own", "TTL": "1h", "Notes": "n"})).is(200, "");
        let own = || server.get("/v1/agent/checks").json()["own"].clone();
        assert_eq!(
            (&own()["Status"], &own()["Type"]),
            (&json!("critical"), &json!("ttl"))
        );
        server
            .put("/v1/agent/check/pass/own?note=hello", "")
            .is(200, "");
        assert_eq!(
            (&own()["Status"], &own()["Output"]),
            (&json!("passing"), &json!("hello"))
        );

        // A real agent updates the catalog a moment later.
        let node = server.node();
        let status = |status: &str| {
            let checks = server.get(&format!("/v1/health/node/{node}")).json();
            let mut checks = checks.as_array().unwrap().iter();
            checks.any(|check| check["CheckID"] == "own" && check["Status"] == status)
        };
        until(SOON, || status("passing"));
        let id = server.create(r#"{"NodeChecks":["serfHealth","own"]}"#);
        server.put("/v1/agent/check/warn/own", "").is(200, "");
        until(SOON, || status("warning"));
        assert!(server.info(&id).is_some());
        server.put("/v1/agent/check/fail/own", "").is(200, "");
        until(SOON, || server.info(&id).is_none());

        server.put("/v1/agent/check/pass/own", "").is(200, "");
        until(SOON, || status("passing"));
        let id = server.create(r#"{"NodeChecks":["own"]}"#);
        server.put("/v1/agent/check/deregister/own", "").is(200, "");
        until(SOON, || server.info(&id).is_none());
    });
}

#[test]
fn an_own_check_registered_again_keeps_its_status() {
    everywhere(|server| {
        let register = |body: &str| {
            server.put("/v1/agent/check/register", body).is(200, "");
        };
        let status = || server.get("/v1/agent/checks").json()["again"]["Status"].clone();
        register(r#"{"Name":"again","TTL":"1h","Status":"passing"}"#);
        let create = || server.put("/v1/session/create", r#"{"NodeChecks":["again"]}"#);
        until(SOON, || create().status == 200);
        let id = create().json()["ID"].as_str().unwrap().to_owned();
        register(r#"{"Name":"again","TTL":"2h"}"#);
        assert_eq!(status(), "passing", "{}", server.name);
        register(r#"{"Name":"again","TTL":"2h","Status":"critical"}"#);
        assert_eq!(status(), "passing", "{}", server.name);
        // The agent compares ids including case.
        server
            .put("/v1/agent/check/deregister/AGAIN", "")
            .is(200, "");
        assert_eq!(status(), "passing", "{}", server.name);
        assert!(server.info(&id).is_some(), "{}", server.name);

        let update =
            |id: &str, body: &str| server.put(&format!("/v1/agent/check/update/{id}"), body);
        update("again", r#"{"Status":"bad"}"#).is(400, "Invalid check status: 'bad'");
        update("none", r#"{"Status":"passing"}"#)
            .is(500, "CheckID \"none\" does not have associated TTL");
        update("again", r#"{"Status":"warning","Output":"o"}"#).is(200, "");
        assert_eq!(status(), "warning", "{}", server.name);
        update("again", r#"{"Status":"critical"}"#).is(200, "");
        register(r#"{"Name":"again","TTL":"2h","Status":"passing"}"#);
        assert_eq!(status(), "critical", "{}", server.name);
        until(SOON, || server.info(&id).is_none());
        server
            .put("/v1/agent/check/deregister/again", "")
            .is(200, "");
    });
}

#[test]
fn the_datacenter_of_a_registration_is_in_its_body() {
    everywhere(|server| {
        let node = r#""Node":"n5","Address":"10.0.0.5""#;
        for call in ["register", "deregister"] {
            let put = |query: &str, datacenter: &str| {
                let node = if call == "register" {
                    node
                } else {
                    r#""Node":"n5""#
                };
                let body = format!(r#"{{{node},"Datacenter":"{datacenter}"}}"#);
                server.put(&format!("/v1/catalog/{call}{query}"), body)
            };
            put("", "elsewhere").is(500, "No path to datacenter");
            put("?dc=elsewhere", "").is(200, "true");
        }
    });
}

#[test]
fn a_ttl_check_runs_out() {
    everywhere(|server| {
        let body = r#"{"Name":"brief","TTL":"5s","Status":"passing"}"#;
        server.put("/v1/agent/check/register", body).is(200, "");
        let passed = Cell::new(Instant::now());
        let id = RefCell::new(String::new());
        // The check lives on until a session depends on it, however long that takes.
        until(SOON, || {
            passed.set(Instant::now());
            server
                .put("/v1/agent/check/pass/brief?note=last", "")
                .is(200, "");
            let created = server.put("/v1/session/create", r#"{"NodeChecks":["brief"]}"#);
            if created.status == 200 {
                id.replace(created.json()["ID"].as_str().unwrap().to_owned());
            }
            created.status == 200
        });
        until(SOON, || server.info(&id.borrow()).is_none());
        let lived = passed.get().elapsed();
        assert!(lived >= Duration::from_secs(5), "{lived:?}");
        let check = server.get("/v1/agent/checks").json()["brief"].clone();
        let output = "TTL expired (last output before timeout follows): last";
        assert_eq!(
            (&check["Status"], &check["Output"]),
            (&json!("critical"), &json!(output))
        );
        server
            .put("/v1/agent/check/deregister/brief", "")
            .is(200, "");
    });
}

#[test]
fn a_service_with_checks() {
    everywhere(|server| {
        let register = |body: Value| server.put("/v1/agent/service/register", body.to_string());
        register(json!({"Port": 80})).is(400, "Missing service name");
        register(json!({"Name": "web", "Port": 80, "Check": {"TTL": "1h"}})).is(200, "");
        register(json!({"ID": "web2", "Name": "web", "Checks": [
            {"TTL": "1h", "Status": "passing"}, {"Name": "zz", "CheckID": "cc", "TTL": "1h"}]}))
        .is(200, "");
        let services = server.get("/v1/agent/services").json();
        assert_eq!(services["web2"]["Service"], "web");
        assert_eq!(services["web"]["Port"], 80);
        let checks = server.get("/v1/agent/checks").json();
        let ids: Vec<_> = checks.as_object().unwrap().keys().collect();
        assert_eq!(ids, ["cc", "service:web", "service:web2:1"]);
        assert_eq!(checks["service:web"]["Name"], "Service 'web' check");
        assert_eq!(checks["service:web2:1"]["Status"], "passing");
        assert_eq!(checks["cc"]["ServiceID"], "web2");

        let bound = r#"{"NodeChecks":[],"ServiceChecks":[{"ID":"service:web2:1"}]}"#;
        until(SOON, || {
            server.put("/v1/session/create", bound).status == 200
        });
        let id = server.create(bound);
        server
            .put("/v1/agent/service/deregister/web2", "")
            .is(200, "");
        until(SOON, || server.info(&id).is_none());
        server
            .put("/v1/agent/service/deregister/web", "")
            .is(200, "");
        assert_eq!(server.get("/v1/agent/checks").json(), json!({}));
    });
}

/// An agent updates the catalog at once only if the status has changed.
#[test]
fn a_heartbeat_changes_nothing() {
    everywhere(|server| {
        let put = |path: &str| {
            let answer = server.put(&format!("/v1/agent/check/{path}"), "");
            answer.is(200, "");
        };
        let body = r#"{"Name":"beat","TTL":"1h","Status":"passing"}"#;
        server.put("/v1/agent/check/register", body).is(200, "");
        let node = server.node();
        let health = || server.get(&format!("/v1/health/node/{node}"));
        let beat = || {
            let checks = health().json();
            let mut checks = checks.as_array().unwrap().iter();
            let found = checks.find(|check| check["CheckID"] == "beat");
            found.cloned()
        };
        until(SOON, || beat().is_some());
        let (stored, index) = (beat().unwrap(), health().index());
        put("pass/beat");
        put("pass/beat?note=alone");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(
            (beat().unwrap(), health().index()),
            (stored, index),
            "{}",
            server.name
        );
        let own = server.get("/v1/agent/checks").json()["beat"].clone();
        assert_eq!(
            (&own["Output"], &own["CreateIndex"], &own["ModifyIndex"]),
            (&json!("alone"), &json!(0), &json!(0)),
            "{}",
            server.name
        );
        // Registering the check again updates the catalog.
        server.put("/v1/agent/check/register", body).is(200, "");
        until(SOON, || beat().unwrap()["Output"] == "alone");
        put("warn/beat?note=both");
        until(SOON, || {
            let stored = beat().unwrap();
            stored["Status"] == "warning" && stored["Output"] == "both"
        });
        assert!(health().index() > index, "{}", server.name);
        put("deregister/beat");
    });
}

#[test]
fn checks_that_consul_would_run() {
    everywhere(|server| {
        let register = |body: Value| server.put("/v1/agent/check/register", body.to_string());
        register(json!({"CheckID": "x", "Name": "x", "TTL": "1s"})).is(
            400,
            "Request decode failed: json: unknown field \"CheckID\"",
        );
        for (body, why) in [
            (
                json!({"Name": "x", "HTTP": "http://h"}),
                "Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                json!({"Name": "x", "TCP": "h:1", "TTL": "1s"}),
                "Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                json!({"Name": "x", "TTL": "1s", "Interval": "1s"}),
                "Interval and TTL cannot both be specified",
            ),
            (
                json!({"Name": "x", "AliasNode": "n", "TTL": "1s"}),
                "TTL must be not be set for Alias checks",
            ),
        ] {
            register(body).is(400, &format!("Invalid check: {why}"));
        }
        register(json!({"Name": "x", "Args": ["true"], "Interval": "1h"})).is(
            500,
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        );
        register(json!({"Name": "run", "TCP": "127.0.0.1:1", "Interval": "1h"})).is(200, "");
        assert_eq!(server.get("/v1/agent/checks").json()["run"]["Type"], "tcp");
        server.put("/v1/agent/check/deregister/run", "").is(200, "");
    });
}

#[test]
fn services_go_by_their_ids_in_any_case() {
    everywhere(|server| {
        let put = |call: &str, body: Value| {
            server
                .put(&format!("/v1/catalog/{call}"), body.to_string())
                .is(200, "true");
        };
        put(
            "register",
            json!({"Node": "n6", "Address": "10.0.0.6", "Service": {"Service": "web"},
                "Check": {"CheckID": "sc", "Name": "sc", "ServiceID": "web", "Status": "passing"}}),
        );
        let id = server.create(r#"{"Node":"n6","NodeChecks":["sc"]}"#);
        put("deregister", json!({"Node": "n6", "ServiceID": "WEB"}));
        assert_eq!(server.info(&id), None, "{}", server.name);
        put("deregister", json!({"Node": "n6"}));

        // The agent compares ids including case.
        let body = r#"{"Name":"exact","Check":{}}"#;
        server.put("/v1/agent/service/register", body).is(200, "");
        let deregister = |id: &str| server.put(&format!("/v1/agent/service/deregister/{id}"), "");
        deregister("EXACT").is(200, "");
        assert!(server.get("/v1/agent/services").json()["exact"].is_object());
        deregister("").is(500, "ServiceID missing");
        deregister("exact").is(200, "");
        server.get("/v1/kv/x?index=%2B1").is(400, "Invalid index");
    });
}
