//! Random odd requests to the development agent and to a real Consul: status, body and effect must
//! be equal.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::random;
use super::server::{Answer, Server, pair};

/// Cuts off what the agent does not imitate literally: the position of a syntax error, quoted
/// numbers and names of Go types.
fn shortened(text: &str) -> &str {
    let ends = ["invalid character", "number ", " of type "].map(|end| text.find(end));
    let end = ends.into_iter().flatten().min();
    text[..end.unwrap_or(text.len())].trim_end()
}

fn same(what: &str, agent: &Value, real: &Value) -> Result<(), TestCaseError> {
    if agent == real {
        return Ok(());
    }
    let text = format!("{what}\n  agent: {agent}\n  real:  {real}");
    Err(TestCaseError::fail(text))
}

fn field() -> impl Strategy<Value = (&'static str, &'static str)> {
    let name = prop::sample::select(
        &[
            "Name",
            "name",
            "Node",
            "TTL",
            "ttl",
            "LockDelay",
            "LOCKDELAY",
            "Behavior",
            "NodeChecks",
            "Checks",
            "ServiceChecks",
            "ID",
            "CreateIndex",
            "Other",
        ][..],
    );
    let value = prop::sample::select(
        &[
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "5",
            "999",
            "1000",
            "1.5",
            "1e3",
            "-0",
            "1e300",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775808",
            "-9223372036854775809",
            r#""""#,
            r#""x""#,
            r#""10s""#,
            r#""0""#,
            r#""1m30s""#,
            r#""1.25h""#,
            r#""-1s""#,
            r#""9s""#,
            r#""25h""#,
            r#"" 10s""#,
            r#""10S""#,
            r#""1_0s""#,
            r#""1e3s""#,
            r#""10s.""#,
            r#""..5s""#,
            r#""5.s""#,
            r#""2540400h""#,
            r#""9223372036854775807ns""#,
            r#""9223372036854775808ns""#,
            r#""3µs""#,
            r#""release""#,
            r#""delete""#,
            r#""Delete""#,
            r#""real-node""#,
            "[]",
            "[null]",
            r#"["serfHealth"]"#,
            r#"["SerfHealth"]"#,
            r#"["zz"]"#,
            r#"["serfHealth",null]"#,
            r#"["serfHealth","serfHealth"]"#,
            "[1]",
            "{}",
            r#"{"ID":"x"}"#,
            "[{}]",
            r#"[{"ID":"serfHealth"}]"#,
            r#"[{"id":"serfHealth","Namespace":"n","X":1}]"#,
            r#"[{"ID":1}]"#,
            r#""\u00e9\n\"<&>""#,
            "tru",
            "{",
            "",
        ][..],
    );
    (name, value)
}

#[test]
fn create_bodies() {
    pair(|agent, real| {
        let fields = prop::collection::vec(field(), 0..4);
        random::check(1_500, &fields, |fields| {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"));
            let body = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            let [agent, real] = [agent, real].map(|server| created(server, &body));
            same(&body, &agent, &real)
        });
    });
}

fn created(server: &Server, body: &str) -> Value {
    let answer = server.put("/v1/session/create", body);
    if answer.status != 200 {
        return json!([answer.status, shortened(&answer.body)]);
    }
    let id = answer.json()["ID"].as_str().unwrap().to_owned();
    let mut session = server.info(&id).unwrap();
    server.destroy(&id);
    for different in ["ID", "CreateIndex", "ModifyIndex"] {
        session[different].take();
    }
    session
}

#[test]
fn paths_and_queries() {
    let segments = [
        "a",
        "b",
        "",
        ".",
        "..",
        "%2F",
        "%2e",
        "%2E%2E",
        "+",
        "%20",
        "%C3%A9",
        "%",
        "%zz",
        "%00",
        "%7F",
        "%0D",
        "~",
        "!",
        "'",
        "(",
        "*",
        ",",
        ";",
        ":",
        "@",
        "&",
        "=",
        "$",
        "%25",
        "%3F",
        "%23",
        "|",
        "^",
        "%C2%85",
        "%E2%80%A8",
        "%5C",
        "%22",
        "%3C",
    ];
    let query = prop::sample::select(
        &[
            "",
            "?raw",
            "?keys",
            "?recurse",
            "?keys&separator=/",
            "?flags=1",
            "?flags=%31",
            "?flags=1&flags=x",
            "?flags=x&flags=1",
            "?cas=0",
            "?cas=+0",
            "?acquire",
            "?index=x",
            "?index=0",
            "?wait=1",
            "?wait=1x",
            "?stale",
            "?stale&consistent",
            "?consistent&stale=0",
            "?ns=",
            "?ns=a",
            "?dc=",
            "?dc=x",
            "?%72aw",
            "?raw=%",
            "?a=%4",
            "?&&raw&",
            "?x;raw",
            "?keys;;separator=/",
            "?flags=1;2",
            "?raw;x=%",
            "?=x",
            "?cached",
            "?cached&stale",
            "?cached&consistent",
        ][..],
    );
    let method = prop::sample::select(&["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "POST"][..]);
    let path = prop::collection::vec(prop::sample::select(segments.to_vec()), 1..4);
    pair(|agent, real| {
        let requests = (method.clone(), path.clone(), query.clone());
        random::check(1_500, &requests, |(method, path, query)| {
            // Empty segments become repeated slashes.
            let path = format!("/v1/kv/odd/{}{query}", path.join("/"));
            if ureq::http::Uri::try_from(format!("http://x{path}")).is_err() {
                return Ok(());
            }
            let [agent, real] = [agent, real].map(|server| asked(server, method, &path));
            same(&format!("{method} {path}"), &agent, &real)
        });
    });
}

fn asked(server: &Server, method: &str, path: &str) -> Value {
    server.delete("/v1/kv/odd/?recurse").is(200, "true");
    server.put("/v1/kv/odd/a", "1").is(200, "true");
    server.put("/v1/kv/odd/a/b", "").is(200, "true");
    let answer = server.call(method, path);
    let kept = server.get("/v1/kv/odd/?keys");
    json!([answer.status, body(&answer), headers(&answer), body(&kept)])
}

fn body(answer: &Answer) -> Value {
    let mut body: Value = serde_json::from_str(&answer.body).unwrap_or(json!(answer.body));
    for row in body.as_array_mut().into_iter().flatten() {
        if let Some(row) = row.as_object_mut() {
            row.remove("CreateIndex");
            row.remove("ModifyIndex");
        }
    }
    body
}

fn headers(answer: &Answer) -> Value {
    let header = |name: &str| answer.header(name).map(str::to_owned);
    json!({
        "Location": header("Location"),
        "Allow": header("Allow"),
        "Content-Type": header("Content-Type"),
        "Vary": header("Vary"),
        "index": header("X-Consul-Index").is_some(),
        "leader": header("X-Consul-Knownleader"),
    })
}
