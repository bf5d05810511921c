//! Requests as a server receives them: method, path, query, headers and body; and which settings of the environment do
//! not affect them.

use consul_session_tests::bad_server::{Request, Server};
use consul_session_tests::program::{Program, apply};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

const ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
const TOKEN: &str = "7f3a0b52-6d09-4c5e-8f60-2f0e5d7a9b11";

/// Starts a server that responds to every operation like a Consul with one session.
fn consul() -> Server {
    Server::after_request(|request, stream| {
        let session = json!([{
            "ID": ID, "Name": "n", "Node": "x", "LockDelay": 15_000_000_000_u64, "Behavior": "release", "TTL": "",
            "NodeChecks": ["serfHealth"], "ServiceChecks": null, "CreateIndex": 1, "ModifyIndex": 1,
        }]);
        let body = match request.path.split(['/', '?']).nth(3) {
            Some("create") => json!({ "ID": ID }),
            Some("destroy") => json!(true),
            _ => session,
        };
        consul_session_tests::bad_server::answer(stream, 200, &[], body.to_string().as_bytes())
    })
}

/// Returns the requests of an action, each with its method and path as `METHOD path`.
fn made(parameters: Value) -> Vec<(String, Request)> {
    let server = consul();
    apply(&server.url(), parameters).success();
    server
        .requests()
        .into_iter()
        .map(|request| (format!("{} {}", request.method, request.path), request))
        .collect()
}

#[test]
fn paths_and_queries() {
    for (parameters, expected) in [
        (
            json!({"state": "list"}),
            vec!["GET /v1/session/list".to_owned()],
        ),
        (
            json!({"state": "node", "node": "a b/ü"}),
            vec!["GET /v1/session/node/a%20b%2F%C3%BC".to_owned()],
        ),
        (
            json!({"state": "info", "id": ID}),
            vec![format!("GET /v1/session/info/{ID}")],
        ),
        (
            json!({"state": "info", "name": "n"}),
            vec!["GET /v1/session/list?consistent".to_owned()],
        ),
        (
            json!({"state": "renew", "id": ID}),
            vec![format!("PUT /v1/session/renew/{ID}")],
        ),
        (
            json!({"state": "absent", "id": ID}),
            vec![
                format!("GET /v1/session/info/{ID}?consistent"),
                format!("PUT /v1/session/destroy/{ID}"),
            ],
        ),
        (
            json!({"state": "absent", "name": "n", "datacenter": "dc 1&x"}),
            vec![
                "GET /v1/session/list?dc=dc%201%26x&consistent".to_owned(),
                format!("PUT /v1/session/destroy/{ID}?dc=dc%201%26x"),
            ],
        ),
        (
            json!({"name": "n"}),
            vec!["GET /v1/session/list?consistent".to_owned()],
        ),
        (
            json!({"datacenter": "d", "namespace": "n/s", "partition": "p"}),
            vec![
                "PUT /v1/session/create?dc=d&ns=n%2Fs&partition=p".to_owned(),
                format!("GET /v1/session/info/{ID}?dc=d&ns=n%2Fs&partition=p&consistent"),
            ],
        ),
    ] {
        let made: Vec<String> = made(parameters.clone())
            .into_iter()
            .map(|(line, _)| line)
            .collect();
        assert_eq!(made, expected, "{parameters}");
    }
}

/// Consul ignores a body without `Content-Length` and creates a session with default attributes.
#[test]
fn create_sends_its_length_and_only_given_attributes() {
    for (parameters, body) in [
        (json!({}), json!({})),
        (
            json!({"name": "ü", "unique": false, "ttl": "90", "delay": "500ms", "checks": []}),
            json!({"Name": "ü", "LockDelay": "500ms", "TTL": "90s", "Checks": []}),
        ),
        (
            json!({"node": "x", "behavior": "delete", "delay": 0, "ttl": 0, "node_checks": ["a"], "service_checks": ["b"]}),
            json!({"Node": "x", "LockDelay": "0s", "Behavior": "delete", "NodeChecks": ["a"], "ServiceChecks": [{"ID": "b"}]}),
        ),
    ] {
        let (_, request) = made(parameters).remove(0);
        assert_eq!(request.method, "PUT");
        assert_eq!(
            request.header("content-length"),
            Some(request.body.len().to_string().as_str())
        );
        assert_eq!(request.header("transfer-encoding"), None);
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(sent, body);
    }
}

