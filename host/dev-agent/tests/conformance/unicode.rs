//! Invalid Unicode: each lone surrogate and each byte that is not UTF-8 becomes one U+FFFD.

use serde_json::json;

use super::server::everywhere;

#[test]
fn in_a_session() {
    everywhere(|server| {
        for (name, expected) in [
            (r"\ud800", "\u{fffd}"),
            (r"a\uDFFFb", "a\u{fffd}b"),
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud800\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\\ud800", r"\ud800"),
            (r"\\\ud800", "\\\u{fffd}"),
        ] {
            let id = server.create(&format!("{{\"Name\":\"{name}\"}}"));
            let session = server.info(&id).unwrap();
            assert_eq!(session["Name"], expected, "{} {name}", server.name);
            server.destroy(&id);
        }
        let bytes = b"{\"Name\":\"\xe2\x82 \xed\xa0\x80 \xf0\x9f\x98\xff\"}";
        let answer = server.put("/v1/session/create", bytes);
        let id = answer.json()["ID"].as_str().unwrap().to_owned();
        let expected = "\u{fffd}\u{fffd} \u{fffd}\u{fffd}\u{fffd} \u{fffd}\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(server.info(&id).unwrap()["Name"], expected);
        server.destroy(&id);

        // In the name of a field, and in a value that is ignored.
        let id = server.create(r#"{"\ud800Name":"x","Other":["\udc00"]}"#);
        assert_eq!(server.info(&id).unwrap()["Name"], "");
        server.destroy(&id);

        for invalid in [
            r"\ud8",
            r"\ud8zz",
            r"\ud800\q",
            r"\ud800\udczz",
            "\\ud800\n",
        ] {
            server
                .put("/v1/session/create", format!("{{\"Name\":\"{invalid}\"}}"))
                .begins(400, "Request decode failed: ");
        }
    });
}

#[test]
fn in_a_transaction() {
    everywhere(|server| {
        let prefix = server.prefix("unicode-txn");
        let txn = |kv: &str| server.put("/v1/txn", format!("[{{\"KV\":{{{kv}}}}}]"));
        let answer = txn(&format!(
            r#""Verb":"set","Key":"{prefix}\ud800k","Value":"eA==""#
        ));
        assert_eq!(answer.status, 200, "{}", answer.body);
        server
            .get(&format!("/v1/kv/{prefix}%EF%BF%BDk?raw"))
            .is(200, "x");
        txn(r#""\ud800":1"#).is(
            400,
            "Failed to parse body: json: unknown field \"\u{fffd}\"",
        );
    });
}

#[test]
fn in_the_catalog() {
    everywhere(|server| {
        let body = r#"{"Node":"uni\ud800","Address":"10.0.0.1","NodeMeta":{"\ud800":"\udc00"}}"#;
        server.put("/v1/catalog/register", body).is(200, "true");
        let node = server.get("/v1/catalog/node/uni%EF%BF%BD").json();
        assert_eq!(node["Node"]["Meta"], json!({"\u{fffd}": "\u{fffd}"}));
        server
            .put("/v1/catalog/deregister", r#"{"Node":"uni\udc00"}"#)
            .is(200, "true");
        server.get("/v1/catalog/node/uni%EF%BF%BD").is(200, "null");
    });
}

#[test]
fn in_a_path() {
    everywhere(|server| {
        let prefix = server.prefix("unicode-path");
        server
            .put(&format!("/v1/kv/{prefix}%E2%82x%ED%A0%80"), "")
            .is(200, "true");
        let keys = server.get(&format!("/v1/kv/{prefix}?keys")).json();
        let key = format!("{prefix}\u{fffd}\u{fffd}x\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(keys, json!([key]));
    });
}
