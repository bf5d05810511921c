//! A default policy of "deny": requests with the token, without one, and with an unknown one.

use serde_json::json;

use super::server::{NOBODY, Server, TOKEN, everywhere, everywhere_with_acl};

struct Setting<'a> {
    root: &'a Server,
    id: String,
    key: String,
}

fn setting(anonymous: &Server, test: impl Fn(Setting, &Server)) {
    let root = anonymous.with_token(&TOKEN);
    let key = root.prefix("acl") + "k";
    let id = root.create("");
    root.put(&format!("/v1/kv/{key}"), "v").is(200, "true");
    let setting = Setting {
        root: &root,
        id: id.clone(),
        key,
    };
    test(setting, anonymous);
    root.destroy(&id);
}

#[test]
fn without_a_token() {
    everywhere_with_acl(|server| {
        setting(server, |Setting { root, id, key }, server| {
            let denied = "Permission denied";
            let create = |body: &str| server.put("/v1/session/create", body);
            create("").is(403, denied);
            create("{").begins(400, "Request decode failed");
            create(r#"{"TTL":"x"}"#).is(403, denied);
            create(r#"{"Node":""}"#).is(500, "Must provide Node");
            create(r#"{"Node":"nobody"}"#).is(403, denied);
            server
                .put(&format!("/v1/session/destroy/{id}"), "")
                .is(403, denied);
            server
                .put(&format!("/v1/session/destroy/{NOBODY}"), "")
                .is(200, "true");
            server
                .put(&format!("/v1/session/renew/{id}"), "")
                .is(403, denied);
            let lookup = "Session lookup failed: failed session lookup: ";
            server.put("/v1/session/destroy/x", "").begins(500, lookup);
            root.put("/v1/session/destroy/x", "").begins(500, lookup);
            let gone = format!("Session id '{NOBODY}' not found");
            server
                .put(&format!("/v1/session/renew/{NOBODY}"), "")
                .is(404, &gone);

            for path in [
                format!("/v1/session/info/{id}"),
                "/v1/session/list".into(),
                format!("/v1/session/node/{}", root.node()),
            ] {
                let answer = server.get(&path);
                assert_eq!(answer.is(200, "[]").index(), root.get(&path).index());
            }
            for path in [format!("/v1/kv/{key}"), format!("/v1/kv/{key}x")] {
                server.get(&path).is(403, denied);
                server.get(&format!("{path}?recurse")).is(404, "");
                server.get(&format!("{path}?keys")).is(404, "");
                server.put(&path, "x").is(403, denied);
                server
                    .put(&format!("{path}?acquire={id}"), "")
                    .is(403, denied);
                server.put(&format!("{path}?acquire="), "").is(403, denied);
                server.delete(&path).is(403, denied);
                server.delete(&format!("{path}?recurse")).is(403, denied);
            }
            server.get("/v1/kv/?keys").is(200, "[]");
            server.get("/v1/agent/self").is(403, denied);
            assert_eq!(server.get("/v1/status/leader").status, 200);
            server.get("/v1/catalog/nodes").is(200, "[]");
            server
                .get(&format!("/v1/catalog/node/{}", root.node()))
                .is(200, "null");
            server.get("/v1/health/state/any").is(200, "[]");
            server
                .put(
                    "/v1/catalog/register",
                    r#"{"Node":"n","Address":"10.0.0.9"}"#,
                )
                .is(403, denied);
            server
                .put("/v1/catalog/deregister", r#"{"Node":"n"}"#)
                .is(403, denied);
            let check = server.put("/v1/agent/check/register", r#"{"Name":"c","TTL":"10s"}"#);
            check.is(
                403,
                &format!("Permission denied: Missing node:write on {}", root.node()),
            );
            let service = server.put("/v1/agent/service/register", r#"{"Name":"s"}"#);
            service.is(403, "Permission denied: Missing service:write on s");
            server
                .put("/v1/agent/check/pass/c", "")
                .is(500, "Unknown check \"c\"");
            server.get("/v1/agent/checks").is(200, "{}");
            for call in ["pass", "deregister"] {
                root.put(&format!("/v1/agent/check/{call}/none"), "")
                    .is(500, "Unknown check \"none\"");
            }
            root.put(
                "/v1/agent/check/register",
                r#"{"Name":"acl-check","TTL":"1h"}"#,
            )
            .is(200, "");
            let right = format!("Permission denied: Missing node:write on {}", root.node());
            server
                .put("/v1/agent/check/pass/acl-check", "")
                .is(403, &right);
            root.put("/v1/agent/check/deregister/acl-check", "")
                .is(200, "");
        });
    });
}

#[test]
fn transactions_without_a_token() {
    everywhere_with_acl(|server| {
        setting(server, |Setting { key, .. }, server| {
            let txn = |ops: serde_json::Value| server.put("/v1/txn", ops.to_string());
            for verb in ["get", "get-tree"] {
                let answer = txn(json!([{"KV": {"Verb": verb, "Key": key}}]));
                assert_eq!(
                    (answer.status, &answer.json()["Results"]),
                    (200, &json!([]))
                );
            }
            for verb in ["set", "check-session", "check-not-exists", "lock"] {
                let answer = txn(json!([
                    {"KV": {"Verb": verb, "Key": key}},
                    {"KV": {"Verb": "get", "Key": key}},
                ]));
                assert_eq!(answer.status, 409);
                let expected = json!([{"OpIndex": 0, "What": "Permission denied"}]);
                assert_eq!(answer.json()["Errors"], expected);
            }
        });
    });
}

#[test]
fn an_unknown_token() {
    everywhere_with_acl(|server| {
        setting(server, |Setting { id, key, .. }, server| {
            let server = server.with_token("nope");
            let unknown = "ACL not found";
            server.put("/v1/session/create", "").is(403, unknown);
            server
                .put("/v1/session/create", "{")
                .begins(400, "Request decode failed");
            for id in [&id, NOBODY, "x"] {
                server
                    .put(&format!("/v1/session/destroy/{id}"), "")
                    .is(403, unknown);
                server
                    .put(&format!("/v1/session/renew/{id}"), "")
                    .is(403, unknown);
                let info = server.get(&format!("/v1/session/info/{id}"));
                assert_eq!(info.is(403, unknown).index(), 1);
            }
            server.get("/v1/session/list").is(403, unknown);
            for query in ["", "?recurse", "?keys"] {
                let answer = server.get(&format!("/v1/kv/{key}{query}"));
                assert_eq!(answer.is(403, unknown).header("X-Consul-Index"), None);
            }
            server.put(&format!("/v1/kv/{key}"), "").is(403, unknown);
            server.delete(&format!("/v1/kv/{key}")).is(403, unknown);
            server.put("/v1/txn", "[]").is(403, unknown);
            server.get("/v1/agent/self").is(403, unknown);
            server.get("/v1/catalog/nodes").is(403, unknown);
            assert_eq!(server.get("/v1/status/leader").status, 200);
        });
    });
}

#[test]
fn where_a_token_may_stand() {
    everywhere_with_acl(|server| {
        setting(server, |Setting { key, .. }, server| {
            let path = format!("/v1/kv/{key}?raw");
            let bearer = format!("Bearer {}", *TOKEN);
            let with = |headers: &[(&str, &str)]| server.call_with("GET", &path, headers);
            with(&[("X-Consul-Token", TOKEN.as_str())]).is(200, "v");
            with(&[("Authorization", &bearer)]).is(200, "v");
            with(&[("Authorization", &bearer), ("X-Consul-Token", "nope")])
                .is(403, "ACL not found");
            let query = format!("{path}&token={}", *TOKEN);
            server
                .call_with("GET", &query, &[("X-Consul-Token", "nope")])
                .is(200, "v");
            let empty = format!("{path}&token=");
            server
                .call_with("GET", &empty, &[("X-Consul-Token", TOKEN.as_str())])
                .is(200, "v");
        });
    });
}

#[test]
fn without_access_control_any_token_will_do() {
    everywhere(|server| {
        assert_eq!(server.with_token("any").get("/v1/session/list").status, 200);
    });
}
