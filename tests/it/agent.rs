//! The development agent as part of the program: `consul-session agent`, `--dev` and `demo`.

use consul_session_tests::program::{Program, apply, path};
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// A process that runs `consul-session agent`. It is killed when this is dropped.
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

    /// Stops the agent with a signal and returns its exit code and standard error.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.process.id().to_string();
        assert!(
            // Use the shell's built-in `kill`: not every machine has a program of this name.
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
fn serves_until_a_signal_arrives() {
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
fn serves_with_a_token_and_tls() {
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
fn reports_a_port_in_use() {
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
fn reports_invalid_options() {
    for (arguments, part) in [
        (&["--acl-token", ""][..], "--acl-token"),
        (&["--acl-token", "a b"], "token"),
        (&["--listen", "nowhere"], "HOST:PORT"),
        (&["--tls=/nowhere/ca.pem"], "/nowhere/ca.pem"),
    ] {
        // The command line itself is wrong only in the case of --listen.
        let (listen, code) = if arguments[0] == "--listen" {
            (&[][..], 2)
        } else {
            (&["--listen", "127.0.0.1:0"][..], 1)
        };
        let run = Program::new([&["agent"][..], listen, arguments].concat()).run();
        assert!(run.code == code && run.stderr.contains(part), "{run:?}");
    }
}

#[test]
fn dev_starts_an_agent_for_one_command() {
    let run = Program::new(["--dev", "create", "x", "--ttl", "30s"]).run();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.json()["session"]["TTL"], "30s");
    // The agent exits with the command, and the next command starts another.
    let run = Program::new(["list", "--dev"]).run();
    assert_eq!(run.json()["sessions"], json!([]));
    let both = Program::new(["--dev", "--address", "http://localhost:1", "list"]).run();
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn demo_needs_no_setup() {
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
        assert!(
            run.stdout.contains(part),
            "the output lacks `{part}`: {}",
            run.stdout
        );
    }
    // The README quotes the output of the demo.
    let readme = include_str!("../../README.md");
    let excerpt = readme.split("```text\n").nth(1).unwrap();
    let calls = excerpt.split("```").next().unwrap().lines();
    let calls: Vec<&str> = calls.filter(|line| line.starts_with("   call")).collect();
    assert!(!calls.is_empty());
    for call in calls {
        assert!(
            run.stdout.contains(call),
            "the README quotes a line that the demo does not print: {call}"
        );
    }
}
