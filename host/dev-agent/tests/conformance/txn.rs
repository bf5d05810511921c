//! Transactions: atomicity, results and errors.

use serde_json::{Value, json};

use super::server::{Answer, NOBODY, Server, everywhere};

fn txn(server: &Server, ops: Value) -> Answer {
    let ops: Vec<Value> = ops
        .as_array()
        .unwrap()
        .iter()
        .map(|op| json!({ "KV": op }))
        .collect();
    server.put("/v1/txn", json!(ops).to_string())
}

fn errors(answer: &Answer) -> Vec<(u64, String)> {
    assert_eq!(answer.status, 409, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["Results"], Value::Null);
    let errors = body["Errors"].as_array().unwrap().iter();
    let error = |error: &Value| {
        let what = error["What"].as_str().unwrap().to_owned();
        (error["OpIndex"].as_u64().unwrap(), what)
    };
    errors.map(error).collect()
}

#[track_caller]
fn fails(server: &Server, op: Value, what: &str) {
    let answer = txn(server, json!([op]));
    assert_eq!(errors(&answer), [(0, what.to_owned())], "{}", server.name);
}

#[test]
fn set_and_get() {
    everywhere(|server| {
        let k = server.prefix("txn-set") + "k";
        let answer = txn(
            server,
            json!([
                {"Verb": "set", "Key": k, "Value": "aGk=", "Flags": 7},
                {"Verb": "get", "Key": k},
            ]),
        );
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert_eq!(body.as_object().unwrap().len(), 2, "a write tells no index");
        assert_eq!(body["Errors"], Value::Null);
        let entry = server.key(&k);
        assert_eq!(body["Results"][1]["KV"], entry);
        let mut written = entry.clone();
        written["Value"] = Value::Null;
        assert_eq!(
            body["Results"][0]["KV"], written,
            "only gets answer the value"
        );

        let read = txn(
            server,
            json!([{"Verb": "get", "Key": k}, {"Verb": "get-tree", "Key": k}]),
        );
        assert_eq!(read.header("X-Consul-Knownleader"), Some("true"));
        assert_eq!(
            read.json(),
            json!({
                "Results": [{"KV": entry}, {"KV": entry}], "Errors": null,
                "Index": 0, "LastContact": 0, "KnownLeader": true, "ConsistencyLevel": "",
            })
        );
    });
}

