//! Rules for all paths: methods, redirects, headers and common parameters.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::server::everywhere;

#[test]
fn methods() {
    everywhere(|server| {
        for (path, allow) in [
            ("/v1/session/create", "OPTIONS,PUT"),
            ("/v1/session/destroy/x", "OPTIONS,PUT"),
            ("/v1/session/renew/x", "OPTIONS,PUT"),
            ("/v1/session/info/x", "OPTIONS,GET"),
            ("/v1/session/node/x", "OPTIONS,GET"),
            ("/v1/session/list", "OPTIONS,GET"),
            ("/v1/kv/x", "OPTIONS,GET,PUT,DELETE"),
            ("/v1/txn", "OPTIONS,PUT"),
            ("/v1/catalog/register", "OPTIONS,PUT"),
            ("/v1/catalog/deregister", "OPTIONS,PUT"),
            ("/v1/catalog/nodes", "OPTIONS,GET"),
            ("/v1/catalog/node/x", "OPTIONS,GET"),
            ("/v1/health/node/x", "OPTIONS,GET"),
            ("/v1/health/state/any", "OPTIONS,GET"),
            ("/v1/agent/self", "OPTIONS,GET"),
            ("/v1/agent/checks", "OPTIONS,GET"),
            ("/v1/agent/services", "OPTIONS,GET"),
            ("/v1/agent/check/register", "OPTIONS,PUT"),
            ("/v1/agent/check/deregister/x", "OPTIONS,PUT"),
            ("/v1/agent/check/pass/x", "OPTIONS,PUT"),
            ("/v1/agent/check/warn/x", "OPTIONS,PUT"),
            ("/v1/agent/check/fail/x", "OPTIONS,PUT"),
            ("/v1/agent/service/register", "OPTIONS,PUT"),
            ("/v1/agent/service/deregister/x", "OPTIONS,PUT"),
            ("/v1/status/leader", "OPTIONS,GET"),
            ("/v1/status/peers", "OPTIONS,GET"),
        ] {
            let options = server.call("OPTIONS", path);
            assert_eq!(options.is(200, "").header("Allow"), Some(allow), "{path}");
            for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"] {
                if allow.contains(method) {
                    continue;
                }
                let answer = server.call(method, path);
                assert_eq!(answer.status, 405, "{} {method} {path}", server.name);
                assert_eq!(answer.header("Allow"), Some(allow));
                if method != "HEAD" {
                    answer.is(405, &format!("method {method} not allowed"));
                }
            }
        }
    });
}

#[test]
fn other_paths() {
    everywhere(|server| {
        for path in ["/nope", "/v1/nope", "/v1/session", "/v1/session/create/"] {
            server.get(path).is(404, "");
        }
        for path in [
            "/v1/session/info",
            "/v1/session/node",
            "/v1/kv",
            "/v1/health/state",
        ] {
            let answer = server.get(path);
            assert_eq!(answer.status, 301, "{path}");
            assert_eq!(answer.header("Location"), Some(format!("{path}/").as_str()));
        }
        let answer = server.put("/v1/session/renew?x=1", "");
        assert_eq!(
            answer.is(301, "").header("Location"),
            Some("/v1/session/renew/?x=1")
        );
        server.get("/v1/kv/a%0Ab").is(400, "");
        server.get("/v1/kv/a?x=%zz").is(500, "");
    });
}

#[test]
fn a_connection_survives_a_body_that_nobody_reads() {
    everywhere(|server| {
        let address = server.base_url.trim_start_matches("http://");
        for request in [
            "POST /v1/status/leader",
            "PUT /v1/session/list/none",
            "PUT /v1/session//list",
            "PUT /v1/session/destroy/00000000-0000-0000-0000-000000000000",
        ] {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut ask = |parts: &[&str]| {
                for part in parts {
                    stream.write_all(part.as_bytes()).unwrap();
                    // The parts arrive one after the other.
                    std::thread::sleep(Duration::from_millis(50));
                }
                let mut response = vec![0; 4096];
                let read = stream.read(&mut response).unwrap();
                String::from_utf8(response[..read].to_vec()).unwrap()
            };
            let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n");
            ask(&[&head, "body"]);
            let next = ask(&["GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n"]);
            assert!(
                next.starts_with("HTTP/1.1 200"),
                "{} {request}: {next:?}",
                server.name
            );
        }
    });
}

#[test]
fn a_semicolon_separates_parameters() {
    everywhere(|server| {
        let key = server.prefix("semicolon") + "k";
        server.put(&format!("/v1/kv/{key}"), "v").is(200, "true");
        server.get(&format!("/v1/kv/{key}?x;raw")).is(200, "v");
        server
            .put(&format!("/v1/kv/{key}?flags=7;cas=0"), "w")
            .is(200, "false");
        server.get(&format!("/v1/kv/{key}?raw;x=%zz")).is(500, "");
    });
}

