//! Responses of Consul versions newer than 1.8.7, the only version that the tests can run.
//!
//! The servers return what Consul's source up to 1.22 says that those versions return. docs/hosts.md lists the differences.

use consul_session_tests::bad_server::{Request, Server, answer};
use consul_session_tests::program::{Failure, apply};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

const ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
const OTHER_ID: &str = "9e9cdd3b-ea5b-4c5e-8d7e-5a1ed55a9b7f";
const ACCESSOR: &str = "c0ffee00-1f6b-4f2e-9f0a-b1c5f2a4d3e7";

/// Headers that 1.8.7 does not send, next to some that it does.
const HEADERS: [(&str, &str); 8] = [
    ("Vary", "Accept-Encoding"),
    ("X-Consul-Default-Acl-Policy", "deny"),
    ("X-Consul-Effective-Consistency", "consistent"),
    ("X-Consul-Index", "42"),
    ("X-Consul-Knownleader", "true"),
    ("X-Consul-Lastcontact", "0"),
    ("X-Consul-Query-Backend", "blocking-query"),
    ("X-Content-Type-Options", "nosniff"),
];

struct Reply {
    status: u16,
    body: String,
    filtered: bool,
}

impl Reply {
    /// A success, printed as 1.17 and later print it: compact and without a newline at the end.
    fn json(body: &Value) -> Reply {
        Reply {
            status: 200,
            body: body.to_string(),
            filtered: false,
        }
    }

    fn error(status: u16, text: impl Into<String>) -> Reply {
        Reply {
            status,
            body: text.into(),
            filtered: false,
        }
    }

    /// Adds the header that reports hidden sessions.
    fn filtered(self) -> Reply {
        Reply {
            filtered: true,
            ..self
        }
    }
}

fn newer(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::after_request(move |request, stream| {
        let reply = reply(request);
        let mut headers = HEADERS.to_vec();
        headers.push(if reply.status == 200 {
            ("Content-Type", "application/json")
        } else {
            ("Content-Type", "text/plain; charset=utf-8")
        });
        if reply.filtered {
            // As Go spells it. tests/it/acl.rs covers other spellings.
            headers.push(("X-Consul-Results-Filtered-By-Acls", "true"));
        }
        answer(stream, reply.status, &headers, reply.body.as_bytes())
    })
}

/// A server that returns this error for every request of this method, and finds nothing for the others.
fn refusing(method: &'static str, status: u16, text: &str) -> Server {
    let text = text.to_owned();
    newer(move |request| match request.method == method {
        true => Reply::error(status, &*text),
        false => Reply::json(&json!([])),
    })
}

/// Actions whose first request is a read.
fn reads() -> [Value; 6] {
    [
        json!({"state": "list"}),
        json!({"state": "node", "node": "web"}),
        json!({"state": "info", "id": ID}),
        json!({"state": "info", "name": "n"}),
        json!({"name": "n"}),
        json!({"state": "absent", "id": ID}),
    ]
}

/// Actions that write, even if they found nothing before.
fn writes() -> [Value; 4] {
    [
        json!({}),
        json!({"name": "n"}),
        json!({"state": "renew", "id": ID}),
        json!({"state": "absent", "id": ID}),
    ]
}

