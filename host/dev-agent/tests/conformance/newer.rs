//! The imitations of newer versions: each row of the table in src/version.rs.
//!
//! No newer Consul was run. These tests check that the agent does what its table says, against the default, which
//! imitates 1.8.7, on the other side of each difference.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use consul_session_dev_agent::{DevAgent, DevAgentBuilder, Limits, Version};
use serde_json::{Value, json};

use super::blocking::blocked;
use super::server::{Answer, NOBODY, Server, start};

const SECOND: Duration = Duration::from_secs(1);
/// A wait that even a busy machine does not need for what cuts it short.
const LONG: Duration = Duration::from_secs(60);
const POWERLESS: &str = "powerless-token";
const ROOT: &str = "root";

/// Starts an agent of the default version and one that imitates 1.22.
fn both(configure: impl Fn(DevAgentBuilder) -> DevAgentBuilder) -> [(DevAgent, Server); 2] {
    [Version::default(), Version::V1_22]
        .map(|version| start(configure(DevAgent::builder().imitate(version))))
}

fn with_acl(version: Version) -> (DevAgent, Server) {
    let builder = DevAgent::builder().imitate(version).node("acl-node");
    start(builder.acl_token(ROOT).powerless_token(POWERLESS))
}

fn filtered(answer: &Answer) -> bool {
    answer.header("X-Consul-Results-Filtered-By-Acls") == Some("true")
}

#[test]
fn the_default_is_the_recorded_version() {
    assert_eq!(Version::default(), Version::V1_8);
    for (version, number) in [
        (Version::V1_8, "1.8.7"),
        (Version::V1_21_5, "1.21.5"),
        (Version::V1_22, "1.22.0"),
    ] {
        let (_agent, server) = start(DevAgent::builder().imitate(version));
        let about = server.get("/v1/agent/self").json();
        assert_eq!(about["Config"]["Version"], number);
        assert_eq!(about["Stats"]["build"]["version"], number);
    }
    let (_agent, server) = start(DevAgent::builder());
    let about = server.get("/v1/agent/self").json();
    assert_eq!(
        about["Config"]["Version"],
        consul_session_dev_agent::VERSION
    );
}

#[test]
fn a_malformed_id_is_unknown() {
    let malformed = "failed session lookup: index error: UUID must be 36 characters";
    let [(_old, old), (_new, new)] = both(|builder| builder);
    for id in ["x", "zzzzzzzz-0000-4000-8000-000000000000"] {
        for (call, path) in [
            ("GET", "/v1/session/info/"),
            ("PUT", "/v1/session/renew/"),
            ("PUT", "/v1/session/destroy/"),
            ("PUT", "/v1/kv/malformed?acquire="),
        ] {
            assert_eq!(old.call(call, &format!("{path}{id}")).status, 500, "{path}");
        }
        new.get(&format!("/v1/session/info/{id}")).is(200, "[]");
        new.put(&format!("/v1/session/renew/{id}"), "")
            .is(404, &format!("Session id '{id}' not found"));
        new.put(&format!("/v1/session/destroy/{id}"), "")
            .is(200, "true");
        let invalid = format!("raft apply failed: invalid session \"{id}\"");
        new.put(&format!("/v1/kv/malformed?acquire={id}"), "")
            .is(500, &invalid);
    }
    old.get("/v1/session/info/x").is(500, malformed);
    // The id of a session is found in any case, but no longer without its hyphens.
    for (server, without_hyphens) in [(&old, true), (&new, false)] {
        let id = server.create("");
        assert!(server.info(&id.to_uppercase()).is_some());
        let odd = format!("{}----", id.replace('-', ""));
        assert_eq!(server.get(&format!("/v1/session/info/{odd}")).status, 200);
        assert_eq!(server.info(&odd).is_some(), without_hyphens);
        server.destroy(&id.to_uppercase());
        assert_eq!(server.info(&id), None);
    }
}

