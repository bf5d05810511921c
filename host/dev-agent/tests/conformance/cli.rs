//! The real `consul` program as a client.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use consul_session_dev_agent::DevAgent;
use consul_session_tests::consul;
use serde_json::json;

use super::server::{RUNTIME, Server, everywhere, until};

/// How long the program may take to get a lock, or to notice that it lost one.
const SOON: Duration = Duration::from_secs(60);

/// A command that runs until this is dropped.
struct Hold(tempfile::TempDir);

impl Hold {
    fn new() -> Hold {
        Hold(tempfile::tempdir().unwrap())
    }

    fn command(&self) -> String {
        format!(
            "while test -d {}; do sleep 0.1; done",
            self.0.path().display()
        )
    }
}

fn command(server: &Server, args: &[&str]) -> Option<Command> {
    let mut command = Command::new(consul::program().ok()?);
    command
        .args(args)
        .env("CONSUL_HTTP_ADDR", &server.base_url)
        .env_remove("CONSUL_HTTP_TOKEN_FILE")
        .env_remove("CONSUL_HTTP_SSL")
        .env_remove("CONSUL_HTTP_TOKEN")
        .env_remove("CONSUL_NAMESPACE")
        .env_remove("CONSUL_CACERT")
        // The shell that runs the command of `consul lock`; /bin/sh if unset.
        .env_remove("SHELL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

/// Runs the program and checks whether it succeeds. Returns `None` if there is no program.
#[track_caller]
fn run(server: &Server, args: &[&str], succeeds: bool) -> Option<String> {
    let output = command(server, args)?.output().unwrap();
    assert_eq!(
        output.status.success(),
        succeeds,
        "{} {args:?} {output:?}",
        server.name
    );
    let Output { stdout, stderr, .. } = output;
    let text = [stdout, stderr].concat();
    Some(String::from_utf8(text).unwrap().trim().to_owned())
}

/// Starts a command that wants a lock, lets go of the lock when the command has a session to take it with, and returns
/// what the command printed in the end.
fn gets_it_after(server: &Server, mut command: Command, hold: Hold) -> String {
    let sessions = || {
        let sessions = server.get("/v1/session/list").json();
        let ids = sessions.as_array().unwrap().iter();
        ids.map(|session| session["ID"].clone()).collect::<Vec<_>>()
    };
    let before = sessions();
    let child = command.spawn().unwrap();
    until(SOON, || sessions().iter().any(|id| !before.contains(id)));
    drop(hold);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kv() {
    everywhere(|server| {
        let key = server.prefix("cli-kv") + "k";
        let says = |args: &[&str], succeeds, text: &str| {
            if let Some(said) = run(server, args, succeeds) {
                assert!(said.starts_with(text), "{} {args:?}: {said}", server.name);
            }
        };
        let written = format!("Success! Data written to: {key}");
        says(&["kv", "put", &key, "one"], true, &written);
        says(&["kv", "get", &key], true, "one");
        says(&["kv", "get", "-detailed", &key], true, "CreateIndex");
        says(&["kv", "get", "-keys", &key], true, &key);
        says(
            &["kv", "get", "-recurse", &key],
            true,
            &format!("{key}:one"),
        );
        let stale = "Error! Did not write to ";
        says(
            &["kv", "put", "-cas", "-modify-index=1", &key, "two"],
            false,
            stale,
        );
        let index = server.key(&key)["ModifyIndex"].to_string();
        let index = format!("-modify-index={index}");
        says(&["kv", "put", "-cas", &index, &key, "two"], true, &written);
        let id = server.create(r#"{"LockDelay":0}"#);
        let session = format!("-session={id}");
        let locked = format!("Success! Lock acquired on: {key}");
        says(
            &["kv", "put", "-acquire", &session, &key, "three"],
            true,
            &locked,
        );
        let unlocked = format!("Success! Lock released on: {key}");
        says(
            &["kv", "put", "-release", &session, &key, "four"],
            true,
            &unlocked,
        );
        says(&["kv", "get", &key], true, "four");
        says(
            &["kv", "delete", "-cas", "-modify-index=1", &key],
            false,
            "Error! Did not delete key",
        );
        says(
            &["kv", "delete", &key],
            true,
            &format!("Success! Deleted key: {key}"),
        );
        says(
            &["kv", "get", &key],
            false,
            &format!("Error! No key exists at: {key}"),
        );
        server.destroy(&id);
    });
}

#[test]
fn info() {
    everywhere(|server| {
        let said = run(server, &["info"], true);
        assert!(said.is_none_or(|said| said.contains("consul:") && said.contains("leader = true")));
    });
}

#[test]
fn over_tls_and_with_a_token() {
    let file = std::env::temp_dir().join(format!("dev-agent-cli-{}.pem", std::process::id()));
    let builder = DevAgent::builder().ca_file(&file).acl_token("secret");
    let agent = RUNTIME.block_on(builder.start()).unwrap();
    let server = Server::at(agent.address(), "development agent");
    let put = |token: &str, ca: bool| {
        let mut command = command(&server, &["kv", "put", "k", "v"])?;
        command.env("CONSUL_HTTP_TOKEN", token);
        if ca {
            command.env("CONSUL_CACERT", &file);
        }
        let output = command.output().unwrap();
        Some((
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    };
    if let Some((done, said)) = put("secret", true) {
        assert!(done, "{said}");
        let (done, said) = put("", true).unwrap();
        assert!(!done && said.contains("403 (Permission denied)"), "{said}");
        let (done, said) = put("other", true).unwrap();
        assert!(!done && said.contains("403 (ACL not found)"), "{said}");
        let (done, said) = put("secret", false).unwrap();
        assert!(!done && said.contains("unknown authority"), "{said}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn lock() {
    everywhere(|server| {
        let prefix = server.prefix("cli-lock");
        let prefix = prefix.trim_end_matches('/');
        let held = run(server, &["lock", prefix, "echo $CONSUL_LOCK_HELD"], true);
        assert!(held.is_none_or(|said| said.starts_with("true")));
        assert_eq!(
            server.key(&format!("{prefix}/.lock")),
            json!(null),
            "cleaned up"
        );
        assert!(
            !server
                .get("/v1/session/list")
                .body
                .contains("Consul API Lock")
        );

        // While one process holds the lock, another times out, and acquires it afterwards.
        let hold = Hold::new();
        let Some(mut first) = command(server, &["lock", prefix, &hold.command()]) else {
            return;
        };
        let mut first = first.spawn().unwrap();
        let lock = format!("{prefix}/.lock");
        until(SOON, || server.key(&lock).get("Session").is_some());
        assert_eq!(
            server.key(&lock)["Flags"],
            json!(3_304_740_253_564_472_344_u64)
        );
        let said = run(
            server,
            &["lock", "-timeout=1s", prefix, "echo never"],
            false,
        );
        assert!(!said.unwrap().contains("never"));
        let next = command(server, &["lock", prefix, "echo at last"]).unwrap();
        let next = gets_it_after(server, next, hold);
        assert!(next.starts_with("at last"), "{next}");
        assert!(first.wait().unwrap().success());
    });
}

#[test]
fn a_semaphore_of_two() {
    everywhere(|server| {
        let prefix = server.prefix("cli-semaphore");
        let prefix = prefix.trim_end_matches('/');
        let lock = |child: &str| command(server, &["lock", "-n=2", prefix, child]);
        let hold = Hold::new();
        let Some(mut one) = lock(&hold.command()) else {
            return;
        };
        let mut one = one.spawn().unwrap();
        let mut two = lock(&hold.command()).unwrap().spawn().unwrap();
        let path = format!("/v1/kv/{prefix}/.lock?raw");
        let holders = || {
            let value: Option<serde_json::Value> =
                serde_json::from_str(&server.get(&path).body).ok();
            value.map_or(0, |value| value["Holders"].as_object().unwrap().len())
        };
        until(SOON, || holders() == 2);
        let said = run(
            server,
            &["lock", "-n=2", "-timeout=1s", prefix, "echo never"],
            false,
        );
        assert!(!said.unwrap().contains("never"));
        let next = gets_it_after(server, lock("echo at last").unwrap(), hold);
        assert!(next.starts_with("at last"), "{next}");
        assert!(one.wait().unwrap().success() && two.wait().unwrap().success());
    });
}

#[test]
fn losing_the_lock() {
    everywhere(|server| {
        let prefix = server.prefix("cli-lost");
        let prefix = prefix.trim_end_matches('/');
        // Without `exec`, only the shell would be killed, and `sleep` would keep the pipes open.
        let Some(mut command) = command(server, &["lock", prefix, "exec sleep 120"]) else {
            return;
        };
        let child = command.spawn().unwrap();
        let lock = format!("{prefix}/.lock");
        until(SOON, || server.key(&lock).get("Session").is_some());
        let id = server.key(&lock)["Session"].as_str().unwrap().to_owned();
        server.destroy(&id);
        // `consul lock` notices through its blocking query, long before the child would exit.
        let started = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(started.elapsed() < SOON, "{output:?}");
    });
}