/// Fails unless this error makes all of these actions fail with this kind.
#[track_caller]
fn all_fail(
    (method, actions): (&'static str, &[Value]),
    (status, text): (u16, &str),
    kind: &str,
    maybe_applied: bool,
) -> Vec<Failure> {
    let server = refusing(method, status, text);
    let fail = |action: &Value| {
        let failure = apply(&server.url(), action.clone()).failure(kind);
        assert_eq!(failure.get("method"), method, "{action}");
        assert_eq!(failure.get("status"), status, "{action}");
        assert_eq!(failure.get("text"), text.trim(), "{action}");
        assert_eq!(
            failure.get("maybe_applied"),
            maybe_applied,
            "{text}: {action}"
        );
        failure
    };
    actions.iter().map(fail).collect()
}

fn session(id: &str, name: &str) -> Value {
    json!({
        "ID": id, "Name": name, "Node": "web", "LockDelay": 15_000_000_000_u64, "Behavior": "release", "TTL": "30s",
        "NodeChecks": ["serfHealth"], "ServiceChecks": null, "CreateIndex": 41, "ModifyIndex": 41,
    })
}

fn first_warning(result: &Value) -> &str {
    result["warnings"][0].as_str().unwrap_or_default()
}

fn written(server: &Server) -> Vec<String> {
    let puts = server.requests().into_iter();
    puts.filter(|request| request.method == "PUT")
        .map(|request| request.path)
        .collect()
}

// Texts of errors

#[test]
fn bad_input_is_recognized_behind_every_prefix() {
    for prefix in [
        "",
        "apply failed: ",
        "raft apply failed: ",
        "rpc error making call: ",
        "rpc error making call: apply failed: ",
        "rpc error making call: rpc error making call: raft apply failed: ",
    ] {
        for (text, kind, parameter) in [
            ("Missing node registration", "not-found", Value::Null),
            ("Missing check 'web' registration", "not-found", Value::Null),
            (
                "Check 'web' is in critical state",
                "invalid",
                json!("checks"),
            ),
            ("Invalid Behavior setting 'x'", "invalid", json!("behavior")),
            (
                "Invalid Session TTL '10000000000', must be between [20s=24h0m0s]",
                "invalid",
                json!("ttl"),
            ),
            ("Must provide Node", "invalid", json!("node")),
        ] {
            let text = format!("{prefix}{text}");
            for failure in all_fail(("PUT", &[json!({})]), (500, &text), kind, false) {
                assert_eq!(failure.get("parameter"), &parameter, "{text}");
                failure.says(&[&text]);
            }
        }
    }
}

#[test]
fn outages_behind_a_prefix_are_retryable_and_may_have_written() {
    for text in [
        "apply failed: leadership lost while committing log",
        "rpc error making call: apply failed: node is not the leader",
        "rpc error making call: rpc error making call: No cluster leader",
        "rpc error getting client: failed to get conn: rpc error: lead thread didn't get connection",
        "Remote DC has no server currently reachable",
    ] {
        all_fail(("GET", &reads()[..2]), (500, text), "unavailable", false);
        all_fail(("PUT", &writes()), (500, text), "unavailable", true);
    }
}

/// Since 1.12.
#[test]
fn a_denial_repeats_the_accessor_and_the_permission() {
    let token = format!("token with AccessorID '{ACCESSOR}' lacks permission 'session:write'");
    for (text, says) in [
        (
            format!("Permission denied: {token} on \"web\""),
            [ACCESSOR, "'session:write' on \"web\""],
        ),
        (
            // Enterprise names the partition and the namespace, too.
            format!("Permission denied: {token} on \"web\" in partition \"p\" in namespace \"n\""),
            [ACCESSOR, "in partition \"p\""],
        ),
        (
            "Permission denied: anonymous token lacks permission 'session:write' on \"web\". The anonymous token is used implicitly when a request does not specify a token.".to_owned(),
            ["anonymous token", "does not specify a token"],
        ),
    ] {
        for prefix in [
            "",
            "rpc error making call: ",
            "rpc error making call: rpc error making call: ",
        ] {
            let text = format!("{prefix}{text}");
            for status in [403, 500] {
                for failure in all_fail(("PUT", &writes()), (status, &text), "denied", false) {
                    failure.says(&says);
                    failure.says(&["the token needs session:read"]);
                }
            }
        }
    }
}

#[test]
fn a_read_without_permission_is_denied() {
    for prefix in ["", "rpc error making call: "] {
        for status in [403, 500] {
            let text = format!(
                "{prefix}Permission denied: token with AccessorID '{ACCESSOR}' lacks permission 'session:read' on \"web\""
            );
            for failure in all_fail(("GET", &reads()), (status, &text), "denied", false) {
                failure.says(&[ACCESSOR, "'session:read'"]);
            }
            let text = format!("{prefix}ACL not found");
            for failure in all_fail(("GET", &reads()), (status, &text), "denied", false) {
                failure.says(&["does not know this token"]);
            }
        }
    }
}

/// Since 1.15. The limits of an agent and of its servers have different texts.
#[test]
fn rate_limits_are_retryable() {
    for text in [
        "rate limit exceeded, try again later or against a different server",
        "rpc error making call: rate limit exceeded, try again later or against a different server",
        "RPC rate limit exceeded",
        "",
    ] {
        let reads = all_fail(("GET", &reads()), (429, text), "unavailable", false);
        let writes = all_fail(("PUT", &writes()), (429, text), "unavailable", false);
        for failure in reads.iter().chain(&writes) {
            failure.says(&["Consul limits the rate of requests", text]);
        }
    }
    let leader = "rate limit exceeded for operation that can only be performed by the leader, try again later";
    for (status, text) in [
        (503, leader.to_owned()),
        (503, format!("rpc error making call: {leader}")),
        // An agent older than 1.15 in front of newer servers.
        (500, format!("rpc error making call: {leader}")),
    ] {
        let reads = all_fail(("GET", &reads()), (status, &text), "unavailable", false);
        let writes = all_fail(("PUT", &writes()), (status, &text), "unavailable", true);
        for failure in reads.iter().chain(&writes) {
            failure.says(&["Consul limits the rate of requests", &text]);
        }
        for failure in writes {
            failure.says(&["check before you try again"]);
        }
    }
}

/// 1.8.7 puts `Bad request: ` before its text, and ignores `partition`.
#[test]
fn the_community_edition_refuses_namespaces_and_partitions() {
    for (parameter, query, text) in [
        (
            "namespace",
            "ns=x",
            "Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
        ),
        (
            "partition",
            "partition=x",
            "Invalid query parameter: \"partition\" - Partitions are a Consul Enterprise feature",
        ),
    ] {
        for prefix in ["", "Bad request: "] {
            let server = newer(move |request| match request.path.contains(query) {
                true => Reply::error(400, format!("{prefix}{text}")),
                false => Reply::json(&json!([])),
            });
            for action in reads().into_iter().chain(writes()) {
                let mut action = action;
                action[parameter] = "x".into();
                let failure = apply(&server.url(), action).failure("unsupported");
                failure.says(&[text, "omit `namespace` and `partition`"]);
                assert_eq!(failure.get("status"), 400);
                assert_eq!(failure.get("maybe_applied"), false);
            }
            apply(&server.url(), json!({"state": "list"})).success();
        }
    }
}

#[test]
fn a_client_agent_creates_no_session_in_another_datacenter() {
    let server = newer(|request| match request.method.as_str() {
        "PUT" if request.path.contains("dc=far") => {
            Reply::error(500, "cross datacenter lock must be created at server agent")
        }
        _ => Reply::json(&json!([])),
    });
    for action in [json!({}), json!({"name": "n"})] {
        let mut action = action;
        action["datacenter"] = "far".into();
        let failure = apply(&server.url(), action).failure("unsupported");
        failure.says(&["cross datacenter lock", "ask one of those"]);
        assert_eq!(failure.get("maybe_applied"), false);
    }
    apply(&server.url(), json!({"state": "list", "datacenter": "far"})).success();
}

/// 1.8.7 sends no text. A 404 to a renew does not mean that the session has ended.
#[test]
fn a_path_outside_the_api_is_not_a_missing_session() {
    for text in [
        "Invalid URL path: not a recognized HTTP API endpoint\n",
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
    ] {
        let reads = all_fail(("GET", &reads()), (404, text), "protocol", false);
        let writes = all_fail(("PUT", &writes()), (404, text), "protocol", false);
        for failure in reads.iter().chain(&writes) {
            failure.says(&["there is no Consul API at this address"]);
        }
    }
}

// Ids

/// Newer versions treat every id as a string, so they return for a malformed one what they return for an unknown one.
#[test]
fn an_unknown_id_or_node_is_absent() {
    let server = newer(|request| {
        let (_, id) = request.path.rsplit_once('/').unwrap();
        match request.path.split('/').nth(3) {
            Some("renew") => Reply::error(404, format!("Session id '{id}' not found")),
            Some("destroy") => Reply::json(&json!(true)),
            _ => Reply::json(&json!([])),
        }
    });
    let run = |action: Value| apply(&server.url(), action);
    for action in [
        json!({"state": "info", "id": ID}),
        json!({"state": "node", "node": "unknown"}),
        json!({"state": "info", "name": "n", "node": "unknown"}),
    ] {
        let found = run(action.clone()).success();
        assert_eq!(found["sessions"], json!([]), "{action}");
        assert_eq!(found.get("warnings"), None, "{action}");
    }
    for action in [
        json!({"state": "absent", "id": ID}),
        json!({"state": "absent", "id": ID, "check_mode": true}),
        json!({"state": "absent", "name": "n", "node": "unknown"}),
    ] {
        let gone = run(action.clone()).success();
        assert_eq!(gone["changed"], false, "{action}");
        assert_eq!(gone["session_ids"], json!([]), "{action}");
        assert_eq!(gone.get("warnings"), None, "{action}");
    }
    let failure = run(json!({"state": "renew", "id": ID})).failure("not-found");
    failure.says(&["Session id", "has ended", "create a new one"]);
    assert_eq!(failure.get("status"), 404);
    run(json!({"state": "renew", "id": ID, "check_mode": true}))
        .failure("not-found")
        .says(&["does not exist"]);
    run(json!({"state": "renew", "name": "n", "node": "unknown"}))
        .failure("not-found")
        .says(&["no session has this name"]);
}

/// A newer version would report success for a destroy.
#[test]
fn a_malformed_id_is_never_sent() {
    let server = newer(|_| Reply::json(&json!(true)));
    for id in ["x", "", "2d54d52a8d7a2c9f7dc18c5f9f0a0c11", "../list"] {
        for state in ["info", "renew", "absent"] {
            let run = apply(&server.url(), json!({"state": state, "id": id}));
            assert_eq!(run.failure("invalid").get("parameter"), "id", "{id}");
        }
    }
    assert_eq!(server.requests(), []);
}

// Hidden sessions

/// A server that hides all sessions of the node `web` from the token, which may write only to other nodes.
fn hiding() -> Server {
    newer(|request| {
        let denied = format!(
            "Permission denied: token with AccessorID '{ACCESSOR}' lacks permission 'session:write' on \"web\""
        );
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/v1/session/create") => Reply::json(&json!({"ID": OTHER_ID})),
            ("PUT", _) => Reply::error(403, denied),
            ("GET", path) if path.contains("/node/") && !path.contains("/node/web") => {
                Reply::json(&json!([]))
            }
            _ => Reply::json(&json!([])).filtered(),
        }
    })
}

