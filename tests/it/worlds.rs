//! The worlds `embedded` and `plugin` give the same results, byte for byte: they are the same operations over different
//! transports. (`command.rs` compares the world `command` with the program.)

use crate::client::runtime;
use consul_session::{
    Behavior, Client, ClientBuilder, NewSession, OnDifference, Policy, Runtime, Token, Trust,
};
use consul_session_dev_agent::DevAgent;
use consul_session_tests::bad_server::{Server, answer, closed_port};
use consul_session_tests::ca::Authority;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

/// The component of the world `plugin`, compiled once for all tests.
fn plugin() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::from_bytes(Runtime::plugin()).unwrap())
}

fn client(runtime: &Runtime, settings: ClientBuilder) -> Client {
    settings.build(runtime).unwrap()
}

/// The result of an action as text, success or failure.
async fn action(client: &Client, parameters: &Value) -> String {
    match client.action(&parameters.to_string()).await {
        Ok(outcome) => outcome.as_json().to_owned(),
        Err(error) => format!("{} {error:?}", serde_json::to_string(&error).unwrap()),
    }
}

/// Replaces UUIDs by numbers in the order of their first appearance.
#[derive(Default)]
struct Normalizer(HashMap<String, usize>);

impl Normalizer {
    fn text(&mut self, text: &str) -> String {
        let is_uuid =
            |word: &str| word.len() == 36 && word.bytes().filter(|&byte| byte == b'-').count() == 4;
        text.split_inclusive(|c: char| !(c.is_ascii_hexdigit() || c == '-'))
            .map(|part| {
                let word = part.trim_end_matches(|c: char| !(c.is_ascii_hexdigit() || c == '-'));
                if !is_uuid(word) {
                    return part.to_owned();
                }
                let next = self.0.len();
                let number = *self.0.entry(word.to_owned()).or_insert(next);
                part.replace(word, &format!("id-{number}"))
            })
            .collect()
    }

    fn value(&mut self, value: &impl Debug) -> String {
        self.text(&format!("{value:?}"))
    }
}