#[test]
fn a_lock_under_an_id_in_upper_case_ends_with_the_session() {
    let (_agent, server) = start(DevAgent::builder().imitate(Version::V1_22));
    let id = server.create("");
    let upper = id.to_uppercase();
    server
        .put(&format!("/v1/kv/upper?acquire={upper}"), "")
        .is(200, "true");
    assert_eq!(server.key("upper")["Session"], json!(upper));
    server.destroy(&id);
    assert_eq!(server.key("upper").get("Session"), None);
}

#[test]
fn errors_of_the_state_store_have_prefixes() {
    for ((_agent, server), session, kv) in [
        (start(DevAgent::builder()), "", ""),
        (
            start(DevAgent::builder().imitate(Version::V1_22)),
            "apply failed: ",
            "raft apply failed: ",
        ),
    ] {
        let create = |body: Value| server.put("/v1/session/create", body.to_string());
        create(json!({"Node": "nobody"})).is(500, &format!("{session}Missing node registration"));
        create(json!({"NodeChecks": ["c"]}))
            .is(500, &format!("{session}Missing check 'c' registration"));
        let check = json!({"Name": "c", "TTL": "1h"});
        server
            .put("/v1/agent/check/register", check.to_string())
            .is(200, "");
        create(json!({"NodeChecks": ["c"]}))
            .is(500, &format!("{session}Check 'c' is in critical state"));
        // Consul rejects these before they reach the store.
        create(json!({"TTL": "1s"})).begins(500, "Invalid Session TTL '1000000000'");
        create(json!({"TTL": "x"})).begins(500, "Session TTL 'x' invalid");
        create(json!({"Behavior": "x"})).is(500, "Invalid Behavior setting 'x'");
        create(json!({"Node": ""})).is(500, "Must provide Node");

        server
            .put("/v1/kv/k?acquire=", "")
            .is(500, &format!("{kv}missing session"));
        server
            .put("/v1/kv/k?release=", "")
            .is(500, &format!("{kv}missing session"));
        server
            .put(&format!("/v1/kv/k?acquire={NOBODY}"), "")
            .is(500, &format!("{kv}invalid session \"{NOBODY}\""));
        server.put("/v1/kv/k?flags=x", "").begins(500, "strconv.");
        // An operation of a transaction has no prefix in any version.
        let op = json!([{"KV": {"Verb": "lock", "Key": "k", "Session": NOBODY}}]);
        let answer = server.put("/v1/txn", op.to_string());
        assert_eq!(answer.status, 409);
        let what = format!("invalid session \"{NOBODY}\"");
        assert_eq!(answer.json()["Errors"][0]["What"], json!(what));
    }
}