#[test]
fn locks() {
    everywhere(|server| {
        let prefix = server.prefix("txn-lock");
        let k = format!("{prefix}k");
        let [one, two] = [(), ()].map(|()| server.create(r#"{"LockDelay":"60s"}"#));
        let locked = txn(
            server,
            json!([{"Verb": "lock", "Key": k, "Session": one, "Value": "eA=="}]),
        );
        let row = &locked.json()["Results"][0]["KV"];
        assert_eq!(
            (&row["LockIndex"], &row["Session"], &row["Value"]),
            (&json!(1), &json!(one), &Value::Null)
        );

        fails(
            server,
            json!({"Verb": "lock", "Key": k, "Session": two}),
            &format!("failed to lock key \"{k}\", lock is already held"),
        );
        fails(
            server,
            json!({"Verb": "unlock", "Key": k, "Session": two}),
            &format!(
                "failed to unlock key \"{k}\", lock isn't held, or is held by another session"
            ),
        );
        fails(
            server,
            json!({"Verb": "check-session", "Key": k, "Session": two}),
            &format!(
                "failed session check for key \"{k}\", current session \"{one}\" != \"{two}\""
            ),
        );
        fails(
            server,
            json!({"Verb": "check-session", "Key": format!("{k}x"), "Session": two}),
            &format!("failed to check session, key \"{k}x\" doesn't exist"),
        );
        fails(server, json!({"Verb": "lock", "Key": k}), "missing session");
        fails(
            server,
            json!({"Verb": "unlock", "Key": k}),
            "missing session",
        );
        fails(
            server,
            json!({"Verb": "lock", "Key": k, "Session": "x"}),
            "failed session lookup: index error: UUID must be 36 characters",
        );
        fails(
            server,
            json!({"Verb": "lock", "Key": k, "Session": NOBODY}),
            &format!("invalid session \"{NOBODY}\""),
        );

        // The only fence that Consul enforces itself.
        let fenced = txn(
            server,
            json!([
                {"Verb": "check-session", "Key": k, "Session": one},
                {"Verb": "set", "Key": format!("{prefix}data"), "Value": "eA=="},
            ]),
        );
        assert_eq!(fenced.status, 200);
        let unlocked = txn(
            server,
            json!([{"Verb": "unlock", "Key": k, "Session": one}]),
        );
        assert_eq!(unlocked.json()["Results"][0]["KV"].get("Session"), None);

        txn(server, json!([{"Verb": "lock", "Key": k, "Session": one}]));
        server.destroy(&one);
        fails(
            server,
            json!({"Verb": "lock", "Key": k, "Session": two}),
            &format!("failed to lock key \"{k}\" due to lock delay"),
        );
        server.destroy(&two);
    });
}

#[test]
fn all_or_nothing() {
    everywhere(|server| {
        let prefix = server.prefix("txn-atomic");
        let [a, b] = ["a", "b"].map(|key| format!("{prefix}{key}"));
        server.put(&format!("/v1/kv/{a}"), "old").is(200, "true");
        let before = server.get(&format!("/v1/kv/{prefix}?recurse"));
        let answer = txn(
            server,
            json!([
                {"Verb": "set", "Key": b, "Value": "eA=="},
                {"Verb": "delete", "Key": a},
                {"Verb": "check-not-exists", "Key": a},
                {"Verb": "check-index", "Key": b, "Index": 1},
                {"Verb": "get", "Key": a},
                {"Verb": "bogus", "Key": a},
            ]),
        );
        let failed = errors(&answer);
        assert_eq!(failed.len(), 3, "{failed:?}");
        assert!(failed[0].1.starts_with(&format!(
            "failed index check for key \"{b}\", current modify index "
        )));
        assert_eq!(failed[1], (4, format!("key \"{a}\" doesn't exist")));
        assert_eq!(failed[2], (5, "unknown KV verb \"bogus\"".into()));
        let after = server.get(&format!("/v1/kv/{prefix}?recurse"));
        assert_eq!(
            (after.json(), after.index()),
            (before.json(), before.index())
        );
    });
}

#[test]
fn every_other_verb() {
    everywhere(|server| {
        let prefix = server.prefix("txn-verbs");
        let k = format!("{prefix}k");
        let none = format!("{prefix}none");
        server.put(&format!("/v1/kv/{k}"), "v").is(200, "true");
        let index = server.key(&k)["ModifyIndex"].as_u64().unwrap();
        fails(
            server,
            json!({"Verb": "get", "Key": none}),
            &format!("key \"{none}\" doesn't exist"),
        );
        fails(
            server,
            json!({"Verb": "check-index", "Key": none, "Index": 1}),
            &format!("failed to check index, key \"{none}\" doesn't exist"),
        );
        fails(
            server,
            json!({"Verb": "check-index", "Key": k, "Index": 1}),
            &format!("failed index check for key \"{k}\", current modify index {index} != 1"),
        );
        fails(
            server,
            json!({"Verb": "check-not-exists", "Key": k}),
            &format!("key \"{k}\" exists"),
        );
        fails(
            server,
            json!({"Verb": "cas", "Key": k, "Index": 1}),
            &format!("failed to set key \"{k}\", index is stale"),
        );
        fails(
            server,
            json!({"Verb": "cas", "Key": none, "Index": 1}),
            &format!("failed to set key \"{none}\", index is stale"),
        );
        fails(
            server,
            json!({"Verb": "delete-cas", "Key": k, "Index": 1}),
            &format!("failed to delete key \"{k}\", index is stale"),
        );
        fails(
            server,
            json!({"Verb": "set", "Key": ""}),
            "Must provide key",
        );
        fails(
            server,
            json!({"Verb": "get", "Key": ""}),
            "Must provide key",
        );
        for ops in [
            json!([{"Verb": "check-not-exists", "Key": none}]),
            json!([{"Verb": "get-tree", "Key": none}]),
            json!([{"Verb": "delete-cas", "Key": none, "Index": 1}]),
            json!([{"Verb": "delete", "Key": none}]),
        ] {
            let answer = txn(server, ops);
            assert_eq!(
                (answer.status, &answer.json()["Results"]),
                (200, &json!([]))
            );
        }
        let answer = txn(
            server,
            json!([
                {"Verb": "check-index", "Key": k, "Index": index},
                {"Verb": "cas", "Key": none, "Index": 0, "Value": "eA=="},
                {"Verb": "delete-cas", "Key": k, "Index": index},
                {"Verb": "get-tree", "Key": prefix},
                {"Verb": "delete-tree", "Key": prefix},
                {"Verb": "get-tree", "Key": prefix},
            ]),
        );
        assert_eq!(
            answer.json()["Results"].as_array().unwrap().len(),
            3,
            "{}",
            answer.body
        );
        assert_eq!(server.key(&none), Value::Null);
    });
}

#[test]
fn bad_bodies() {
    everywhere(|server| {
        let parse = "Failed to parse body: ";
        for (body, why) in [
            ("", "EOF"),
            (
                "{}",
                "json: cannot unmarshal object into Go value of type api.TxnOps",
            ),
            ("x", ""),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"bad base64"}}]"#,
                "illegal base64 data at input byte 3",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"eA"}}]"#,
                "illegal base64 data at input byte 0",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"e"}}]"#,
                "illegal base64 data at input byte 0",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"eA="}}]"#,
                "illegal base64 data at input byte 3",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"eA==="}}]"#,
                "illegal base64 data at input byte 4",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"eHh4eA==x"}}]"#,
                "illegal base64 data at input byte 8",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"=A=="}}]"#,
                "illegal base64 data at input byte 0",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"eA=x"}}]"#,
                "illegal base64 data at input byte 2",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Value":"eHh4e"}}]"#,
                "illegal base64 data at input byte 4",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","LockIndex":1}}]"#,
                "json: unknown field \"LockIndex\"",
            ),
            (
                r#"[{"KV":{"Verb":"set","Key":"k","Index":-1}}]"#,
                "json: cannot unmarshal number -1 into Go struct field KVTxnOp.KV.Index of type uint64",
            ),
        ] {
            server
                .put("/v1/txn", body)
                .begins(400, &format!("{parse}{why}"));
        }
        // Consistency parameters apply only to a transaction that only reads.
        for query in ["index=abc", "wait=5", "stale&consistent"] {
            let txn = |verb: &str| {
                let ops = json!([{"KV": {"Verb": verb, "Key": "txn-query", "Value": "eB=="}}]);
                server.put(&format!("/v1/txn?{query}"), ops.to_string())
            };
            assert_eq!(txn("set").status, 200, "{query}");
            assert_eq!(txn("get").status, 400, "{query}");
        }
        for body in ["[]", "[{}]", r#"[{"Node": null}]"#] {
            let answer = server.put("/v1/txn", body);
            assert_eq!(
                (answer.status, &answer.json()["Results"]),
                (200, &json!([]))
            );
        }
        let many: Vec<Value> = (0..65)
            .map(|_| json!({"Verb": "get", "Key": "k"}))
            .collect();
        txn(server, json!(many)).is(413, "Transaction contains too many operations (65 > 64)");
        let long = vec![b' '; 512 * 1024 + 1];
        server
            .put("/v1/txn", long)
            .begins(413, "Request body(524289 bytes) too large");
        server
            .put(
                "/v1/txn",
                r#"[{"kv":{"verb":"check-not-exists","key":"conformance/none"}}]"#,
            )
            .begins(200, "{");
    });
}