#[test]
fn reads_warn_of_hidden_sessions() {
    let server = hiding();
    for (action, key) in [
        (json!({"state": "list"}), "sessions"),
        (json!({"state": "node", "node": "web"}), "node"),
        (json!({"state": "info", "id": ID}), "session_id"),
        (json!({"state": "info", "name": "n"}), "session_id"),
        (
            json!({"state": "info", "name": "n", "node": "web"}),
            "session_id",
        ),
        (json!({"state": "list", "check_mode": true}), "sessions"),
    ] {
        let result = apply(&server.url(), action.clone()).success();
        assert_eq!(result["changed"], false, "{action}");
        assert_eq!(result["sessions"], json!([]), "{action}");
        assert!(result.get(key).is_some(), "{action}: {result}");
        let warning = first_warning(&result);
        assert!(warning.contains("may be incomplete"), "{action}: {result}");
    }
    let node = json!({"state": "node", "node": "other"});
    let result = apply(&server.url(), node).success();
    assert_eq!(result.get("warnings"), None);
}

#[test]
fn nothing_is_written_on_the_strength_of_an_incomplete_list() {
    let server = hiding();
    for action in [
        json!({"name": "n"}),
        json!({"name": "n", "ttl": 30, "recreate": true}),
        json!({"name": "n", "node": "web"}),
        json!({"state": "absent", "name": "n"}),
        json!({"state": "absent", "name": "n", "node": "web"}),
        json!({"state": "renew", "name": "n"}),
        json!({"state": "renew", "name": "n", "node": "web"}),
    ] {
        for check_mode in [false, true] {
            let mut action = action.clone();
            action["check_mode"] = check_mode.into();
            let failure = apply(&server.url(), action).failure("denied");
            failure.says(&["Consul omitted sessions", "session:read"]);
            assert_eq!(failure.get("maybe_applied"), false);
        }
    }
    for action in [
        json!({"state": "absent", "id": ID, "check_mode": true}),
        json!({"state": "renew", "id": ID, "check_mode": true}),
    ] {
        apply(&server.url(), action)
            .failure("denied")
            .says(&[ID, "session:read"]);
    }
    assert_eq!(written(&server), Vec::<String>::new());
}

