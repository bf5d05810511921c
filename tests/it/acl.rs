//! ACLs: a denial is not reported as a missing session, its message says what to do, and no output contains a token.

use consul_session_tests::bad_server::{Server, answer};
use consul_session_tests::consul::{self, AclAgent};
use consul_session_tests::program::{Program, Run, apply};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

const UNKNOWN_TOKEN: &str = "9e9cdd3b-ea5b-4c5e-8d7e-5a1ed55a9b7f";
const UNKNOWN_ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";

/// Runs an action with a token and checks that the output does not contain the token.
fn apply_with(acl: &AclAgent, token: &str, mut parameters: Value) -> Run {
    parameters["token"] = token.into();
    let run = apply(&acl.agent.http, parameters);
    run.never_says(token);
    run
}

#[test]
fn sufficient_tokens_allow_all_actions() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    for (name, token) in [
        ("acl-management", &acl.management),
        ("acl-writer", &acl.writer),
    ] {
        let run = |parameters| apply_with(acl, token, parameters).success();
        let made = run(json!({"name": name, "ttl": 30}));
        assert_eq!(made["changed"], true);
        assert_eq!(run(json!({"name": name}))["changed"], false);
        assert_eq!(run(json!({"state": "renew", "name": name}))["ttl"], 30);
        assert_eq!(
            run(json!({"state": "info", "name": name}))["session_id"],
            made["session_id"]
        );
        assert_eq!(
            run(json!({"state": "absent", "name": name}))["session_ids"],
            json!([made["session_id"]])
        );
        assert_eq!(acl.agent.api.named(name), Vec::<Value>::new());
    }
}

#[test]
fn read_only_token_cannot_write() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let id = acl
        .agent
        .api
        .create(&json!({"Name": "acl-reader", "TTL": "30s"}));
    let run = |parameters| apply_with(acl, &acl.reader, parameters);
    let found = run(json!({"state": "info", "name": "acl-reader"})).success();
    assert_eq!(found["session_id"], json!(id));
    assert_eq!(
        run(json!({"name": "acl-reader"})).success()["changed"],
        false
    );
    for parameters in [
        json!({"name": "acl-reader-new"}),
        json!({}),
        json!({"name": "acl-reader", "ttl": 60, "recreate": true}),
        json!({"state": "absent", "name": "acl-reader"}),
        json!({"state": "absent", "id": id}),
        json!({"state": "renew", "name": "acl-reader"}),
        json!({"state": "renew", "id": id}),
    ] {
        let failure = run(parameters.clone()).failure("denied");
        failure.says(&["Permission denied", "session:write"]);
        assert_eq!(failure.get("status"), 403, "{parameters}");
        assert_eq!(failure.get("maybe_applied"), false, "{parameters}");
    }
    assert!(acl.agent.api.session(&id).is_some());
    assert_eq!(acl.agent.api.named("acl-reader-new"), Vec::<Value>::new());
}

/// Consul omits sessions that a token may not read, so reads succeed with empty lists. Only writes are denied.
#[test]
fn without_permissions_lists_are_empty_and_writes_are_denied() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let id = acl
        .agent
        .api
        .create(&json!({"Name": "acl-hidden", "TTL": "30s"}));
    let missing = |parameters: &Value| apply(&acl.agent.http, parameters.clone());
    let powerless = |parameters: &Value| apply_with(acl, &acl.powerless, parameters.clone());
    for run in [&missing as &dyn Fn(&Value) -> Run, &powerless] {
        for parameters in [
            json!({"state": "list"}),
            json!({"state": "info", "id": id}),
            json!({"state": "info", "name": "acl-hidden"}),
            json!({"state": "node", "node": consul::NODE}),
        ] {
            let result = run(&parameters).success();
            assert_eq!(
                (&result["changed"], &result["sessions"]),
                (&json!(false), &json!([])),
                "{parameters}"
            );
        }
        for parameters in [
            json!({"state": "absent", "id": id}),
            json!({"state": "renew", "id": id}),
            json!({"name": "acl-hidden"}),
            json!({}),
        ] {
            let failure = run(&parameters).failure("denied");
            failure.says(&["Permission denied", "session:write"]);
            assert_eq!(failure.get("status"), 403, "{parameters}");
        }
        run(&json!({"state": "renew", "name": "acl-hidden"}))
            .failure("not-found")
            .says(&["may not read"]);
        // Consul lets anyone destroy a session that does not exist.
        let gone = run(&json!({"state": "absent", "id": UNKNOWN_ID})).success();
        assert_eq!(gone["changed"], false);
    }
    missing(&json!({}))
        .failure("denied")
        .says(&["session:write"]);
    assert_eq!(acl.agent.api.named("acl-hidden").len(), 1);
}

#[test]
fn unknown_token_is_denied() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    for parameters in [
        json!({"state": "list"}),
        json!({"state": "info", "id": UNKNOWN_ID}),
        json!({"name": "acl-unknown"}),
        json!({"state": "absent", "name": "acl-unknown"}),
        json!({"state": "renew", "id": UNKNOWN_ID}),
    ] {
        let failure = apply_with(acl, UNKNOWN_TOKEN, parameters).failure("denied");
        failure.says(&["ACL not found", "does not know this token"]);
    }
}

