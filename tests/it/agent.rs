//! `consul-session agent`, `--dev` and `demo`: the development agent as the program offers it.

use consul_session_tests::program::{Program, apply, path};
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// An agent in a process of its own, ended with the test.
struct Agent {
    process: Child,
    address: String,
}

impl Agent {
    fn start(arguments: &[&str]) -> Agent {
        let mut process = Command::new(path())
            .env_clear()
            .args(["agent", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut address)
            .unwrap();
        Agent {
            process,
            address: address.trim().to_owned(),
        }
    }

    /// Ends it by a signal, and gives its exit code and what it said.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.process.id().to_string();
        assert!(
            // The shell's own: not every machine has it as a program.
            Command::new("sh")
                .args(["-c", "kill \"$0\" \"$1\"", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let code = self.process.wait().unwrap().code();
        let mut said = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (code, said)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn serves_until_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let agent = Agent::start(&["--node", "here", "--datacenter", "lab"]);
        assert!(
            agent.address.starts_with("http://127.0.0.1:"),
            "{}",
            agent.address
        );
        let made = apply(&agent.address, json!({"name": "x", "datacenter": "lab"})).success();
        assert_eq!(made["session"]["Node"], "here");
        let (code, said) = agent.stop(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("ready on http://127.0.0.1:"), "{said}");
    }
}

#[test]
fn with_a_token_and_tls() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let agent = Agent::start(&["--acl-token", "sesame", &format!("--tls={}", ca.display())]);
    assert!(
        agent.address.starts_with("https://127.0.0.1:"),
        "{}",
        agent.address
    );
    apply(&agent.address, json!({"name": "x"}))
        .failure("tls")
        .says(&["ca_path"]);
    apply(&agent.address, json!({"name": "x", "ca_path": ca})).failure("denied");
    apply(
        &agent.address,
        json!({"name": "x", "ca_path": ca, "token": "sesame"}),
    )
    .success();
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = Agent::start(&[]);
    let address = taken.address.trim_start_matches("http://");
    let run = Program::new(["agent", "--listen", address]).run();
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains(&format!("cannot listen on {address}")),
        "{}",
        run.stderr
    );
}

#[test]
fn an_agent_that_cannot_be_is_said() {
    for (arguments, part) in [
        (&["--acl-token", ""][..], "--acl-token"),
        (&["--acl-token", "a b"], "token"),
        (&["--listen", "nowhere"], "HOST:PORT"),
        (&["--tls=/nowhere/ca.pem"], "/nowhere/ca.pem"),
    ] {
        let listen = if arguments[0] == "--listen" {
            &[][..]
        } else {
            &["--listen", "127.0.0.1:0"]
        };
        let run = Program::new([&["agent"][..], listen, arguments].concat()).run();
        assert!(run.code == 1 && run.stderr.contains(part), "{run:?}");
    }
}

#[test]
fn an_agent_for_one_command() {
    let run = Program::new(["--dev", "create", "x", "--ttl", "30s"]).run();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.json()["session"]["TTL"], "30s");
    // It is gone with the command, and the next one has its own.
    let run = Program::new(["list", "--dev"]).run();
    assert_eq!(run.json()["sessions"], json!([]));
    let both = Program::new(["--dev", "--address", "http://localhost:1", "list"]).run();
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn the_demo_needs_nothing() {
    let run = Program::new(["demo"]).run();
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stderr.is_empty() && !run.stdout.contains('\u{1b}'),
        "{run:?}"
    );
    for part in [
        "done changed, session",
        "done unchanged, session",
        "fail conflict: a session named `deploy` exists",
        "did you mean `name`?",
        "refused by the host",
        "fail denied",
        "13 calls, each in a fresh sandbox",
    ] {
        assert!(run.stdout.contains(part), "no `{part}` in {}", run.stdout);
    }
    // The README shows parts of this demo.
    let readme = include_str!("../../README.md");
    let excerpt = readme.split("```text\n").nth(1).unwrap();
    let calls = excerpt.split("```").next().unwrap().lines();
    let calls: Vec<&str> = calls.filter(|line| line.starts_with("   call")).collect();
    assert!(!calls.is_empty());
    for call in calls {
        assert!(run.stdout.contains(call), "the demo has no {call}");
    }
}