#[test]
fn a_write_to_a_hidden_session_is_denied_by_consul() {
    for (state, operation) in [("absent", "destroy"), ("renew", "renew")] {
        let server = hiding();
        let failure = apply(&server.url(), json!({"state": state, "id": ID})).failure("denied");
        failure.says(&[ACCESSOR, "session:write"]);
        assert_eq!(failure.get("status"), 403);
        assert_eq!(failure.get("maybe_applied"), false);
        assert_eq!(written(&server), [format!("/v1/session/{operation}/{ID}")]);
    }
}

#[test]
fn a_session_that_is_created_but_hidden_is_reported() {
    // Without a name there is nothing to look up, so the session is created.
    let server = hiding();
    for action in [json!({}), json!({"name": "n", "unique": false})] {
        let result = apply(&server.url(), action).success();
        assert_eq!(result["changed"], true);
        assert_eq!(result["session_id"], OTHER_ID);
        assert_eq!(result["session"], Value::Null);
        let warning = first_warning(&result);
        assert!(warning.contains("may not read it"), "{result}");
    }
    // With a name, another session of the name may be hidden. Before the create there was no session to hide.
    let created = AtomicBool::new(false);
    let server = newer(move |request| {
        let renewed = json!([session(ID, "n")]);
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/v1/session/create") => {
                created.store(true, Ordering::Relaxed);
                Reply::json(&json!({"ID": ID}))
            }
            ("PUT", _) => Reply::json(&renewed),
            _ if created.load(Ordering::Relaxed) => Reply::json(&json!([])).filtered(),
            _ => Reply::json(&json!([])),
        }
    });
    let failure = apply(&server.url(), json!({"name": "n"})).failure("denied");
    failure.says(&[ID, "was created", "not read"]);
    assert_eq!(failure.get("maybe_applied"), true);
}