#[test]
fn a_denial_names_the_token_and_the_permission() {
    let anonymous = |permission: &str, on: &str| {
        format!(
            "Permission denied: anonymous token lacks permission '{permission}' on \"{on}\". The anonymous token is \
             used implicitly when a request does not specify a token."
        )
    };
    let (_agent, nobody) = with_acl(Version::V1_22);
    let root = nobody.with_token(ROOT);
    let id = root.create("");
    let node = root.node();
    root.put("/v1/kv/k", "v").is(200, "true");
    let check = json!({"Name": "acl-check", "TTL": "1h"}).to_string();
    root.put("/v1/agent/check/register", &check).is(200, "");
    let service = json!({"Name": "acl-service"}).to_string();
    root.put("/v1/agent/service/register", &service).is(200, "");

    let session = anonymous("session:write", &node);
    nobody.put("/v1/session/create", "").is(403, &session);
    nobody
        .put("/v1/session/create", r#"{"Node":"other"}"#)
        .is(403, &anonymous("session:write", "other"));
    nobody
        .put(&format!("/v1/session/destroy/{id}"), "")
        .is(403, &session);
    nobody
        .put(&format!("/v1/session/renew/{id}"), "")
        .is(403, &session);
    let write = anonymous("key:write", "k");
    nobody.get("/v1/kv/k").is(403, &anonymous("key:read", "k"));
    nobody.put("/v1/kv/k", "").is(403, &write);
    nobody.delete("/v1/kv/k").is(403, &write);
    nobody.delete("/v1/kv/k?recurse").is(403, &write);
    // A permission for everything has no name.
    nobody.delete("/v1/kv/?recurse").is(
        403,
        "Permission denied: anonymous token lacks permission 'key:write'. The anonymous token is used implicitly \
         when a request does not specify a token.",
    );
    for (verb, permission) in [
        ("set", "key:write"),
        ("lock", "key:write"),
        ("check-not-exists", "key:write"),
        ("check-session", "key:read"),
        ("check-index", "key:read"),
    ] {
        let op = json!([{"KV": {"Verb": verb, "Key": "k"}}]);
        let answer = nobody.put("/v1/txn", op.to_string());
        assert_eq!(answer.status, 409);
        let what = json!(anonymous(permission, "k"));
        assert_eq!(answer.json()["Errors"][0]["What"], what, "{verb}");
    }
    nobody
        .get("/v1/agent/self")
        .is(403, &anonymous("agent:read", &node));
    let on_node = anonymous("node:write", &node);
    nobody
        .put("/v1/agent/check/register", &check)
        .is(403, &on_node);
    nobody
        .put("/v1/agent/check/pass/acl-check", "")
        .is(403, &on_node);
    nobody
        .put("/v1/agent/check/deregister/acl-check", "")
        .is(403, &on_node);
    let on_service = anonymous("service:write", "acl-service");
    nobody
        .put("/v1/agent/service/register", &service)
        .is(403, &on_service);
    nobody
        .put("/v1/agent/service/deregister/acl-service", "")
        .is(403, &on_service);
    let register = r#"{"Node":"n","Address":"10.0.0.9"}"#;
    nobody
        .put("/v1/catalog/register", register)
        .is(403, &anonymous("node:write", "n"));
    nobody
        .put("/v1/catalog/deregister", r#"{"Node":"n"}"#)
        .is(403, &anonymous("node:write", "n"));

    // A token that the agent knows is named by its accessor.
    let powerless = root.with_token(POWERLESS);
    let denied = powerless.put("/v1/session/create", "");
    denied.begins(403, "Permission denied: token with AccessorID '");
    let (_, rest) = denied.body.split_once("AccessorID '").unwrap();
    let (accessor, rest) = rest.split_at(36);
    assert_eq!(accessor.matches('-').count(), 4);
    assert_eq!(
        rest,
        format!("' lacks permission 'session:write' on \"{node}\"")
    );

    // What needs no permission and what is no denial is as before.
    nobody
        .put(&format!("/v1/session/destroy/{NOBODY}"), "")
        .is(200, "true");
    root.with_token("nope")
        .put("/v1/session/create", "")
        .is(403, "ACL not found");
}

#[test]
fn a_powerless_token_of_the_default_version() {
    let (_agent, server) = with_acl(Version::default());
    let root = server.with_token(ROOT);
    let id = root.create("");
    root.put("/v1/kv/k", "v").is(200, "true");
    let server = server.with_token(POWERLESS);
    let denied = "Permission denied";
    server.put("/v1/session/create", "").is(403, denied);
    server
        .put(&format!("/v1/session/renew/{id}"), "")
        .is(403, denied);
    server.get("/v1/kv/k").is(403, denied);
    server.get("/v1/agent/self").is(403, denied);
    server.get("/v1/kv/?recurse").is(404, "");
    let list = server.get("/v1/session/list");
    list.is(200, "[]");
    assert!(!filtered(&list));
    // Without access control there is no token that permits nothing.
    let (_agent, open) = start(DevAgent::builder().powerless_token(POWERLESS));
    open.with_token(POWERLESS).create("");
}

#[test]
fn filtered_results_are_reported_to_those_with_a_token() {
    for version in [Version::default(), Version::V1_22] {
        let reports = version != Version::default();
        let (_agent, nobody) = with_acl(version);
        let root = nobody.with_token(ROOT);
        let powerless = nobody.with_token(POWERLESS);
        let (id, node) = (root.create(""), root.node());
        root.put("/v1/kv/k", "v").is(200, "true");
        let check = json!({"Name": "filtered", "TTL": "1h"});
        root.put("/v1/agent/check/register", check.to_string())
            .is(200, "");
        for path in [
            format!("/v1/session/info/{id}"),
            format!("/v1/session/node/{node}"),
            "/v1/session/list".into(),
            "/v1/kv/?recurse".into(),
            "/v1/kv/?keys".into(),
            "/v1/kv/k?recurse".into(),
            "/v1/catalog/nodes".into(),
            format!("/v1/catalog/node/{node}"),
            format!("/v1/health/node/{node}"),
            "/v1/health/state/critical".into(),
            "/v1/agent/checks".into(),
        ] {
            assert!(!filtered(&root.get(&path)), "{path}");
            assert!(!filtered(&nobody.get(&path)), "{path}");
            assert_eq!(filtered(&powerless.get(&path)), reports, "{path}");
        }
        // Where nothing is hidden, nothing is reported.
        for path in [
            format!("/v1/session/info/{NOBODY}"),
            "/v1/session/node/nobody".into(),
            "/v1/kv/none?recurse".into(),
            "/v1/catalog/node/nobody".into(),
            "/v1/health/state/warning".into(),
            "/v1/agent/services".into(),
        ] {
            assert!(!filtered(&powerless.get(&path)), "{path}");
        }
    }
}

#[test]
fn namespaces_and_partitions_are_rejected_without_a_prefix() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    let why = |feature: &str| format!("{feature} are a Consul Enterprise feature");
    for path in [
        "/v1/session/list",
        "/v1/session/info/x",
        "/v1/session/node/x",
        "/v1/kv/k",
        "/v1/kv/k?recurse&",
        "/v1/health/state/any",
        "/v1/agent/checks",
    ] {
        let with = |parameter: &str| match path.strip_suffix('&') {
            Some(path) => format!("{path}&{parameter}"),
            None => format!("{path}?{parameter}"),
        };
        let namespaces = why("Namespaces");
        old.get(&with("ns=x")).is(
            400,
            &format!("Bad request: Invalid query parameter: \"ns\" - {namespaces}"),
        );
        new.get(&with("ns=x")).is(
            400,
            &format!("Invalid query parameter: \"ns\" - {namespaces}"),
        );
        new.call_with("GET", &with(""), &[("X-Consul-Namespace", "x")])
            .is(
                400,
                &format!("Invalid header: \"X-Consul-Namespace\" - {namespaces}"),
            );
        let partitions = why("Partitions");
        assert_ne!(old.get(&with("partition=x")).status, 400);
        new.get(&with("partition=x")).is(
            400,
            &format!("Invalid query parameter: \"partition\" - {partitions}"),
        );
        new.call_with("GET", &with(""), &[("X-Consul-Partition", "x")])
            .is(
                400,
                &format!("Invalid header: \"X-Consul-Partition\" - {partitions}"),
            );
        assert_ne!(new.get(&with("partition=&ns=")).status, 400);
    }
    for path in [
        "/v1/session/create",
        "/v1/session/destroy/x",
        "/v1/session/renew/x",
        "/v1/kv/k",
    ] {
        new.put(&format!("{path}?partition=x"), "")
            .begins(400, "Invalid query parameter: \"partition\"");
    }
    // Nodes are in no namespace, but in a partition.
    assert_eq!(new.get("/v1/catalog/nodes?ns=x").status, 200);
    new.get("/v1/catalog/nodes?partition=x")
        .begins(400, "Invalid query parameter: \"partition\"");
}

#[test]
fn keys_are_cleaned_and_validated() {
    const TRAVERSAL: &str = "invalid key name, path traversal is not allowed";
    const SPACES: &str = "invalid key name, leading/trailing spaces are not allowed";
    let [(_old, old), (_new, new)] = both(|builder| builder);
    for (path, why) in [
        ("%2E%2E%2Fa", TRAVERSAL),
        ("a%2F%2E%2E%2F%2E%2E%2Fb", TRAVERSAL),
        ("%252e%252e%252fa", TRAVERSAL),
        ("%20a", SPACES),
        ("a%20", SPACES),
        ("a%2520b", SPACES),
    ] {
        let path = format!("/v1/kv/{path}");
        new.get(&path).is(500, why);
        new.get(&format!("{path}?keys")).is(500, why);
        new.put(&path, "").is(500, why);
        new.delete(&path).is(500, why);
    }
    for (path, key) in [
        ("a%20b:c;d%C3%A9", "a b:c;d\u{e9}"),
        ("con..fig", "con..fig"),
        ("a%2Fb/", "a/b/"),
        // The router no longer redirects what is encoded.
        ("a%2F%2Fb", "a/b"),
        ("a/%2E/c", "a/c"),
        ("x%2F%2E%2E%2Fd", "d"),
        ("%2Fe", "/e"),
    ] {
        new.put(&format!("/v1/kv/{path}"), "v").is(200, "true");
        assert_eq!(new.get(&format!("/v1/kv/{path}")).json()[0]["Key"], key);
    }
    // What is not encoded is redirected in any version; so is the rest in the old one.
    for server in [&old, &new] {
        for path in ["/v1/kv/a//b", "/v1/kv/a/../b", "/v1//kv/a"] {
            assert_eq!(raw(server, "PUT", path), 301, "{path}");
        }
        assert_eq!(server.get("/v1/session/info").status, 301);
    }
    for path in ["/v1/kv/a%2F%2Fb", "/v1/kv/%2E%2E%2Fa"] {
        assert_eq!(old.put(path, "").status, 301, "{path}");
    }
    for path in ["%20a", "a%20", "a:b", "a%2520b"] {
        old.put(&format!("/v1/kv/{path}"), "v").is(200, "true");
    }
    // Transactions do not validate keys.
    let op = json!([{"KV": {"Verb": "set", "Key": " ../x", "Value": ""}}]);
    assert_eq!(new.put("/v1/txn", op.to_string()).status, 200);
    // The whole store has no key to validate.
    assert_eq!(new.get("/v1/kv/?keys").status, 200);
    new.get("/v1/kv/").is(400, "Missing key name");
}

/// Sends a request whose path no client may clean, and returns the status.
fn raw(server: &Server, method: &str, path: &str) -> u16 {
    let address = server.base_url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response[9..12].parse().unwrap()
}

#[test]
fn version_1_21_5_accepts_few_characters_in_keys() {
    let why = r#"invalid key name, keys should respect the "^[a-zA-Z0-9,_./\\-?&=]+$" format"#;
    let (_agent, server) = start(DevAgent::builder().imitate(Version::V1_21_5));
    for path in ["a%20b", "a:b", "a+b", "a%25b", "%C3%A9", "%2E%2E%2Fa"] {
        let path = format!("/v1/kv/{path}");
        server.get(&path).is(500, why);
        server.get(&format!("{path}?recurse")).is(500, why);
        server.put(&path, "").is(500, why);
        server.delete(&path).is(500, why);
    }
    server
        .put("/v1/kv/a/b-c_d.e,f%3Fg&h=1", "v")
        .is(200, "true");
    assert_eq!(server.get("/v1/kv/?keys").status, 200);
    // Everything else is as in 1.22.
    server.get("/v1/session/info/x").is(200, "[]");
    server
        .put("/v1/session/create", r#"{"Node":"nobody"}"#)
        .is(500, "apply failed: Missing node registration");
}

#[test]
fn bodies_that_are_too_large() {
    let mut limits = Limits::default();
    (limits.value_bytes, limits.txn_bytes) = (10, 10);
    let [(_old, old), (_new, new)] = both(|builder| builder.limits(limits.clone()));
    let (ten, eleven, twelve) = (b"0123456789", b"0123456789+", b"0123456789++");
    let page = "https://developer.hashicorp.com/docs/agent/config/config-files";
    old.put("/v1/kv/k", eleven).is(
        413,
        "Request body(11 bytes) too large, max size: 10 bytes. \
         See https://www.consul.io/docs/agent/options.html#kv_max_value_size.",
    );
    new.put("/v1/kv/k", eleven).is(
        413,
        &format!(
            "Request body(11 bytes) too large, max size: 10 bytes. See {page}#kv_max_value_size."
        ),
    );
    new.put("/v1/txn", eleven).is(
        413,
        &format!(
            "Request body(11 bytes) too large, max size: 10 bytes. See {page}#txn_max_req_len."
        ),
    );
    old.put_chunked("/v1/kv/k", eleven)
        .begins(413, "Request body(>10 bytes)");
    // The newer limit of a chunked value is one byte higher.
    new.put_chunked("/v1/kv/k", ten).is(200, "true");
    new.put_chunked("/v1/kv/k", eleven).is(200, "true");
    new.put_chunked("/v1/kv/k", twelve)
        .is(413, "Request body too large. Max allowed is 10 bytes.");
    new.put_chunked("/v1/txn", eleven).is(
        413,
        &format!("Request body too large, max size: 10 bytes. See {page}#txn_max_req_len."),
    );
    let (_agent, older) = start(DevAgent::builder().imitate(Version::V1_21_5).limits(limits));
    older
        .put_chunked("/v1/kv/k", eleven)
        .begins(413, "Request body(>10 bytes)");
    // The body of a creation is ignored if it is chunked, in any version.
    for server in [&old, &new] {
        let answer = server.put_chunked("/v1/session/create", br#"{"Name":"n"}"#);
        let id = answer.json()["ID"].as_str().unwrap().to_owned();
        assert_eq!(server.info(&id).unwrap()["Name"], "");
    }
}

#[test]
fn headers() {
    const POLICY: &str = "X-Consul-Default-Acl-Policy";
    const BACKEND: &str = "X-Consul-Query-Backend";
    const CONSISTENCY: &str = "X-Consul-Effective-Consistency";
    let [(_old, old), (_new, new)] = both(|builder| builder);
    let reads = [
        "/v1/session/list",
        "/v1/session/info/x",
        "/v1/session/node/x",
        "/v1/kv/none",
        "/v1/kv/none?recurse",
        "/v1/catalog/nodes",
        "/v1/health/state/any",
    ];
    for path in reads {
        let answer = new.get(path);
        assert_eq!(answer.header(BACKEND), Some("blocking-query"), "{path}");
        assert_eq!(answer.header(POLICY), Some("allow"), "{path}");
        assert_eq!(answer.header("Vary"), Some("Accept-Encoding"), "{path}");
        let answer = old.get(path);
        assert_eq!(answer.header(BACKEND), None, "{path}");
        assert_eq!(answer.header(POLICY), None, "{path}");
    }
    // A read that fails has it as well, where it has an index.
    let failed = new.get("/v1/session/list?dc=nope");
    failed.is(500, "No path to datacenter");
    assert_eq!(failed.index(), 1);
    assert_eq!(failed.header(BACKEND), Some("blocking-query"));
    for (method, path) in [
        ("PUT", "/v1/session/create"),
        ("PUT", "/v1/kv/k"),
        ("GET", "/v1/status/leader"),
        ("GET", "/v1/agent/self"),
        ("GET", "/v1/session/list?index=x"),
        ("OPTIONS", "/v1/session/list"),
        ("DELETE", "/v1/session/list"),
    ] {
        let answer = new.call(method, path);
        assert_eq!(answer.header(BACKEND), None, "{method} {path}");
        assert_eq!(answer.header(POLICY), Some("allow"), "{method} {path}");
    }
    assert_eq!(new.get("/nope").header(POLICY), None);
    // All versions name the consistency of the catalog and of health, and of nothing else.
    for server in [&old, &new] {
        for path in reads {
            let named = path.starts_with("/v1/catalog") || path.starts_with("/v1/health");
            let header = server.get(path).header(CONSISTENCY).map(str::to_owned);
            assert_eq!(header.as_deref(), named.then_some("leader"), "{path}");
        }
    }
    let (_agent, server) = with_acl(Version::V1_22);
    let denied = server.put("/v1/session/create", "");
    assert_eq!(denied.header(POLICY), Some("deny"));
}

#[test]
fn missing_sessions_and_keys_keep_blocking() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    let info = format!("/v1/session/info/{NOBODY}");
    let missing = [info.as_str(), "/v1/kv/missing"];
    let change = |server: &Server| {
        let id = server.create("");
        server.put("/v1/kv/other", &id).is(200, "true");
        server.destroy(&id);
    };
    for path in missing {
        change(&old);
        let index = old.get(path).index();
        let (took, answer) = blocked(&old, path, (index, LONG), SECOND / 4, || change(&old));
        assert!(took < LONG && answer.index() > index, "{path}: {took:?}");
    }
    for path in missing {
        change(&new);
        // A query that comes after the change does not block, so a slow machine gets more attempts.
        let pauses = [SECOND / 4, 4 * SECOND, 20 * SECOND];
        let slept = pauses.into_iter().any(|pause| {
            let (index, wait) = (new.get(path).index(), pause + 2 * SECOND);
            let (took, answer) = blocked(&new, path, (index, wait), pause, || change(&new));
            // It returns the index of the change nevertheless.
            assert!(answer.index() > index, "{path}");
            took >= wait
        });
        assert!(slept, "{path}");
    }
}

#[test]
fn what_was_missing_or_is_gone_wakes() {
    let (_agent, server) = start(DevAgent::builder().imitate(Version::V1_22));
    let wakes = |path: &str, change: &dyn Fn()| {
        let index = server.get(path).index();
        let (took, answer) = blocked(&server, path, (index, LONG), SECOND / 4, change);
        assert!(took < LONG, "{path}: {took:?}");
        answer
    };
    wakes("/v1/kv/awaited?raw", &|| {
        server.put("/v1/kv/other", "").is(200, "true");
        server.put("/v1/kv/awaited", "now").is(200, "true");
    })
    .is(200, "now");
    wakes("/v1/kv/awaited", &|| {
        server.delete("/v1/kv/awaited").is(200, "true");
    })
    .is(404, "");
    let id = server.create("");
    wakes(&format!("/v1/session/info/{id}"), &|| server.destroy(&id)).is(200, "[]");
}

#[test]
fn only_pretty_json_ends_with_a_newline() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    new.put("/v1/kv/newline", "v\n").is(200, "true");
    for path in [
        "/v1/session/list",
        "/v1/session/node/x",
        "/v1/status/leader",
    ] {
        assert!(old.get(path).body.ends_with('\n'), "{path}");
        assert!(!new.get(path).body.ends_with('\n'), "{path}");
        assert!(
            new.get(&format!("{path}?pretty")).body.ends_with('\n'),
            "{path}"
        );
    }
    // It is still indented, and values are left as they are.
    let entry = new.get("/v1/kv/newline").body;
    assert!(
        entry.starts_with("[\n    {\n        \"LockIndex\""),
        "{entry}"
    );
    assert_eq!(new.get("/v1/kv/newline?raw").body, "v\n");
    assert_eq!(new.put("/v1/kv/newline", "").body, "true");
}

#[test]
fn unknown_paths_are_explained() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    for (path, text) in [
        (
            "/v1/nope",
            "Invalid URL path: not a recognized HTTP API endpoint\n",
        ),
        (
            "/nope",
            "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
        ),
    ] {
        old.get(path).is(404, "");
        let answer = new.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (404, text));
    }
}

