//! Broken servers, hostile servers, and servers that are not Consul. Each run must fail in time, with one JSON object
//! and the right kind of error.
//!
//! Each server receives a read and a create, with a token that must not appear in the output.

use consul_session_tests::bad_server::{Server, answer, closed_port, reset};
use consul_session_tests::program::{Failure, Run, apply};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::sync::{Mutex, mpsc};
use std::thread::sleep;
use std::time::Duration;

const TOKEN: &str = "c0ffee00-1f6b-4f2e-9f0a-b1c5f2a4d3e7";
/// Timeout of runs that only the timeout can end. It must leave time to send the request.
const SHORT: &str = "2s";
/// Timeout of runs that must end for another reason, even on a slow machine.
const LONG: &str = "60s";
/// Upper bound on the duration of a run, whatever the server does.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether Consul may have applied a failed create.
#[derive(Clone, Copy, PartialEq)]
enum Create {
    MaybeApplied,
    NotApplied,
}
use Create::{MaybeApplied, NotApplied};

fn run(url: &str, timeout: &str, parameters: &Value) -> Run {
    let mut parameters = parameters.clone();
    parameters["token"] = TOKEN.into();
    parameters["timeout"] = timeout.into();
    let run = apply(url, parameters);
    assert!(run.took < LIMIT, "{run:#?}");
    assert_eq!(run.stderr, "");
    run.never_says(TOKEN);
    run
}

/// Checks that a read and a create both fail with this kind and status. Returns the failure of the read.
#[track_caller]
fn fails_at(url: &str, kind: &str, status: Option<u16>, create: Create) -> Failure {
    let timeout = if kind == "timeout" { SHORT } else { LONG };
    let read = run(url, timeout, &json!({"state": "list"})).failure(kind);
    assert_eq!(read.get("method"), "GET");
    assert_eq!(read.get("path"), "/v1/session/list");
    assert_eq!(read.get("maybe_applied"), false, "{read:?}");
    let write = run(url, timeout, &json!({"state": "present"})).failure(kind);
    assert_eq!(write.get("method"), "PUT");
    assert_eq!(write.get("path"), "/v1/session/create");
    assert_eq!(
        write.get("maybe_applied"),
        create == MaybeApplied,
        "{write:?}"
    );
    for failure in [&read, &write] {
        assert_eq!(failure.get("status"), &json!(status), "{failure:?}");
        failure.says(&[url]);
    }
    read
}

#[track_caller]
fn fails(server: &Server, kind: &str, status: impl Into<Option<u16>>, create: Create) -> Failure {
    fails_at(&server.url(), kind, status.into(), create)
}

fn created() -> Vec<u8> {
    br#"{"ID":"2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"}"#.to_vec()
}

// No connection

#[test]
fn connection_refused() {
    let url = format!("http://127.0.0.1:{}", closed_port());
    fails_at(&url, "transport", None, NotApplied).says(&["refused", "is Consul running"]);
}

#[test]
fn unresolvable_host() {
    // A DNS label has at most 63 characters, so resolving this one fails without a query.
    let url = format!("http://{}.invalid:8500", "x".repeat(64));
    fails_at(&url, "transport", None, NotApplied).says(&["resolve"]);
}

// Missing and incomplete responses

#[test]
fn no_response_after_accept() {
    let server = Server::silent();
    fails(&server, "timeout", None, MaybeApplied);
}

#[test]
fn no_response_after_the_request() {
    let server = Server::after_request(|_, stream| io::copy(stream, &mut io::sink()).map(|_| ()));
    fails(&server, "timeout", None, MaybeApplied);
}

/// The server keeps sending single bytes, so only a timeout for the whole call can end it.
#[test]
fn endless_slow_response() {
    for start in [
        "",
        "HTTP/1.1 200 OK\r\nX-Long: ",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[",
        "HTTP/1.1 200 OK\r\n\r\n[",
    ] {
        let server = Server::after_request(move |_, stream| {
            stream.write_all(start.as_bytes())?;
            let mut head = b"HTTP/1.1 200 OK\r\nX-Long: ".iter().copied();
            loop {
                let byte = if start.is_empty() {
                    head.next().unwrap_or(b'x')
                } else {
                    b' '
                };
                stream.write_all(&[byte])?;
                sleep(Duration::from_millis(100));
            }
        });
        fails(&server, "timeout", None, MaybeApplied);
    }
}

#[test]
fn connection_reset() {
    let server = Server::raw(|stream, _| reset(stream));
    fails(&server, "transport", None, MaybeApplied);
}

#[test]
fn closed_before_the_end_of_the_headers() {
    fails(&Server::bytes(""), "transport", None, MaybeApplied);
    fails(
        &Server::bytes("HTTP/1.1 200 OK\r\nContent-Le"),
        "transport",
        None,
        MaybeApplied,
    );
}

#[test]
fn closed_before_the_end_of_the_body() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n[]",
    ] {
        fails(&Server::bytes(bytes), "transport", None, MaybeApplied);
    }
}