#[test]
fn a_visible_session_counts_even_if_others_are_hidden() {
    let server = newer(|request| match request.method.as_str() {
        "PUT" => Reply::json(&json!([session(ID, "n")])),
        _ => Reply::json(&json!([session(ID, "n"), session(OTHER_ID, "other")])).filtered(),
    });
    let run = |action: Value| apply(&server.url(), action);
    for check_mode in [false, true] {
        let result = run(json!({"name": "n", "ttl": 30, "check_mode": check_mode})).success();
        assert_eq!(result["changed"], false);
        assert_eq!(result["session_id"], ID);
        let result =
            run(json!({"state": "renew", "name": "n", "check_mode": check_mode})).success();
        assert_eq!(result["session_id"], ID);
        run(json!({"name": "n", "ttl": 60, "check_mode": check_mode})).failure("conflict");
        run(json!({"name": "n", "ttl": 60, "recreate": true, "check_mode": check_mode}))
            .failure("denied")
            .says(&["Consul omitted sessions"]);
        // Hidden sessions of the name would remain.
        run(json!({"state": "absent", "name": "n", "check_mode": check_mode}))
            .failure("denied")
            .says(&["Consul omitted sessions"]);
    }
    let found = run(json!({"state": "info", "name": "n"})).success();
    assert_eq!(found["session_id"], ID);
    assert!(first_warning(&found).contains("may be incomplete"));
    assert_eq!(written(&server), [format!("/v1/session/renew/{ID}")]);
}

