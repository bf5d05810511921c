//! The command line: exit statuses, output streams, environment variables, arguments, and every subcommand.

use consul_session_tests::bad_server::{Server, closed_port};
use consul_session_tests::consul::{self, NODE};
use consul_session_tests::program::{Program, Run};
use serde_json::{Value, json};
use std::net::TcpStream;

fn run(arguments: &[&str]) -> Run {
    Program::new(arguments).run()
}

fn empty_consul() -> Server {
    Server::answering(200, &[("Content-Type", "application/json")], "[]")
}

/// Checks that arguments are rejected with exit status 2 and a message on standard error.
#[track_caller]
fn misused(arguments: &[&str], part: &str) {
    let run = run(arguments);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (2, ""),
        "{arguments:?}: {run:#?}"
    );
    assert!(run.stderr.contains(part), "{arguments:?}: {run:#?}");
}

#[test]
fn help_and_version() {
    let commands = [
        "create",
        "destroy",
        "info",
        "node",
        "list",
        "renew",
        "apply",
        "demo",
        "agent",
        "component",
    ];
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for word in commands.iter().chain(&[
        "CONSUL_HTTP_ADDR",
        "--token-file",
        "--ca-file",
        "Exit status",
    ]) {
        assert!(help.stdout.contains(word), "{word}");
    }
    for command in commands {
        let help = run(&[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        let usage = help
            .stdout
            .lines()
            .find(|line| line.starts_with("Usage: "))
            .unwrap();
        assert!(
            usage.starts_with(&format!("Usage: consul-session {command}")),
            "{usage}"
        );
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, 0);
    assert!(
        version.stdout.starts_with("consul-session 0."),
        "{}",
        version.stdout
    );
}

#[test]
fn usage_errors_exit_with_status_2() {
    misused(&[], "Usage");
    misused(&["lst"], "list");
    misused(&["list", "--nonsense"], "--nonsense");
    misused(&["list", "surplus"], "surplus");
    misused(&["info"], "--name");
    misused(&["info", "x", "--name", "y"], "--name");
    misused(&["destroy"], "--name");
    misused(&["node"], "node");
    misused(&["component"], "FILE");
    misused(&["create", "--ensure"], "NAME");
    misused(&["create", "", "--ensure"], "NAME");
    misused(&["agent", "--address", "http://x:1"], "--address");
    misused(&["demo", "--timeout", "5s"], "--timeout");
    misused(&["component", "plugin", "-o", "-", "--dev"], "--dev");
    misused(&["list", "--tls-server-name", "bad name!"], "bad name!");
    misused(&["list", "--output", "xml"], "json");
    // Values that only the component rejects are usage errors too, because no request was sent.
    misused(&["info", "not-an-id"], "--name not-an-id");
    misused(&["destroy", "not-an-id"], "--name not-an-id");
    misused(&["create", "--ttl", "5s"], "ttl");
    misused(&["create", "--delay", "61s"], "delay");
    misused(&["create", "--behavior", "explode"], "behavior");
    misused(&["list", "--timeout", "soon"], "timeout");
    misused(&["list", "--address", "ftp://x"], "--address");
    misused(&["list", "--address", "http://[::::]:1"], "--address");
    misused(&["list", "--ca-file", "/nowhere/ca.pem"], "/nowhere/ca.pem");
    misused(
        &["list", "--token-file", "/nowhere/token"],
        "/nowhere/token",
    );
}

#[test]
fn failures_exit_with_status_1_and_print_to_standard_error() {
    let address = format!("http://127.0.0.1:{}", closed_port());
    for command in [
        &["list"][..],
        &["node", "n"],
        &["info", "--name", "n"],
        &["create"],
        &["destroy", "--name", "n"],
        &["renew", "--name", "n"],
    ] {
        let run = run(&[command, &["--address", &address]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{command:?}");
        assert!(run.stderr.starts_with("error: cannot "), "{}", run.stderr);
        assert!(run.stderr.contains(&address), "{}", run.stderr);
    }
}

/// `apply` reports every failure as one JSON object on standard output and writes nothing to standard error.
#[test]
fn apply_reports_failures_as_json() {
    let server = empty_consul();
    let oversized = format!(r#"{{"name": "{}"}}"#, "x".repeat(6 << 20));
    for input in [
        "",
        " \n",
        "{",
        "not JSON",
        "[]",
        "7",
        "{} {}",
        r#"{"state": "lst"}"#,
        r#"{"nmae": "x"}"#,
        r#"{"state": "list", "state": "lst"}"#,
        r#"{"name": "x", "ttl": 5}"#,
        &oversized,
    ] {
        for arguments in [&["apply"][..], &["apply", "-"]] {
            let run = Program::new(arguments)
                .env("CONSUL_HTTP_ADDR", server.url())
                .input(input)
                .run();
            assert_eq!(
                (run.code, run.stderr.as_str()),
                (1, ""),
                "{input:.100}: {run:#?}"
            );
            let failure = run.json();
            assert_eq!(failure["failed"], true, "{input:.100}");
            assert_eq!(failure["error"]["kind"], "invalid", "{input:.100}");
        }
    }
    let invalid_utf8 = Program::new(["apply"])
        .input(*b"{\"name\": \"\xff\"}")
        .run();
    assert_eq!(
        (invalid_utf8.code, &invalid_utf8.json()["failed"]),
        (1, &json!(true))
    );
    for argument in ["lst", "=x", "nmae=x", "ttl=5"] {
        let run = run(&["apply", argument]);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{argument}");
        assert_eq!(run.json()["error"]["kind"], "invalid", "{argument}");
    }
    let twice = run(&["apply", "state=list", "state=info"]);
    assert_eq!(
        (twice.code, &twice.json()["error"]["parameter"]),
        (1, &json!("state"))
    );
    // Errors in the command line itself.
    for wrong in [
        &["apply", "--lst"][..],
        &["apply", "state=list", "--timeout", "soon"],
    ] {
        let run = run(wrong);
        assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{wrong:?}");
        assert_eq!(run.json()["error"]["kind"], "invalid", "{wrong:?}");
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn apply_accepts_a_state_without_its_key() {
    let server = empty_consul();
    let url = format!("url={}", server.url());
    let alone = run(&["apply", "list", &url]).success();
    assert_eq!(alone, run(&["apply", &url, "state=list"]).success());
    run(&["apply", "list", "state=list", &url]).failure("invalid");
}

#[test]
fn list_arguments_may_be_json() {
    let server = empty_consul();
    let url = format!("url={}", server.url());
    for (argument, sent) in [
        (r#"checks=["a","b"]"#, json!(["a", "b"])),
        ("checks=a,b", json!(["a", "b"])),
        ("checks=[]", json!([])),
    ] {
        assert_eq!(
            run(&["apply", &url, argument]).code,
            1,
            "an empty list is not the response to a create"
        );
        let request = server.requests().pop().unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body, json!({ "Checks": sent }));
    }
}

#[test]
fn results_are_json_unless_a_table_is_requested() {
    let Some(agent) = consul::plain() else { return };
    let id = agent
        .api
        .create(&json!({"Name": "cli-\u{1b}[31mtable", "TTL": "30s", "LockDelay": "1500ms"}));
    let address = ["--address", &agent.http];
    let json = run(&[&["info", &id][..], &address].concat()).success();
    assert_eq!(json["session_id"], id.as_str());
    let explicit = run(&[&["info", &id, "--output", "json"][..], &address].concat()).success();
    assert_eq!(explicit, json);
    for command in [&["info", &id][..], &["list"], &["node", NODE]] {
        let table = run(&[command, &["--output", "table"], &address].concat());
        assert_eq!((table.code, table.stderr.as_str()), (0, ""));
        let mut lines = table.stdout.lines();
        assert!(lines.next().unwrap().starts_with("ID"), "{}", table.stdout);
        let line = lines.find(|line| line.starts_with(&id)).unwrap();
        for word in [NODE, "30s", "1.5s", "release", "serfHealth"] {
            assert!(line.contains(word), "{line}");
        }
        assert!(
            !table.stdout.contains('\u{1b}'),
            "the table contains an escape sequence from a session name"
        );
    }
    let none = run(&[
        &["info", "--name", "cli-nobody", "--output", "table"][..],
        &address,
    ]
    .concat());
    assert_eq!(none.stdout, "no sessions\n");
}

#[test]
fn every_subcommand() {
    let Some(agent) = consul::plain() else { return };
    let on_agent =
        |arguments: &[&str]| run(&[arguments, &["--address", &agent.http]].concat()).success();
    let id = |result: &Value| result["session_id"].as_str().unwrap().to_owned();
    let name = "cli-every";

    // A dry run changes nothing.
    let predicted = on_agent(&["create", name, "--dry-run"]);
    assert_eq!(
        (&predicted["changed"], &predicted["session_id"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(agent.api.named(name), Vec::<Value>::new());

    let made = on_agent(&[
        "create",
        name,
        "--ttl",
        "30s",
        "--delay",
        "1s",
        "--behavior",
        "delete",
        "--node",
        NODE,
        "--node-check",
        "serfHealth",
    ]);
    let stored = agent.api.session(&id(&made)).unwrap();
    assert_eq!(made["session"], stored);
    assert_eq!(
        (
            &stored["TTL"],
            &stored["LockDelay"],
            &stored["Behavior"],
            &stored["NodeChecks"]
        ),
        (
            &json!("30s"),
            &json!(1_000_000_000),
            &json!("delete"),
            &json!(["serfHealth"])
        )
    );
    // Each `create` creates a session, unless `--ensure` is given.
    let another = on_agent(&["create", name, "--no-checks"]);
    assert_eq!(
        (&another["changed"], &another["session"]["NodeChecks"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(agent.api.named(name).len(), 2);
    let ensured = on_agent(&["create", name, "--ensure", "--ttl", "30s"]);
    assert_eq!(
        (&ensured["changed"], &ensured["session_id"]),
        (&json!(false), &made["session_id"])
    );
    let differs = run(&[
        "create",
        name,
        "--ensure",
        "--ttl",
        "40s",
        "--address",
        &agent.http,
    ]);
    assert_eq!((differs.code, differs.stdout.as_str()), (1, ""));
    assert!(differs.stderr.contains("ttl is 30s"), "{}", differs.stderr);

    assert_eq!(on_agent(&["info", &id(&made)])["sessions"], json!([stored]));
    assert_eq!(
        on_agent(&["info", "--name", name])["sessions"],
        json!(agent.api.named(name))
    );
    assert!(
        on_agent(&["list"])["sessions"]
            .as_array()
            .unwrap()
            .contains(&stored)
    );
    assert!(
        on_agent(&["node", NODE])["sessions"]
            .as_array()
            .unwrap()
            .contains(&stored)
    );
    assert_eq!(on_agent(&["renew", &id(&made)])["ttl"], 30);
    let gone = run(&[
        "renew",
        "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11",
        "--address",
        &agent.http,
    ]);
    assert_eq!((gone.code, gone.stdout.as_str()), (1, ""));

    let replaced = on_agent(&["create", name, "--recreate", "--ttl", "40s"]);
    assert_eq!(json!(agent.api.named(name)), json!([replaced["session"]]));
    assert_eq!(on_agent(&["renew", "--name", name])["ttl"], 40);

    assert_eq!(
        on_agent(&["destroy", &id(&replaced), "--dry-run"])["changed"],
        true
    );
    assert_eq!(agent.api.named(name).len(), 1);
    assert_eq!(
        on_agent(&["destroy", &id(&replaced)])["session_ids"],
        json!([replaced["session_id"]])
    );
    assert_eq!(on_agent(&["destroy", &id(&replaced)])["changed"], false);
    let last = on_agent(&["create", name]);
    assert_eq!(
        on_agent(&["destroy", "--name", name, "--node", "elsewhere"])["changed"],
        false
    );
    assert_eq!(
        on_agent(&["destroy", "--name", name])["session_ids"],
        json!([last["session_id"]])
    );
    assert_eq!(agent.api.named(name), Vec::<Value>::new());
}

/// Two servers show which address the program uses.
#[test]
fn arguments_override_variables() {
    let (right, wrong) = (empty_consul(), empty_consul());
    let (right_url, wrong_url) = (right.url(), wrong.url());
    let url = format!("url={right_url}");
    for (arguments, variables) in [
        (vec!["list"], vec![("CONSUL_HTTP_ADDR", right.url())]),
        (vec!["list"], vec![("CONSUL_HTTP_ADDR", right.authority())]),
        (
            vec!["list", "--address", &right_url],
            vec![("CONSUL_HTTP_ADDR", wrong.url())],
        ),
        (
            vec!["--address", &right_url, "list"],
            vec![("CONSUL_HTTP_ADDR", "nonsense://".to_owned())],
        ),
        (
            vec!["apply", "state=list", &url],
            vec![("CONSUL_HTTP_ADDR", wrong.url())],
        ),
        (
            vec!["apply", "state=list", &url, "--address", &wrong_url],
            vec![],
        ),
        // An empty variable counts as unset, and so does `CONSUL_HTTP_SSL=false`.
        (
            vec!["list", "--address", &right_url],
            vec![
                ("CONSUL_HTTP_SSL", String::new()),
                ("CONSUL_CACERT", String::new()),
            ],
        ),
        (
            vec!["list", "--address", &right_url],
            vec![("CONSUL_HTTP_SSL", "false".to_owned())],
        ),
    ] {
        let before = right.requests().len();
        let program = Program::new(&arguments);
        let run = variables
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value))
            .run();
        run.success();
        assert_eq!(
            right.requests().len(),
            before + 1,
            "{arguments:?}, {variables:?}"
        );
        assert_eq!(wrong.requests(), [], "{arguments:?}, {variables:?}");
    }
    let before = right.requests().len();
    let list =
        Program::new(["list", "--timeout", "500ms"]).env("CONSUL_HTTP_ADDR", right.authority());
    assert_eq!(list.env("CONSUL_HTTP_SSL", "true").run().code, 1);
    assert_eq!(
        right.requests().len(),
        before,
        "the request used plain HTTP although CONSUL_HTTP_SSL is true"
    );
    assert_eq!(
        Program::new(["list"])
            .env("CONSUL_HTTP_SSL", "maybe")
            .run()
            .code,
        2
    );
}

#[test]
fn scope_comes_from_arguments_and_variables() {
    let server = empty_consul();
    let url = server.url();
    for (arguments, variables, query) in [
        (&["list"][..], &[][..], ""),
        (
            &["list"],
            &[("CONSUL_NAMESPACE", "n"), ("CONSUL_PARTITION", "p")],
            "?ns=n&partition=p",
        ),
        (
            &[
                "list",
                "--namespace",
                "m",
                "--partition",
                "q",
                "--datacenter",
                "d",
            ],
            &[("CONSUL_NAMESPACE", "n"), ("CONSUL_PARTITION", "p")],
            "?dc=d&ns=m&partition=q",
        ),
        (
            &["apply", "state=list", "namespace=l", "datacenter=e"],
            &[("CONSUL_NAMESPACE", "n")],
            "?dc=e&ns=l",
        ),
        (
            &["apply", "state=list", "namespace=l", "--namespace", "m"],
            &[],
            "?ns=l",
        ),
        (&["list"], &[("CONSUL_NAMESPACE", "")], ""),
        // An empty parameter, as a template may produce it, does not override an option.
        (
            &[
                "apply",
                "state=list",
                "url=",
                "host=",
                "namespace=",
                "datacenter=",
                "--datacenter",
                "d",
                "--namespace",
                "m",
            ],
            &[],
            "?dc=d&ns=m",
        ),
    ] {
        let program = Program::new(arguments).env("CONSUL_HTTP_ADDR", &url);
        variables
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value))
            .run()
            .success();
        let path = server.requests().pop().unwrap().path;
        assert_eq!(
            path,
            format!("/v1/session/list{query}"),
            "{arguments:?} {variables:?}"
        );
    }
}

/// An empty parameter counts as not given, so the option applies.
#[test]
fn empty_parameters_do_not_override_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-the-file\n").unwrap();
    let server = empty_consul();
    let file = file.to_str().unwrap();
    let options = ["--address", &server.url(), "--token-file", file];
    let arguments = [&["apply", "state=list", "url=", "token="][..], &options].concat();
    run(&arguments).success();
    let request = server.requests().pop().unwrap();
    assert_eq!(request.header("x-consul-token"), Some("from-the-file"));
    run(&["--dev", "apply", "state=list", "url="]).success();
}

#[test]
fn apply_reports_usage_errors_as_json() {
    for arguments in [
        &["apply", "--bogus"][..],
        &["--datacenter", "list", "apply", "--bogus"],
        &["apply", "--timeout"],
    ] {
        let run = run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{arguments:?}");
        assert_eq!(run.json()["failed"], true, "{arguments:?}");
    }
    let help = run(&["apply", "help"]);
    assert!(
        help.code == 0 && help.stdout.contains("KEY=VALUE"),
        "{help:?}"
    );
}

/// No output format passes control characters from names to the terminal.
#[test]
fn control_characters_are_not_printed() {
    let name = "\u{9b}31mRED\u{7f}\u{202e}x";
    let session = json!([{
        "ID": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11", "Name": name, "Node": "n", "LockDelay": 0, "Behavior": "release", "TTL": "",
        "NodeChecks": [], "ServiceChecks": null, "CreateIndex": 1, "ModifyIndex": 1,
    }]);
    let server = Server::answering(200, &[], session.to_string());
    let url = server.url();
    for arguments in [
        &["list", "--output", "json", "--address", &url][..],
        &["list", "--output", "table", "--address", &url],
        &["apply", "state=list", "--address", &url],
        &["list", name],
    ] {
        let run = run(arguments);
        let said = run.stdout + &run.stderr;
        assert!(said.contains("RED"), "{said}");
        assert!(!said.contains(['\u{9b}', '\u{7f}', '\u{202e}']), "{said}");
    }
    let sessions = &run(&["apply", "state=list", "--address", &url]).success()["sessions"];
    assert_eq!(sessions[0]["Name"], name);
}

/// Users must be able to tell a default address from one that they set.
#[test]
fn failures_name_the_source_of_the_address() {
    let authority = format!("127.0.0.1:{}", closed_port());
    let run = Program::new(["apply", "state=list"])
        .env("CONSUL_HTTP_ADDR", &authority)
        .run();
    run.failure("transport")
        .says(&[&authority, "CONSUL_HTTP_ADDR"]);
    if TcpStream::connect(("localhost", 8500)).is_err() {
        let run = Program::new(["apply", "state=list"]).run();
        run.failure("transport")
            .says(&["http://localhost:8500", "default"]);
    }
}

/// `--dev` needs no Consul, and its sessions end with the command.
#[test]
fn dev_and_demo_start_their_own_agent() {
    let made = run(&["create", "cli-dev", "--dev", "--ttl", "30s"]).success();
    assert_eq!(
        (&made["changed"], &made["session"]["TTL"]),
        (&json!(true), &json!("30s"))
    );
    assert_eq!(run(&["list", "--dev"]).success()["sessions"], json!([]));
    let demo = run(&["demo"]);
    assert_eq!(demo.code, 0, "{demo:#?}");
}

#[test]
fn timeout_option_limits_the_call() {
    let server = Server::silent();
    let run = run(&["list", "--timeout", "300ms", "--address", &server.url()]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    // The default timeout is 10 s.
    assert!(run.took.as_secs() < 10, "{run:#?}");
}

#[test]
fn long_variables_are_refused_and_not_repeated() {
    for name in [
        "CONSUL_HTTP_ADDR",
        "CONSUL_CACERT",
        "CONSUL_TLS_SERVER_NAME",
        "CONSUL_NAMESPACE",
    ] {
        let run = Program::new(["list"]).env(name, "x".repeat(70_000)).run();
        assert_ne!(run.code, 0, "{name}");
        assert!(
            run.stderr.contains("longer than 4 KiB"),
            "{name}: {}",
            run.stderr.len()
        );
        assert!(run.stderr.len() < 500, "{name}: {}", run.stderr.len());
    }
}