// Oversized responses

#[test]
fn body_of_20_megabytes() {
    let body = vec![b' '; 20 << 20];
    fails(
        &Server::answering(200, &[], body.clone()),
        "protocol",
        None,
        MaybeApplied,
    )
    .says(&["large"]);
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1 << 20) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    fails(&Server::bytes(chunked), "protocol", None, MaybeApplied).says(&["large"]);
}

#[test]
fn endless_headers() {
    let server = Server::after_request(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        for number in 0.. {
            stream.write_all(format!("X-{number}: {number}\r\n").as_bytes())?;
        }
        Ok(())
    });
    fails(&server, "protocol", None, MaybeApplied);
}

#[test]
fn header_of_one_megabyte() {
    let long = "x".repeat(1 << 20);
    fails(
        &Server::answering(200, &[("X-Long", &long)], "[]"),
        "protocol",
        None,
        MaybeApplied,
    );
}

// Responses that do not come from Consul

#[test]
fn response_is_not_http() {
    for bytes in [
        "220 mail.example ESMTP\r\n",
        "\0\x01\u{fffd}\x02 garbage \n\n\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
    ] {
        fails(&Server::bytes(bytes), "protocol", None, MaybeApplied);
    }
}

#[test]
fn response_is_an_html_page() {
    let html = [("Content-Type", "text/html")];
    let page = "<!DOCTYPE html><html><body>Welcome to the proxy</body></html>";
    fails(
        &Server::answering(200, &html, page),
        "protocol",
        200,
        MaybeApplied,
    )
    .says(&["HTML"]);
    fails(
        &Server::answering(403, &html, page),
        "denied",
        403,
        NotApplied,
    );
    fails(
        &Server::answering(502, &html, page),
        "unavailable",
        502,
        MaybeApplied,
    )
    .says(&["HTML"]);
}

#[test]
fn unexpected_bodies() {
    for body in [
        &b""[..],
        b"[",
        b"[{\"ID\": \"\xff\xfe\"}]",
        b"\xff\xfe",
        b"null",
        b"7",
        b"{}",
        b"{\"ID\": 7}",
        b"{\"ID\": \"../../agent/leave\"}",
        b"[{\"ID\": \"x\"}]",
        b"[{\"ID\": 7, \"CreateIndex\": 1, \"ModifyIndex\": 1}]",
        b"[[]]",
        b"[] []",
        b"OK",
    ] {
        fails(
            &Server::answering(200, &[], body),
            "protocol",
            200,
            MaybeApplied,
        );
    }
    // Nested deeply enough to overflow the stack of a recursive parser.
    fails(
        &Server::answering(200, &[], "[".repeat(100_000)),
        "protocol",
        200,
        MaybeApplied,
    );
}

#[test]
fn unrequested_compression() {
    // `[]`, compressed by gzip.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x8b\x8e\x05\0\x29\x4c\x59\x1d\x02\0\0\0";
    let server = Server::answering(200, &[("Content-Encoding", "gzip")], gzip);
    fails(&server, "protocol", 200, MaybeApplied).says(&["compressed"]);
}

/// Following a redirect would send the token to any server that the response names.
#[test]
fn redirects_are_not_followed() {
    let other = Server::answering(200, &[], "[]");
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/v1/session/list", other.url());
        let server = Server::answering(status, &[("Location", &location)], "");
        fails(&server, "protocol", status, NotApplied).says(&["redirect", &location]);
    }
    assert_eq!(other.requests(), []);
}

// Error statuses of Consul and of proxies