// The form of a success

/// Since 1.17 development agents print compact JSON, too. `?pretty` indents it and ends it with a newline.
#[test]
fn the_layout_of_json_does_not_matter() {
    let pretty = |value: &Value| {
        let text = serde_json::to_string_pretty(value).unwrap();
        text.replace("  ", "    ") + "\n"
    };
    let results = [Value::to_string, pretty].map(|print| {
        let exists = AtomicBool::new(false);
        let server = newer(move |request| {
            let found = match exists.load(Ordering::Relaxed) {
                true => json!([session(ID, "n")]),
                false => json!([]),
            };
            let reply = match request.path.split(['/', '?']).nth(3) {
                Some("create") => {
                    exists.store(true, Ordering::Relaxed);
                    json!({"ID": ID})
                }
                Some("destroy") => {
                    exists.store(false, Ordering::Relaxed);
                    json!(true)
                }
                _ => found,
            };
            Reply {
                body: print(&reply),
                ..Reply::json(&reply)
            }
        });
        [
            json!({"name": "n", "ttl": 30}),
            json!({"name": "n", "ttl": 30}),
            json!({"state": "list"}),
            json!({"state": "node", "node": "web"}),
            json!({"state": "info", "id": ID}),
            json!({"state": "renew", "id": ID}),
            json!({"state": "absent", "id": ID}),
            json!({"state": "info", "id": ID}),
        ]
        .map(|action| apply(&server.url(), action).success())
    });
    let [compact, pretty] = results;
    assert_eq!(compact, pretty);
    let changed = compact.each_ref().map(|result| result["changed"] == true);
    assert_eq!(
        changed,
        [true, false, false, false, false, true, true, false]
    );
    assert_eq!(compact[2]["sessions"], json!([session(ID, "n")]));
    assert_eq!(compact[7]["sessions"], json!([]));
}

#[test]
fn sessions_may_lack_old_fields_and_have_new_ones() {
    for (field, value) in [
        ("ModifyIndex", None),
        ("ServiceChecks", None),
        ("NodeChecks", Some(Value::Null)),
        ("Partition", Some(json!("default"))),
        ("Namespace", Some(json!("default"))),
        ("Later", Some(json!({"Nested": [1.5, null]}))),
    ] {
        let mut sent = session(ID, "n");
        match value {
            Some(value) => sent[field] = value,
            None => drop(sent.as_object_mut().unwrap().remove(field)),
        }
        let sessions = json!([sent]);
        let server = newer(move |_| Reply::json(&sessions));
        for action in [
            json!({"state": "list"}),
            json!({"state": "node", "node": "web"}),
            json!({"state": "info", "id": ID}),
            json!({"state": "info", "name": "n"}),
        ] {
            let result = apply(&server.url(), action).success();
            assert_eq!(result["sessions"], json!([sent]), "{field}");
        }
        let result = apply(&server.url(), json!({"state": "renew", "id": ID})).success();
        assert_eq!(result["session"], sent, "{field}");
    }
}
