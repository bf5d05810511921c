//! Sessions: creation with its defaults and rules, the reads, renewal and destruction.

use serde_json::{Value, json};

use super::server::{NOBODY, Server, everywhere};

#[test]
fn a_session_with_all_defaults() {
    everywhere(|server| {
        let node = server.node();
        for body in ["", "{}", "null", r#"{"Name":null,"Node":null,"TTL":null}"#] {
            let id = server.create(body);
            let mut session = server.info(&id).unwrap();
            let fields: Vec<_> = session.as_object().unwrap().keys().cloned().collect();
            assert_eq!(fields.len(), 10, "{fields:?}");
            let created = session["CreateIndex"].take();
            assert_eq!(created, session["ModifyIndex"].take());
            assert!(created.as_u64().unwrap() > 0);
            let expected = json!({
                "ID": id, "Name": "", "Node": node, "LockDelay": 15_000_000_000_u64,
                "Behavior": "release", "TTL": "", "NodeChecks": ["serfHealth"],
                "ServiceChecks": null, "CreateIndex": null, "ModifyIndex": null,
            });
            assert_eq!(session, expected, "{}", server.name);
            server.destroy(&id);
        }
    });
}

#[test]
fn lock_delay() {
    const S: i64 = 1_000_000_000;
    everywhere(|server| {
        for (sent, stored) in [
            ("15", 15 * S),
            ("\"15s\"", 15 * S),
            ("15000000000", 15 * S),
            ("0", 0),
            ("\"0s\"", 0),
            ("0.5", 0),
            ("true", 0),
            ("[]", 0),
            ("{}", 0),
            ("null", 15 * S),
            ("1.5", S),
            ("\"1.5s\"", 3 * S / 2),
            ("\"61s\"", 61 * S),
            ("\"24h\"", 86_400 * S),
            ("999", 999 * S),
            ("1000", 1_000),
            ("\"500ns\"", 500 * S),
            ("\"1us\"", 1_000),
            ("-5", -5 * S),
            ("\"-15s\"", -15_000_000_000_i64.wrapping_mul(S)),
            ("9223372036854775807", 0),
            ("1e19", 0),
            ("\"15s\",\"lockdelay\":3", 3 * S),
        ] {
            let id = server.create(&format!("{{\"LockDelay\":{sent}}}"));
            let session = server.info(&id).unwrap();
            assert_eq!(
                session["LockDelay"],
                json!(stored),
                "{} {sent}",
                server.name
            );
            server.destroy(&id);
        }
        for (sent, why) in [
            ("\"15\"", "time: missing unit in duration \"15\""),
            ("\"\"", "time: invalid duration"),
            ("\"bogus\"", "time: invalid duration"),
        ] {
            let answer = server.put("/v1/session/create", format!("{{\"LockDelay\":{sent}}}"));
            answer.begins(400, &format!("Request decode failed: {why}"));
        }
    });
}

#[test]
fn ttl_is_echoed_as_typed() {
    everywhere(|server| {
        for ttl in [
            "10s", "24h", "0", "0s", "-0s", "+10s", "600000ms", "1.5m", ".5m", "1h1h",
        ] {
            let id = server.create(&format!("{{\"TTL\":\"{ttl}\"}}"));
            assert_eq!(server.info(&id).unwrap()["TTL"], ttl);
            server.destroy(&id);
        }
        for (ttl, why) in [
            (
                "9s",
                "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]",
            ),
            (
                "-10s",
                "Invalid Session TTL '-10000000000', must be between [10s=24h0m0s]",
            ),
            (
                "25h",
                "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]",
            ),
            ("x", "Session TTL 'x' invalid: time: invalid duration \"x\""),
            (
                "10",
                "Session TTL '10' invalid: time: missing unit in duration \"10\"",
            ),
            (
                "9999999h",
                "Session TTL '9999999h' invalid: time: invalid duration \"9999999h\"",
            ),
        ] {
            let answer = server.put("/v1/session/create", format!("{{\"TTL\":\"{ttl}\"}}"));
            answer.is(500, why);
        }
    });
}