#[test]
fn semicolons_separate_nothing() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    for server in [&old, &new] {
        server.put("/v1/kv/k", "v").is(200, "true");
    }
    old.get("/v1/kv/k?x;raw").is(200, "v");
    new.get("/v1/kv/k?x;raw").is(500, "");
    assert_eq!(new.get("/v1/kv/k?x=%3B").status, 200);
}

#[test]
fn the_type_of_raw_values() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    for (server, kind) in [(&old, "text/plain"), (&new, "text/plain; charset=utf-8")] {
        server.put("/v1/kv/k", "v").is(200, "true");
        let answer = server.get("/v1/kv/k?raw");
        assert_eq!(answer.header("Content-Type"), Some(kind));
    }
}

#[test]
fn read_only_transactions() {
    let op = json!([{"KV": {"Verb": "get-tree", "Key": "k"}}]).to_string();
    let (_agent, nobody) = with_acl(Version::V1_22);
    let root = nobody.with_token(ROOT);
    root.put("/v1/kv/k", "v").is(200, "true");
    let fields = |answer: Answer, hidden: bool| {
        let mut body = answer.json();
        let results = body["Results"].take();
        assert_eq!(results.as_array().unwrap().is_empty(), hidden);
        body
    };
    let expected = |filtered: bool| {
        json!({
            "Results": null, "Errors": null, "Index": 1, "LastContact": 0, "KnownLeader": true,
            "ConsistencyLevel": "", "NotModified": false, "Backend": 0, "ResultsFilteredByACLs": filtered,
        })
    };
    assert_eq!(fields(root.put("/v1/txn", &op), false), expected(false));
    assert_eq!(fields(nobody.put("/v1/txn", &op), true), expected(false));
    let powerless = nobody.with_token(POWERLESS);
    assert_eq!(fields(powerless.put("/v1/txn", &op), true), expected(true));
}