#[test]
fn error_statuses() {
    for (status, text, kind, create, says) in [
        (429, "", "unavailable", NotApplied, "rate"),
        (
            429,
            "rate limit exceeded, try again later or against a different server",
            "unavailable",
            NotApplied,
            "rate",
        ),
        (
            500,
            "No cluster leader",
            "unavailable",
            MaybeApplied,
            "leader",
        ),
        (
            500,
            "rpc error making call: No cluster leader",
            "unavailable",
            MaybeApplied,
            "leader",
        ),
        (
            500,
            "No known Consul servers",
            "unavailable",
            MaybeApplied,
            "servers",
        ),
        (
            500,
            "rpc error getting client: failed to get conn: dial tcp: connection refused",
            "unavailable",
            MaybeApplied,
            "refused",
        ),
        (
            503,
            "rate limit exceeded for operation that can only be performed by the leader, try again later",
            "unavailable",
            MaybeApplied,
            "rate",
        ),
        (
            500,
            "rpc error making call: No path to datacenter",
            "not-found",
            NotApplied,
            "datacenter",
        ),
        (
            500,
            "apply failed: Missing node registration",
            "not-found",
            NotApplied,
            "node",
        ),
        (
            500,
            "Missing check 'x' registration",
            "not-found",
            NotApplied,
            "'x'",
        ),
        (
            500,
            "Check 'x' is in critical state",
            "invalid",
            NotApplied,
            "critical",
        ),
        (
            500,
            "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]",
            "invalid",
            NotApplied,
            "TTL",
        ),
        (
            403,
            "Permission denied",
            "denied",
            NotApplied,
            "session:write",
        ),
        (
            403,
            "rpc error making call: ACL not found",
            "denied",
            NotApplied,
            "token",
        ),
        (403, "", "denied", NotApplied, "token"),
        (
            403,
            "Endpoint is blocked by agent configuration",
            "denied",
            NotApplied,
            "block_endpoints",
        ),
        (
            500,
            "rpc error making call: Permission denied: token with AccessorID 'x' lacks permission 'session:write' on \"n\"",
            "denied",
            NotApplied,
            "session:write",
        ),
        (401, "", "denied", NotApplied, "401"),
        (404, "", "protocol", NotApplied, "404"),
        (405, "method GET not allowed", "protocol", NotApplied, "405"),
        (
            400,
            "Client sent an HTTP request to an HTTPS server.",
            "tls",
            NotApplied,
            "https",
        ),
        (
            400,
            "Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
            "unsupported",
            NotApplied,
            "namespace",
        ),
    ] {
        let failure = fails(&Server::answering(status, &[], text), kind, status, create);
        failure.says(&[says]);
        assert_eq!(failure.get("text"), text);
    }
}

/// The status says that the request succeeded, but the body with the result is missing.
#[test]
fn success_without_a_body() {
    for status in [201, 202, 204] {
        fails(
            &Server::answering(status, &[], ""),
            "protocol",
            status,
            MaybeApplied,
        );
    }
}

/// Errors quote the server's text, but truncate it and remove control characters.
#[test]
fn server_text_is_truncated_and_sanitized() {
    let words = format!("\u{1b}[31mred\u{7} {} {TOKEN}", "long ".repeat(10_000));
    let failure = fails(
        &Server::answering(500, &[], words),
        "unavailable",
        500,
        MaybeApplied,
    );
    assert!(!failure.msg.contains('\u{1b}') && !failure.msg.contains('\u{7}'));
    assert!(failure.msg.len() < 1000, "{}", failure.msg.len());
    assert!(failure.get("text").as_str().unwrap().len() < 2000);
}

/// A server may send the token back in an error message, in a header, or in place of a session.
#[test]
fn echoed_token_is_redacted() {
    for status in [200, 301, 400, 403, 404, 500] {
        let location = format!("http://127.0.0.1:1/{TOKEN}");
        let server = Server::answering(
            status,
            &[("Location", &location), ("X-Echo", TOKEN)],
            format!("token {TOKEN} is bad"),
        );
        for parameters in [json!({"state": "list"}), json!({}), json!({"name": "n"})] {
            assert_eq!(run(&server.url(), LONG, &parameters).code, 1);
        }
    }
}