/// A fresh agent, and what every operation returns there.
async fn every_operation(runtime: &Runtime) -> Vec<String> {
    let agent = DevAgent::builder().node("node").start().await.unwrap();
    let consul = client(runtime, Client::builder().address(agent.address()));
    let mut normalizer = Normalizer::default();
    let mut said = Vec::new();

    let actions = [
        json!({"name": "deploy", "ttl": "30s"}),
        json!({"name": "deploy", "ttl": "30s", "diff": true}),
        json!({"name": "deploy", "ttl": "40s"}),
        json!({"name": "deploy", "ttl": "40s", "recreate": true, "check_mode": true, "diff": true}),
        json!({"name": "deploy", "ttl": "40s", "recreate": true, "diff": true}),
        json!({"state": "info", "name": "deploy"}),
        json!({"state": "renew", "name": "deploy"}),
        json!({"state": "renew", "name": "nobody"}),
        json!({"state": "info", "id": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"}),
        json!({"state": "renew", "id": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"}),
        json!({"state": "absent", "id": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"}),
        json!({"state": "node", "node": "node"}),
        json!({"state": "node", "node": "nowhere"}),
        json!({"state": "list"}),
        json!({"state": "list", "datacenter": "dc9"}),
        json!({"state": "list", "namespace": "team"}),
        json!({"state": "list", "url": "http://169.254.169.254"}),
        json!({"state": "list", "ca_path": "/etc/ca.pem"}),
        json!({"name": "x", "ttl": "1s"}),
        json!({"name": "x", "checks": ["none"]}),
        json!({"name": "x", "node": "nowhere"}),
        json!({"nmae": "x"}),
        json!([1]),
        // Lists are ordered by id, and ids are random, so there is a second session only here.
        json!({"name": "deploy", "unique": false}),
        json!({"state": "info", "name": "deploy"}),
        json!({"state": "renew", "name": "deploy"}),
        json!({"state": "absent", "name": "deploy", "diff": true}),
        json!({"state": "absent", "name": "deploy"}),
    ];
    for parameters in actions {
        said.push(normalizer.text(&action(&consul, &parameters).await));
    }

    let wanted = NewSession::named("typed")
        .ttl(Duration::from_secs(20))
        .behavior(Behavior::Delete)
        .lock_delay(Duration::ZERO);
    let id = consul.create(&wanted).await;
    said.push(normalizer.value(&id));
    let id = id.unwrap();
    said.push(normalizer.value(&consul.info(&id).await));
    said.push(normalizer.value(&consul.info("no id").await));
    said.push(normalizer.value(&consul.node("node").await));
    said.push(normalizer.value(&consul.list().await));
    said.push(normalizer.value(&consul.renew(&id).await));
    for (session, on_difference) in [
        (wanted.clone(), OnDifference::Refuse),
        (
            NewSession::named("typed").ttl(Duration::from_secs(50)),
            OnDifference::Refuse,
        ),
        (
            NewSession::named("typed").ttl(Duration::from_secs(50)),
            OnDifference::Recreate,
        ),
        (NewSession::new(), OnDifference::Refuse),
    ] {
        said.push(normalizer.value(&consul.ensure(&session, on_difference).await));
    }
    said.push(normalizer.value(&consul.destroy(&id).await));
    said.push(normalizer.value(&consul.renew(&id).await));
    said.push(normalizer.value(&consul.remove("typed", None).await));
    said.push(normalizer.value(&consul.remove("", Some("node")).await));

    let tokens = DevAgent::builder()
        .acl_token("right")
        .start()
        .await
        .unwrap();
    for token in ["right", "wrong"] {
        let settings = Client::builder()
            .address(tokens.address())
            .token(Token::new(token).unwrap());
        let consul = client(runtime, settings);
        said.push(action(&consul, &json!({"state": "list"})).await);
        said.push(action(&consul, &json!({"state": "list", "token": "own"})).await);
        let created = action(&consul, &json!({"name": "x", "behavior": "delete"})).await;
        said.push(normalizer.text(&created));
    }
    for address in [agent.address(), tokens.address()] {
        for text in &mut said {
            *text = text.replace(address, "ADDRESS");
        }
    }
    said
}

#[tokio::test]
async fn every_operation_has_the_same_result() {
    let embedded = every_operation(runtime()).await;
    let plugin = every_operation(plugin()).await;
    assert!(embedded.len() > 45);
    for (embedded, plugin) in embedded.iter().zip(&plugin) {
        assert_eq!(embedded, plugin);
    }
    assert_eq!(embedded.len(), plugin.len());
}

/// A server that responds to every request with a head and a body that breaks off, or does not.
fn chunks(headers: &'static str, body: &'static [&'static str]) -> Server {
    Server::after_request(move |_, stream| {
        stream.write_all(
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n").as_bytes(),
        )?;
        for part in body {
            stream.write_all(part.as_bytes())?;
            stream.flush()?;
        }
        Ok(())
    })
}

/// Servers that answer wrongly, by name. Each is asked by both worlds.
fn bad_servers() -> Vec<(&'static str, Server)> {
    let status = |status, body: &'static str| Server::answering(status, &[], body);
    vec![
        (
            "closes after the request",
            Server::after_request(|_, _| Ok(())),
        ),
        ("not HTTP", Server::bytes("220 smtp ready\r\n")),
        ("half a head", Server::bytes("HTTP/1.1 200 OK\r\nConte")),
        (
            "half a body",
            chunks("Content-Length: 100\r\n", &["[{\"ID\":"]),
        ),
        (
            "half a chunk",
            chunks("Transfer-Encoding: chunked\r\n", &["40\r\n[{\"ID\":"]),
        ),
        (
            "a broken chunk",
            chunks("Transfer-Encoding: chunked\r\n", &["zz\r\n[]"]),
        ),
        (
            "chunks",
            chunks(
                "Transfer-Encoding: chunked\r\n",
                &["1\r\n[\r\n", "1\r\n]\r\n", "0\r\n\r\n"],
            ),
        ),
        (
            "too many headers",
            Server::bytes(format!(
                "HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\n[]",
                "X: 1\r\n".repeat(200)
            )),
        ),
        (
            "an endless body",
            Server::after_request(|_, stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                loop {
                    stream.write_all(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).as_bytes())?;
                }
            }),
        ),
        (
            "a declared body that is too long",
            chunks("Content-Length: 999999999\r\n", &["["]),
        ),
        (
            "a redirect",
            Server::answering(301, &[("Location", "http://elsewhere/")], ""),
        ),
        (
            "compressed",
            Server::answering(200, &[("Content-Encoding", "gzip")], "[]"),
        ),
        (
            "HTML",
            Server::answering(200, &[("Content-Type", "text/html")], "<html>"),
        ),
        (
            "two types",
            Server::answering(
                502,
                &[
                    ("content-type", "text/html"),
                    ("Content-Type", "text/plain"),
                ],
                "x",
            ),
        ),
        (
            "filtered",
            Server::answering(200, &[("X-Consul-Results-Filtered-By-ACLs", "true")], "[]"),
        ),
        (
            "a header that is not UTF-8",
            Server::bytes(
                b"HTTP/1.1 200 OK\r\nLocation: \xff\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]".as_slice(),
            ),
        ),
        ("empty", status(200, "")),
        ("no list", status(200, "{}")),
        ("no sessions", status(200, "[1]")),
        ("created", status(204, "")),
        ("denied", status(403, "Permission denied")),
        ("not found", status(404, "404 page not found")),
        ("too many", status(429, "rate limit")),
        ("no leader", status(500, "No cluster leader")),
        ("says nothing", status(503, "")),
    ]
}

/// What a server's answers become, without the server's port.
async fn failures(runtime: &Runtime, server: &Server) -> Vec<String> {
    let settings = Client::builder()
        .address(&server.url())
        .timeout(Duration::from_secs(60));
    let consul = client(runtime, settings);
    let mut said = Vec::new();
    for parameters in [
        json!({"state": "list"}),
        json!({"state": "list", "token": "s3cret-token"}),
        json!({"name": "x"}),
        json!({"name": "x", "unique": false}),
        json!({"state": "absent", "id": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"}),
    ] {
        said.push(action(&consul, &parameters).await);
    }
    said.push(format!("{:?}", consul.list().await));
    said.push(format!("{:?}", consul.create(&NewSession::new()).await));
    said
}

#[tokio::test]
async fn bad_servers_have_the_same_result() {
    for (name, server) in bad_servers() {
        let embedded = failures(runtime(), &server).await;
        let plugin = failures(plugin(), &server).await;
        assert_eq!(embedded, plugin, "{name}");
    }
}

#[tokio::test]
async fn failed_connections_have_the_same_result() {
    let trusted = Authority::new("trusted");
    let other = Authority::new("other").certify(&["127.0.0.1"]).serve();
    let expired = trusted.certify_expired(&["127.0.0.1"]).serve();
    let elsewhere = trusted.certify(&["elsewhere.example"]).serve();
    let plain = Server::answering(200, &[], "[]");
    let https = |server: &Server| format!("https://{}", server.authority());
    let silent = Server::silent();
    let slow = Server::after_request(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[")?;
        stream.flush()?;
        io::copy(stream, &mut io::sink()).map(|_| ())
    });
    for (address, timeout) in [
        (format!("http://127.0.0.1:{}", closed_port()), 60),
        ("http://does-not-exist.invalid:8500".to_owned(), 60),
        (https(&other), 60),
        (https(&expired), 60),
        (https(&elsewhere), 60),
        (https(&plain), 60),
        (https(&silent), 1),
        (silent.url(), 1),
        (slow.url(), 1),
    ] {
        let settings = || {
            Client::builder()
                .address(&address)
                .trust(Trust::only_pem(trusted.pem().as_bytes()).unwrap())
                .policy(Policy::deny_all())
                .timeout(Duration::from_secs(timeout))
        };
        for parameters in [json!({"state": "list"}), json!({"unique": false})] {
            let embedded = action(&client(runtime(), settings()), &parameters).await;
            let plugin = action(&client(plugin(), settings()), &parameters).await;
            // On a busy machine the time of the request is over first, or that of the call: the same, in other words.
            let compared = |result: &str| match timeout {
                1 => fields(result).to_owned(),
                _ => result.to_owned(),
            };
            assert_eq!(compared(&embedded), compared(&plugin), "{address}");
        }
    }
}

/// The fields of a failure, without its message.
fn fields(result: &str) -> &str {
    let (_, error) = result.split_once("\"error\":").unwrap();
    error.split_once(" Error ").unwrap().0
}

/// The worst that a response may hold passes both worlds alike.
#[tokio::test]
async fn large_lists_have_the_same_result() {
    let session = |number: usize| {
        json!({"ID": format!("00000000-0000-0000-0000-{number:012}"), "Name": "n\u{fc}", "Node": "node",
            "LockDelay": 15_000_000_000_u64, "Behavior": "release", "TTL": "", "CreateIndex": number, "ModifyIndex": number})
    };
    let body: Value = (1..=3_000).map(session).collect();
    let body = body.to_string();
    let server = Server::after_request(move |_, stream| answer(stream, 200, &[], body.as_bytes()));
    let settings = || {
        Client::builder()
            .address(&server.url())
            .timeout(Duration::from_secs(60))
    };
    let (embedded, plugin) = (client(runtime(), settings()), client(plugin(), settings()));
    let list = json!({"state": "list"});
    assert!(action(&embedded, &list).await == action(&plugin, &list).await);
    let (embedded, plugin) = (embedded.list().await.unwrap(), plugin.list().await.unwrap());
    assert_eq!(embedded.sessions.len(), 3_000);
    assert_eq!(embedded, plugin);
}