#[test]
fn tokens_are_read_from_all_sources_and_never_printed() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    // Editors end a file with a newline.
    let good = file("good", format!("{}\n", acl.management));
    let bad = file("bad", UNKNOWN_TOKEN.to_owned());
    let list = |arguments: &[&str], variables: &[(&str, &str)]| {
        let url = format!("url={}", acl.agent.http);
        let arguments = [arguments, &["apply", "state=list", &url]].concat();
        let program = Program::new(arguments);
        let run = variables
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value))
            .run();
        run.never_says(&acl.management);
        run.never_says(UNKNOWN_TOKEN);
        run
    };
    let management = acl.management.as_str();
    list(&[], &[("CONSUL_HTTP_TOKEN", management)]).success();
    list(&[], &[("CONSUL_HTTP_TOKEN_FILE", &good)]).success();
    // The file takes precedence, as in Consul's own tools.
    list(
        &[],
        &[
            ("CONSUL_HTTP_TOKEN_FILE", &good),
            ("CONSUL_HTTP_TOKEN", UNKNOWN_TOKEN),
        ],
    )
    .success();
    list(
        &["--token-file", &good],
        &[
            ("CONSUL_HTTP_TOKEN_FILE", &bad),
            ("CONSUL_HTTP_TOKEN", UNKNOWN_TOKEN),
        ],
    )
    .success();
    // The calls above did use the valid token: the same call with the unknown one is denied.
    list(&[], &[("CONSUL_HTTP_TOKEN", UNKNOWN_TOKEN)]).failure("denied");
    list(
        &[],
        &[
            ("CONSUL_HTTP_TOKEN_FILE", &bad),
            ("CONSUL_HTTP_TOKEN", management),
        ],
    )
    .failure("denied");
    list(
        &["--token-file", &bad],
        &[("CONSUL_HTTP_TOKEN", management)],
    )
    .failure("denied");
    list(&["--token-file", "/nowhere/token"], &[])
        .failure("invalid")
        .says(&["/nowhere/token"]);
    list(&[], &[("CONSUL_HTTP_TOKEN_FILE", "/nowhere/token")])
        .failure("invalid")
        .says(&["/nowhere/token"]);

    // Errors do not repeat a token in the wrong parameter, or one that is not a valid header value.
    let misplaced = json!({"state": "list", "token": management, "timeout": management});
    apply(&acl.agent.http, misplaced).never_says(management);
    for broken in [
        format!("{management}\n"),
        format!("{management}\r\nX: y"),
        format!("{management}ü"),
    ] {
        let run = apply(&acl.agent.http, json!({"state": "list", "token": broken}));
        assert_eq!(run.failure("invalid").get("parameter"), "token");
        run.never_says(management);
    }
}

/// Newer versions of Consul set a header if they omitted sessions from a list.
#[test]
fn filtered_list_is_not_treated_as_complete() {
    let other = json!([{
        "ID": UNKNOWN_ID, "Name": "other", "Node": "x", "LockDelay": 0, "Behavior": "release", "TTL": "30s",
        "NodeChecks": [], "ServiceChecks": null, "CreateIndex": 1, "ModifyIndex": 1,
    }]);
    for (header, sessions) in [
        ("X-Consul-Results-Filtered-By-ACLs", json!([])),
        ("x-consul-results-filtered-by-acls", other.clone()),
    ] {
        let server = Server::answering(200, &[(header, "true")], sessions.to_string());
        for parameters in [
            json!({"state": "list"}),
            json!({"state": "info", "id": UNKNOWN_ID}),
            json!({"state": "info", "name": "n"}),
            json!({"state": "node", "node": "n"}),
        ] {
            let result = apply(&server.url(), parameters.clone()).success();
            assert_eq!(result["changed"], false);
            let warnings = result["warnings"].as_array().unwrap();
            assert!(
                warnings[0].as_str().unwrap().contains("token"),
                "{parameters}"
            );
        }
        for parameters in [
            json!({"name": "n"}),
            json!({"name": "n", "check_mode": true}),
            json!({"name": "n", "recreate": true}),
            json!({"state": "absent", "name": "n"}),
            json!({"state": "absent", "name": "n", "check_mode": true}),
            json!({"state": "renew", "name": "n"}),
            json!({"state": "absent", "id": UNKNOWN_ID, "check_mode": true}),
            json!({"state": "renew", "id": UNKNOWN_ID, "check_mode": true}),
        ] {
            if sessions != json!([]) && parameters.get("id").is_some() {
                continue;
            }
            apply(&server.url(), parameters)
                .failure("denied")
                .says(&["session:read"]);
        }
        assert!(
            server
                .requests()
                .iter()
                .all(|request| request.method == "GET"),
            "a request other than GET was sent"
        );
    }
    // With an ID the write is sent, but whether the session existed is unknown.
    let server = Server::after_request(|request, stream| {
        let body = if request.method == "PUT" {
            "true"
        } else {
            "[]"
        };
        let filtered = ("X-Consul-Results-Filtered-By-ACLs", "true");
        answer(stream, 200, &[filtered], body.as_bytes())
    });
    let result = apply(&server.url(), json!({"state": "absent", "id": UNKNOWN_ID})).success();
    let warning = result["warnings"][0].as_str().unwrap();
    assert!(warning.contains("unknown whether it existed"), "{warning}");
    let server = Server::answering(
        200,
        &[("X-Consul-Results-Filtered-By-ACLs", "false")],
        other.to_string(),
    );
    let result = apply(&server.url(), json!({"state": "list"})).success();
    assert!(result.get("warnings").is_none());
    // Omitted sessions do not matter if the list contains the requested one.
    let server = Server::answering(
        200,
        &[("X-Consul-Results-Filtered-By-ACLs", "true")],
        other.to_string(),
    );
    assert_eq!(
        apply(&server.url(), json!({"name": "other"})).success()["session_id"],
        UNKNOWN_ID
    );
}