/// The component truncates long texts. Redaction must also remove a prefix of the token left by truncation.
#[test]
fn truncated_token_is_redacted() {
    for before in [281, 290, 1005, 1015] {
        let body = format!("{} {TOKEN} and more", "x".repeat(before));
        let server = Server::answering(500, &[], body);
        let run = run(&server.url(), LONG, &json!({"state": "list"}));
        assert!(
            !run.stdout.contains(&TOKEN[..6]),
            "{before}: {}",
            run.stdout
        );
    }
}

// Unusual but valid responses

#[test]
fn unusual_http_is_understood() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n2;x=y\r\n[]\r\n0\r\nTrailer: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n[]",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n[]",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 4\r\n\r\n\n[]\n",
    ] {
        let server = Server::bytes(bytes);
        let result = run(&server.url(), LONG, &json!({"state": "list"})).success();
        assert_eq!(result, json!({"changed": false, "sessions": []}), "{bytes}");
    }
}

/// The request body exceeds the socket buffers, so the program is still writing when the response arrives.
#[test]
fn response_before_the_request_body_is_read() {
    let (leave, leaving) = mpsc::channel::<()>();
    let leaving = Mutex::new(leaving);
    let server = Server::raw(move |mut stream, _| {
        let mut head = [0];
        let mut end = Vec::new();
        while !end.ends_with(b"\r\n\r\n") && stream.read(&mut head)? > 0 {
            end.push(head[0]);
        }
        let body = if end.starts_with(b"PUT") {
            created()
        } else {
            b"[]".to_vec()
        };
        answer(&mut stream, 200, &[], &body)?;
        // Keep the connection open and the rest of the body unread until the test drops its end of the channel.
        let _ = leaving.lock().unwrap().recv();
        Ok(())
    });
    let name = "n".repeat(4 << 20);
    let parameters = json!({"name": name, "unique": false});
    let result = run(&server.url(), LONG, &parameters).success();
    assert_eq!(result["session_id"], "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11");
    drop(leave);
}

// Failures between the requests of one call

/// Each response arrives in time, but three of them together do not. This leaves 3 s for sending the second request.
#[test]
fn timeout_covers_the_whole_call() {
    let server = Server::after_request(|request, stream| {
        sleep(Duration::from_secs(2));
        match request.method.as_str() {
            "PUT" => answer(stream, 200, &[], &created()),
            _ => answer(stream, 200, &[], b"[]"),
        }
    });
    run(&server.url(), "5s", &json!({"name": "n"})).failure("timeout");
    assert!(server.requests().len() > 1);
}

/// The session exists even if reading it back fails.
#[test]
fn created_session_that_cannot_be_read_back() {
    // The warning quotes the server's text and must not reveal the token.
    let echo = format!("HTTP/1.1 500 x\r\nContent-Length: 36\r\nConnection: close\r\n\r\n{TOKEN}");
    for read_back in [
        b"HTTP/1.1 500 x\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops".to_vec(),
        echo.into_bytes(),
        b"".to_vec(),
        b"garbage\r\n\r\n".to_vec(),
    ] {
        let server = Server::after_request(move |request, stream| match request.method.as_str() {
            "PUT" => answer(stream, 200, &[], &created()),
            _ => stream.write_all(&read_back),
        });
        let result = run(&server.url(), LONG, &json!({})).success();
        assert_eq!(result["changed"], true);
        assert_eq!(result["session_id"], "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11");
        assert_eq!(result["session"], Value::Null);
        assert!(
            result["warnings"][0]
                .as_str()
                .unwrap()
                .contains("not read back"),
            "{result}"
        );
    }
}

#[test]
fn interrupted_ensure_reports_the_created_session() {
    let server = Server::raw({
        let listed = std::sync::atomic::AtomicBool::new(false);
        move |mut stream, _| {
            let Some(request) = consul_session_tests::bad_server::Request::read(&mut stream)?
            else {
                return Ok(());
            };
            if request.method == "PUT" {
                return answer(&mut stream, 200, &[], &created());
            }
            match listed.swap(true, std::sync::atomic::Ordering::Relaxed) {
                false => answer(&mut stream, 200, &[], b"[]"),
                true => answer(&mut stream, 500, &[], b"No cluster leader"),
            }
        }
    });
    let failure =
        apply(&server.url(), json!({"name": "n", "timeout": LONG})).failure("unavailable");
    failure.says(&["2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11", "was created"]);
    assert_eq!(
        failure.get("maybe_applied"),
        true,
        "a session was created: {failure:?}"
    );
}