#[test]
fn headers() {
    for parameters in [
        json!({"state": "list"}),
        json!({}),
        json!({"state": "absent", "id": ID}),
        json!({"state": "renew", "id": ID}),
    ] {
        let mut with_token = parameters.clone();
        with_token["token"] = TOKEN.into();
        for (_, request) in made(with_token) {
            assert_eq!(request.header("x-consul-token"), Some(TOKEN));
            assert!(
                !request.path.contains(TOKEN)
                    && !String::from_utf8_lossy(&request.body).contains(TOKEN)
            );
            // The program does not request compression and sends no other credentials.
            for absent in [
                "accept-encoding",
                "authorization",
                "cookie",
                "expect",
                "transfer-encoding",
            ] {
                assert_eq!(request.header(absent), None);
            }
            if request.method == "PUT" {
                assert!(request.header("content-length").is_some(), "{request:?}");
            }
        }
        for (_, request) in made(parameters) {
            assert_eq!(request.header("x-consul-token"), None);
        }
    }
}

/// Proxy variables and `.netrc` must not change the route of a request or add credentials to it.
#[test]
fn proxy_variables_and_netrc_are_ignored() {
    let server = consul();
    let proxy = Server::answering(200, &[], "[]");
    let home = TempDir::new().unwrap();
    let netrc =
        "machine 127.0.0.1 login someone password s3cret\ndefault login someone password s3cret\n";
    fs::write(home.path().join(".netrc"), netrc).unwrap();
    let mut program = Program::new(["apply", "state=list", &format!("url={}", server.url())])
        .env("HOME", home.path());
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        program = program.env(name, proxy.url());
    }
    let result = program.run().success();
    assert_eq!(result["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(proxy.requests(), []);
    assert_eq!(server.requests()[0].header("authorization"), None);
    assert_eq!(server.requests()[0].header("proxy-authorization"), None);
}

/// `host`, `port` and `scheme` each override their part of `url`.
#[test]
fn host_port_and_scheme_override_url() {
    let (server, other) = (consul(), consul());
    let port = server.port();
    for parameters in [
        json!({"host": "127.0.0.1", "port": port}),
        json!({"host": "127.0.0.1", "port": port.to_string(), "scheme": "HTTP"}),
        json!({"url": format!("http://consul.invalid:{port}"), "host": "127.0.0.1"}),
        json!({"url": other.url(), "port": port}),
        json!({"url": format!("https://127.0.0.1:{port}/"), "scheme": "http"}),
        json!({"url": server.authority()}),
    ] {
        let before = server.requests().len();
        let mut parameters = parameters;
        parameters["state"] = "list".into();
        Program::apply(&parameters).run().success();
        assert_eq!(server.requests().len(), before + 1, "{parameters}");
    }
    assert_eq!(other.requests(), []);
    for (parameters, parameter) in [
        (json!({"port": 0}), "port"),
        (json!({"port": 65536}), "port"),
        (json!({"scheme": "ftp"}), "scheme"),
        (json!({"host": "http://x"}), "host"),
        (json!({"host": "a b"}), "host"),
        (json!({"url": "http://x/path"}), "url"),
        (json!({"url": "http://someone:s3cret@x:1"}), "url"),
        (json!({"url": "unix:///run/consul.sock"}), "url"),
        (json!({"url": "http://x:99999"}), "url"),
        (json!({"timeout": 0}), "timeout"),
        (json!({"timeout": "-1s"}), "timeout"),
        (json!({"token": "line\nbreak"}), "token"),
    ] {
        let mut parameters = parameters;
        parameters["state"] = "list".into();
        let run = Program::apply(&parameters).run();
        assert_eq!(
            run.failure("invalid").get("parameter"),
            parameter,
            "{parameters}"
        );
        run.never_says("s3cret");
    }
}