#[test]
fn fields_are_read_loosely() {
    everywhere(|server| {
        let upper = server.node().to_uppercase();
        for (body, field, expected) in [
            (r#"{"name":"a","NAME":"b"}"#.to_owned(), "Name", json!("b")),
            (r#"{"Name":"a"} trailing"#.to_owned(), "Name", json!("a")),
            (
                r#"{"Name":"a","Unknown":[1]}"#.to_owned(),
                "Name",
                json!("a"),
            ),
            (
                r#"{"Name":"<&>\u2028"}"#.to_owned(),
                "Name",
                json!("<&>\u{2028}"),
            ),
            (format!(r#"{{"Node":"{upper}"}}"#), "Node", json!(upper)),
            (
                r#"{"Behavior":""}"#.to_owned(),
                "Behavior",
                json!("release"),
            ),
            (
                r#"{"Behavior":"delete"}"#.to_owned(),
                "Behavior",
                json!("delete"),
            ),
            (
                r#"{"Behavior":null}"#.to_owned(),
                "Behavior",
                json!("release"),
            ),
        ] {
            let id = server.create(&body);
            assert_eq!(server.info(&id).unwrap()[field], expected, "{body}");
            server.destroy(&id);
        }
        let id = server.create(&format!(r#"{{"ID":"{NOBODY}","CreateIndex":5}}"#));
        assert_ne!(id, NOBODY, "the id is the server's");
        server.destroy(&id);
        let answer = server.put("/v1/session/create", b"{\"Name\":\"a\xff\"}");
        let id = answer.json()["ID"].as_str().unwrap().to_owned();
        assert_eq!(server.info(&id).unwrap()["Name"], "a\u{fffd}");
        server.destroy(&id);
        let long = "n".repeat(2_000_000);
        let id = server.create(&format!("{{\"Name\":\"{long}\"}}"));
        server.destroy(&id);
    });
}

#[test]
fn bad_bodies() {
    everywhere(|server| {
        let decode = "Request decode failed: ";
        for (body, why) in [
            ("{", "unexpected EOF"),
            (" ", "EOF"),
            ("[]", "json: cannot unmarshal array into Go value"),
            ("5", "json: cannot unmarshal number into Go value"),
            ("'x'", ""),
            (
                r#"{"Name":5}"#,
                "json: cannot unmarshal number into Go struct field .Name of type string",
            ),
            (
                r#"{"Name":true}"#,
                "json: cannot unmarshal bool into Go struct field .Name of type string",
            ),
            (
                r#"{"TTL":10}"#,
                "json: cannot unmarshal number into Go struct field .TTL of type string",
            ),
            (
                r#"{"ID":5}"#,
                "json: cannot unmarshal number into Go struct field .ID of type string",
            ),
            (
                r#"{"NodeChecks":"x"}"#,
                "json: cannot unmarshal string into Go struct field .NodeChecks of type []string",
            ),
            (
                r#"{"NodeChecks":[5]}"#,
                "json: cannot unmarshal number into Go struct field .NodeChecks of type string",
            ),
            (
                r#"{"CreateIndex":"x"}"#,
                "json: cannot unmarshal string into Go struct field .CreateIndex of type uint64",
            ),
            (
                r#"{"ServiceChecks":{}}"#,
                "json: cannot unmarshal object into Go struct field .ServiceChecks of type []struct",
            ),
            (r#"{"LockDelay":1e400}"#, ""),
            (r#"{"Name":"x",}"#, ""),
        ] {
            let answer = server.put("/v1/session/create", body);
            answer.begins(400, &format!("{decode}{why}"));
        }
        for (body, text) in [
            (r#"{"Node":""}"#, "Must provide Node"),
            (r#"{"Node":"nobody"}"#, "Missing node registration"),
            (
                r#"{"Behavior":"Release"}"#,
                "Invalid Behavior setting 'Release'",
            ),
            (
                r#"{"Behavior":"x","TTL":"z","Node":"q"}"#,
                "Invalid Behavior setting 'x'",
            ),
            (r#"{"TTL":"z","Node":""}"#, "Must provide Node"),
            (
                r#"{"NodeChecks":["zz"]}"#,
                "Missing check 'zz' registration",
            ),
            (
                r#"{"ServiceChecks":[{"ID":"zz"}]}"#,
                "Missing check 'zz' registration",
            ),
            (
                r#"{"Checks":["serfHealth","zz"]}"#,
                "Missing check 'zz' registration",
            ),
            (r#"{"Checks":[""]}"#, "Missing check '' registration"),
        ] {
            server.put("/v1/session/create", body).is(500, text);
        }
    });
}

#[test]
fn the_two_lists_of_checks() {
    let serf = || json!(["serfHealth"]);
    everywhere(|server| {
        for (body, node_checks, service_checks, checks) in [
            (r#"{"Checks":[]}"#, json!([]), Value::Null, None),
            (r#"{"Checks":null}"#, json!([]), Value::Null, None),
            (r#"{"Checks":["serfHealth"]}"#, serf(), Value::Null, None),
            (
                r#"{"Checks":["serfHealth","serfHealth"]}"#,
                serf(),
                Value::Null,
                Some(json!(["serfHealth", "serfHealth"])),
            ),
            (r#"{"NodeChecks":[]}"#, json!([]), Value::Null, None),
            (r#"{"NodeChecks":null}"#, Value::Null, Value::Null, None),
            (r#"{"NodeChecks":[null]}"#, serf(), Value::Null, None),
            (
                r#"{"NodeChecks":[],"Checks":["zz"]}"#,
                json!([]),
                Value::Null,
                None,
            ),
            (
                r#"{"NodeChecks":["zz"],"Checks":[]}"#,
                json!([]),
                Value::Null,
                None,
            ),
            (
                r#"{"NodeChecks":["serfHealth"],"Checks":["serfHealth"]}"#,
                serf(),
                Value::Null,
                None,
            ),
            (r#"{"ServiceChecks":[]}"#, serf(), json!([]), None),
            (
                r#"{"ServiceChecks":[{"ID":"serfHealth"}]}"#,
                serf(),
                json!([{"ID": "serfHealth", "Namespace": ""}]),
                None,
            ),
        ] {
            let id = server.create(body);
            let session = server.info(&id).unwrap();
            let context = format!("{} {body}", server.name);
            assert_eq!(session["NodeChecks"], node_checks, "{context}");
            assert_eq!(session["ServiceChecks"], service_checks, "{context}");
            assert_eq!(session.get("Checks").cloned(), checks, "{context}");
            server.destroy(&id);
        }
    });
}

#[test]
fn a_chunked_create_is_a_default_session() {
    everywhere(|server| {
        for body in ["{\"Name\":\"x\",\"TTL\":\"10s\"}", "{broken", ""] {
            let answer = server.put_chunked("/v1/session/create", body.as_bytes());
            assert_eq!(answer.status, 200, "{}", answer.body);
            let id = answer.json()["ID"].as_str().unwrap().to_owned();
            let session = server.info(&id).unwrap();
            assert_eq!(
                (&session["Name"], &session["TTL"]),
                (&json!(""), &json!(""))
            );
            server.destroy(&id);
        }
    });
}

#[test]
fn unknown_and_malformed_ids() {
    let malformed = "failed session lookup: index error: ";
    everywhere(|server| {
        server
            .put(&format!("/v1/session/destroy/{NOBODY}"), "")
            .is(200, "true");
        server
            .get(&format!("/v1/session/info/{NOBODY}"))
            .is(200, "[]");
        server.get("/v1/session/node/nobody").is(200, "[]");
        let gone = format!("Session id '{NOBODY}' not found");
        server
            .put(&format!("/v1/session/renew/{NOBODY}"), "")
            .is(404, &gone);
        for (id, why) in [
            ("abc", "UUID must be 36 characters"),
            (
                "zzzzzzzz-0000-0000-0000-000000000000",
                "Invalid UUID: encoding/hex: invalid byte: U+007A 'z'",
            ),
            (
                "000000000000-0000-0000-0000000000000",
                "Input (without hyphens) must be even length",
            ),
            (
                "-0000000-0000-0000-0000-000000000000",
                "UUID should have maximum of 4 \"-\"; got 5",
            ),
        ] {
            let why = format!("{malformed}{why}");
            server
                .put(&format!("/v1/session/destroy/{id}"), "")
                .is(500, &why);
            server
                .put(&format!("/v1/session/renew/{id}"), "")
                .is(500, &why);
            let answer = server.get(&format!("/v1/session/info/{id}"));
            assert_eq!(answer.is(500, &why).index(), 1);
            assert_eq!(answer.header("X-Consul-Knownleader"), Some("false"));
        }
        server
            .put("/v1/session/destroy/", "")
            .is(400, "Missing session");
        server
            .put("/v1/session/renew/", "")
            .is(400, "Missing session");
        server.get("/v1/session/info/").is(400, "Missing session");
        server.get("/v1/session/node/").is(400, "Missing node name");
    });
}

#[test]
fn an_id_is_found_in_any_case() {
    everywhere(|server| {
        let id = server.create("");
        let upper = id.to_uppercase();
        assert_eq!(server.info(&upper).unwrap()["ID"], json!(id));
        server.destroy(&upper);
        assert_eq!(server.info(&id), None);
    });
}

#[test]
fn list_and_node_are_sorted_by_id() {
    everywhere(|server| {
        let mut ids: Vec<String> = (0..8).map(|_| server.create("")).collect();
        ids.sort();
        let mine = |path: &str| -> Vec<String> {
            let sessions = server.get(path).json();
            let listed = sessions.as_array().unwrap().iter();
            let listed = listed.map(|session| session["ID"].as_str().unwrap().to_owned());
            listed.filter(|id| ids.contains(id)).collect()
        };
        assert_eq!(mine("/v1/session/list"), ids);
        let node = server.node();
        assert_eq!(mine(&format!("/v1/session/node/{node}")), ids);
        assert_eq!(
            mine(&format!("/v1/session/node/{}", node.to_uppercase())),
            ids
        );
        ids.iter().for_each(|id| server.destroy(id));
    });
}

#[test]
fn renew_moves_no_index() {
    everywhere(|server: &Server| {
        let id = server.create(r#"{"TTL":"1h"}"#);
        let before = server.info(&id).unwrap();
        let index = server.get("/v1/session/list").index();
        let renewed = server.put(&format!("/v1/session/renew/{id}"), "ignored");
        assert_eq!(renewed.json(), json!([before]));
        assert_eq!(renewed.header("X-Consul-Index"), None);
        assert_eq!(server.get("/v1/session/list").index(), index);
        server.destroy(&id);
        assert!(server.get("/v1/session/list").index() > index);
    });
}