#[test]
fn checks_of_type_session_follow_sessions() {
    for (version, follows) in [(Version::default(), false), (Version::V1_22, true)] {
        let (_agent, server) = start(DevAgent::builder().imitate(version));
        let register = |name: &str| {
            let check = json!({
                "CheckID": format!("of-{name}"), "Name": "c", "Type": "session", "Status": "warning",
                "Definition": {"SessionName": name},
            });
            let body = json!({"Node": server.node(), "Address": "127.0.0.1", "SkipNodeUpdate": true, "Check": check});
            server
                .put("/v1/catalog/register", body.to_string())
                .is(200, "true");
        };
        register("mine");
        register("other");
        let check = |name: &str| {
            let checks = server
                .get(&format!("/v1/health/node/{}", server.node()))
                .json();
            let id = json!(format!("of-{name}"));
            let found = checks
                .as_array()
                .unwrap()
                .iter()
                .find(|check| check["CheckID"] == id);
            found.unwrap().clone()
        };
        let definition = if follows {
            json!({"SessionName": "mine"})
        } else {
            json!({})
        };
        assert_eq!(check("mine")["Definition"], definition);
        let id = server.create(r#"{"Name":"mine"}"#);
        let expect = |status: &str, output: String| {
            let mine = check("mine");
            let (status, output) = if follows {
                (status, output)
            } else {
                ("warning", String::new())
            };
            assert_eq!(
                (&mine["Status"], &mine["Output"]),
                (&json!(status), &json!(output))
            );
            assert_eq!(check("other")["Status"], "warning");
        };
        expect("passing", format!("Session '{id}' in force"));
        // A session that is bound to the check ends with the session that the check follows.
        let bound = server.create(r#"{"Name":"bound","NodeChecks":["of-mine"]}"#);
        server.destroy(&id);
        expect("critical", format!("Session '{id}' is invalid"));
        assert_eq!(server.info(&bound).is_none(), follows);
    }
}

#[test]
fn unknown_checks_and_services_of_the_agent_are_404() {
    let [(_old, old), (_new, new)] = both(|builder| builder);
    old.put("/v1/agent/check/pass/x", "").begins(500, "CheckID");
    old.put("/v1/agent/check/deregister/x", "").is(200, "");
    old.put("/v1/agent/service/deregister/x", "").is(200, "");
    let check = json!({"Name": "c", "TTL": "1h", "ServiceID": "x"}).to_string();
    old.put("/v1/agent/check/register", &check)
        .is(500, "ServiceID \"x\" does not exist");
    new.put("/v1/agent/check/register", &check)
        .is(404, "ServiceID \"x\" does not exist");
    for call in ["pass", "warn", "fail", "deregister"] {
        new.put(&format!("/v1/agent/check/{call}/x"), "").is(
            404,
            "Unknown check ID \"x\". Ensure that the check ID is passed, not the check name.",
        );
    }
    new.put("/v1/agent/service/deregister/x", "").is(
        404,
        "Unknown service ID \"x\". Ensure that the service ID is passed, not the service name.",
    );
    let check = json!({"Name": "known", "TTL": "1h"}).to_string();
    new.put("/v1/agent/check/register", &check).is(200, "");
    new.put("/v1/agent/check/pass/known", "").is(200, "");
    new.put("/v1/agent/check/deregister/known", "").is(200, "");
}