#[test]
fn headers() {
    everywhere(|server| {
        let list = server.get("/v1/session/list");
        assert!(list.index() > 0);
        assert_eq!(list.header("X-Consul-Knownleader"), Some("true"));
        assert_eq!(list.header("X-Consul-Lastcontact"), Some("0"));
        assert_eq!(list.header("Content-Type"), Some("application/json"));
        assert_eq!(list.header("Vary"), Some("Accept-Encoding"));
        assert!(list.body.ends_with('\n'), "-dev prints for people");
        let create = server.put("/v1/session/create", "");
        assert_eq!(create.header("X-Consul-Index"), None);
        assert!(
            create.body.starts_with("{\n    \"ID\": \""),
            "{}",
            create.body
        );
        server.destroy(create.json()["ID"].as_str().unwrap());
        let missing = server.get("/v1/kv/conformance/none");
        assert!(missing.index() > 0);
        assert_eq!(missing.header("Content-Type"), None);
        let bad = server.get("/v1/session/list?index=x");
        assert_eq!(
            bad.header("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(bad.header("X-Consul-Index"), None);
    });
}

#[test]
fn common_parameters() {
    everywhere(|server| {
        for path in [
            "/v1/session/list",
            "/v1/kv/conformance/none",
            "/v1/catalog/nodes",
            "/v1/health/state/any",
        ] {
            server
                .get(&format!("{path}?wait=1"))
                .is(400, "Invalid wait time");
            server
                .get(&format!("{path}?index=abc"))
                .is(400, "Invalid index");
            server
                .get(&format!("{path}?index=-1"))
                .is(400, "Invalid index");
            for conflict in ["stale&consistent", "consistent=false&stale=false"] {
                server.get(&format!("{path}?{conflict}")).is(
                    400,
                    "Cannot specify ?stale with ?consistent, conflicting semantics.",
                );
            }
            server
                .get(&format!("{path}?dc=nope"))
                .is(500, "No path to datacenter");
            if path != "/v1/catalog/nodes" {
                let why = "Namespaces are a Consul Enterprise feature";
                server.get(&format!("{path}?ns=default")).is(
                    400,
                    &format!("Bad request: Invalid query parameter: \"ns\" - {why}"),
                );
                server
                    .call_with("GET", path, &[("X-Consul-Namespace", "x")])
                    .is(
                        400,
                        &format!("Bad request: Invalid header: \"X-Consul-Namespace\" - {why}"),
                    );
            }
            let status = server.get(path).status;
            for fine in [
                "ns=",
                "partition=x",
                "dc=",
                "dc=dc1",
                "stale",
                "consistent",
                "index=0",
                "index=",
                "wait=1s",
                "token=any",
            ] {
                assert_eq!(
                    server.get(&format!("{path}?{fine}")).status,
                    status,
                    "{path}?{fine}"
                );
            }
        }
        server
            .put("/v1/session/create?ns=x", "")
            .begins(400, "Bad request: ");
        server
            .put("/v1/session/create?dc=nope", "")
            .is(500, "No path to datacenter");
        server
            .put("/v1/session/create?dc=nope", "{")
            .begins(400, "Request decode failed: ");
        let nobody = super::server::NOBODY;
        server
            .put(&format!("/v1/session/renew/{nobody}?index=z"), "")
            .is(400, "Invalid index");
        server
            .put(&format!("/v1/session/destroy/{nobody}?index=z"), "")
            .is(200, "true");
    });
}

#[test]
fn about_the_agent() {
    everywhere(|server| {
        let about = server.get("/v1/agent/self").json();
        assert_eq!(about["Config"]["Datacenter"], "dc1");
        assert_eq!(about["Config"]["Server"], true);
        assert_eq!(about["Config"]["Version"], "1.8.7");
        assert!(!about["Config"]["NodeName"].as_str().unwrap().is_empty());
        let leader = server.get("/v1/status/leader").json();
        assert!(leader.as_str().unwrap().contains(':'));
        let peers = server.get("/v1/status/peers").json();
        assert_eq!(peers.as_array().unwrap().as_slice(), [leader]);
        for path in ["leader", "peers"] {
            let get = |query: &str| server.get(&format!("/v1/status/{path}?{query}"));
            get("dc=x").is(500, "No path to datacenter");
            get("index=abc").is(400, "Invalid index");
            get("wait=5").is(400, "Invalid wait time");
        }
    });
}
