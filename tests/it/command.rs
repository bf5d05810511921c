//! The command component under wasmtime's own program. It takes the same parameters as `consul-session apply` and prints
//! the same results and messages, byte for byte.
//!
//! These tests need wasmtime's program, from `WASMTIME` or from PATH; `tests/hosts/wasmtime.sh` builds it.

use consul_session_tests::bad_server::{Server, closed_port};
use consul_session_tests::consul;
use consul_session_tests::program::{Program, Run};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

/// wasmtime's program, and the component, which it has compiled once.
struct Wasmtime {
    program: PathBuf,
    component: PathBuf,
    _folder: tempfile::TempDir,
}

fn wasmtime() -> Option<&'static Wasmtime> {
    static WASMTIME: OnceLock<Option<Wasmtime>> = OnceLock::new();
    let found = WASMTIME.get_or_init(|| {
        let named = std::env::var_os("WASMTIME").map(PathBuf::from);
        let on_path = || {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path)
                .map(|folder| folder.join("wasmtime"))
                .find(|program| program.is_file())
        };
        let program = named.or_else(on_path)?;
        let folder = tempfile::tempdir().unwrap();
        let wasm = folder.path().join("consul-session.wasm");
        let component = folder.path().join("consul-session.cwasm");
        let written = Program::new(["component", "command", "-o", wasm.to_str().unwrap()]).run();
        assert_eq!(written.code, 0, "{written:?}");
        let compiled = Program::other(
            &program,
            [
                "compile",
                wasm.to_str().unwrap(),
                "-o",
                component.to_str().unwrap(),
            ],
        )
        .run();
        assert_eq!(compiled.code, 0, "{compiled:?}");
        Some(Wasmtime {
            program,
            component,
            _folder: folder,
        })
    });
    if found.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no wasmtime program; set WASMTIME, or build one: tests/hosts/wasmtime.sh target/tools"
        );
    }
    found.as_ref()
}

impl Wasmtime {
    fn run(&self, environment: &[(&str, &str)], arguments: &[&str], input: Option<&str>) -> Run {
        let program = self.program(environment, arguments);
        match input {
            Some(input) => program.input(input).run(),
            None => program.run(),
        }
    }

    fn program(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Program {
        let mut all = vec![
            "run".to_owned(),
            "--allow-precompiled".to_owned(),
            "-S".to_owned(),
            "http".to_owned(),
        ];
        for (name, value) in environment {
            all.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        all.push(self.component.to_str().unwrap().to_owned());
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Program::other(&self.program, all)
    }
}

fn native(environment: &[(&str, &str)], arguments: &[&str], input: Option<&str>) -> Run {
    let mut all = vec!["apply"];
    all.extend(arguments);
    let mut program = Program::new(all);
    for (name, value) in environment {
        program = program.env(name, value);
    }
    match input {
        Some(input) => program.input(input).run(),
        None => program.run(),
    }
}

/// Runs the same call on both and compares the output. A component can fail only with exit code 1, so the native code 2
/// counts as 1.
#[track_caller]
fn same(environment: &[(&str, &str)], arguments: &[&str], input: Option<&str>) -> Option<Run> {
    let wasmtime = wasmtime()?;
    let native = native(environment, arguments, input);
    let stock = wasmtime.run(environment, arguments, input);
    assert_eq!(
        native.stdout, stock.stdout,
        "{arguments:?} {}",
        stock.stderr
    );
    assert_eq!(native.code.min(1), stock.code, "{arguments:?}");
    Some(stock)
}

#[test]
fn the_same_parameters_and_output() {
    if wasmtime().is_none() {
        return;
    }
    let Some(agent) = consul::plain() else { return };
    let url = format!("url={}", agent.http);
    let url = url.as_str();
    let name = "name=by command ü";
    let address = [("CONSUL_HTTP_ADDR", agent.http.as_str())];
    agent
        .api
        .create(&json!({"Name": "by command ü", "TTL": "30m"}));
    for arguments in [
        &["present", url, name, "ttl=30m"][..],
        &["present", url, name, "ttl=1800"],
        &["state=present", url, name, "ttl=1h"],
        &[
            "present",
            url,
            name,
            "ttl=1h",
            "recreate=yes",
            "check_mode=yes",
            "diff=yes",
        ],
        &[
            "present",
            url,
            "name=new",
            "delay=500ms",
            "behavior=delete",
            "checks=[]",
            "check_mode=yes",
            "diff=yes",
        ],
        &["info", url, name],
        &["info", url, "name=nobody"],
        &["info", url, "id=00000000-0000-0000-0000-000000000000"],
        &["info", url, "id=nonsense"],
        &["renew", url, name],
        &["renew", url, "name=nobody"],
        &["renew", url, "id=00000000-0000-0000-0000-000000000000"],
        &["node", url, "node=nobody"],
        &["node", url],
        &["absent", url, name, "check_mode=yes", "diff=yes"],
        &["absent", url, "name=nobody"],
        &["absent", url, "id=00000000-0000-0000-0000-000000000000"],
        &["present", url, "name=x", "ttl=5"],
        &["present", url, "name=x", "node=no-such-node"],
        &["present", url, "name=x", "checks=no-such-check"],
        &["list", url, "datacenter=nowhere"],
        &["list", url, "namespace=team"],
        &["lisst", url],
        &["list", "nmae=x"],
        &["list", "list"],
        &["list", "url=http://u:p@h:1"],
        &["checks=[1"],
    ] {
        let _ = same(&[], arguments, None);
    }
    for input in [
        "",
        " ",
        "[]",
        "{",
        r#"{"state": "info", "name": "nobody"}"#,
        r#"{"state": "list", "port": "x"}"#,
    ] {
        let _ = same(&address, &["-"], Some(input));
        let _ = same(&address, &[], Some(input));
    }
    agent
        .api
        .put(
            "/v1/session/destroy/00000000-0000-0000-0000-000000000000",
            &Value::Null,
        )
        .unwrap();
}

#[test]
fn the_same_failures() {
    if wasmtime().is_none() {
        return;
    }
    let gone = format!("url=http://127.0.0.1:{}", closed_port());
    let _ = same(&[], &["list", &gone], None);
    let silent = Server::silent();
    let _ = same(
        &[],
        &["list", &format!("url={}", silent.url()), "timeout=700ms"],
        None,
    );
    for (status, text) in [
        (403, "Permission denied"),
        (429, ""),
        (500, "No cluster leader"),
        (200, "<html>"),
        (301, ""),
    ] {
        let server = Server::answering(status, &[("Location", "http://elsewhere")], text);
        let url = format!("url={}", server.url());
        let _ = same(&[], &["list", &url], None);
        let _ = same(&[], &["present", "unique=no", &url], None);
    }
}

#[test]
fn a_thousand_sessions() {
    if wasmtime().is_none() {
        return;
    }
    let Some(agent) = consul::Agent::start() else {
        return;
    };
    for number in 0..1000 {
        agent
            .api
            .create(&json!({"Name": format!("session {number}"), "NodeChecks": []}));
    }
    let url = format!("url={}", agent.http);
    let listed = same(&[], &["list", &url], None).unwrap();
    assert_eq!(listed.json()["sessions"].as_array().unwrap().len(), 1000);
}

#[test]
fn the_same_with_every_kind_of_token() {
    if wasmtime().is_none() {
        return;
    }
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let nobody = "00000000-0000-0000-0000-00000000dead";
    for token in ["", nobody, &acl.reader, &acl.powerless] {
        let environment = [
            ("CONSUL_HTTP_ADDR", acl.agent.http.as_str()),
            ("CONSUL_HTTP_TOKEN", token),
        ];
        let _ = same(&environment, &["present", "name=denied", "unique=no"], None);
        // Not `list`: other tests create sessions on the same agent between the two runs.
        let _ = same(&environment, &["info", "name=denied"], None);
        let _ = same(
            &environment,
            &["absent", "id=00000000-0000-0000-0000-000000000000"],
            None,
        );
    }
}

#[test]
fn sixty_creates_are_sixty_successes() {
    // With a declared length, a flush after the last byte may report that the stream is closed, although the request was
    // sent.
    let (Some(wasmtime), Some(agent)) = (wasmtime(), consul::plain()) else {
        return;
    };
    for round in 0..60 {
        let run = wasmtime.run(
            &[("CONSUL_HTTP_ADDR", &agent.http)],
            &["present", "name=flush", "unique=no", "ttl=30m"],
            None,
        );
        assert_eq!(run.code, 0, "{round}: {run:?}");
    }
    assert_eq!(agent.api.named("flush").len(), 60);
    let run = wasmtime.run(
        &[("CONSUL_HTTP_ADDR", &agent.http)],
        &["absent", "name=flush"],
        None,
    );
    assert_eq!(run.json()["session_ids"].as_array().unwrap().len(), 60);
}

#[test]
fn settings_that_only_the_host_has_are_refused() {
    let Some(wasmtime) = wasmtime() else { return };
    for (environment, arguments) in [
        (None, &["list", "validate_certs=no"][..]),
        (None, &["list", "ca_path=/etc/ssl/ca.pem"]),
        (None, &["list", "client_cert=/x", "client_key=/y"]),
        (Some(("CONSUL_CACERT", "/x")), &["list"]),
        (Some(("CONSUL_HTTP_SSL_VERIFY", "false")), &["list"]),
        (Some(("CONSUL_HTTP_TOKEN_FILE", "/x")), &["list"]),
        (Some(("CONSUL_TLS_SERVER_NAME", "x")), &["list"]),
    ] {
        let environment: Vec<_> = environment.into_iter().collect();
        let run = wasmtime.run(&environment, arguments, None);
        assert_eq!(
            (run.code, &run.json()["error"]["kind"]),
            (1, &json!("unsupported")),
            "{environment:?} {arguments:?}"
        );
    }
}

/// Standard input that is not UTF-8 or too large, and a standard output that is full.
#[test]
fn the_same_at_the_edges() {
    let Some(wasmtime) = wasmtime() else { return };
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(6 << 20));
    for input in [&b"{\"name\": \"\xff\"}"[..], large.as_bytes()] {
        let native = Program::new(["apply"]).input(input).run();
        let stock = wasmtime.program(&[], &[]).input(input).run();
        assert_eq!(native.stdout, stock.stdout);
        assert_eq!((native.code, stock.code), (1, 1));
    }
    for program in [
        Program::new(["apply", "help"]),
        wasmtime.program(&[], &["help"]),
    ] {
        let run = program.run();
        assert!(run.code == 0 && run.stdout.contains("Usage:"), "{run:?}");
    }
    #[cfg(target_os = "linux")]
    for program in [
        Program::new(["apply", "help"]),
        wasmtime.program(&[], &["help"]),
    ] {
        let run = program.output_to("/dev/full").run();
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("cannot write the result"), "{run:?}");
    }
}

#[test]
fn variables_and_help() {
    let (Some(wasmtime), Some(acl)) = (wasmtime(), consul::with_acl()) else {
        return;
    };
    let http = acl.agent.http.as_str();
    let denied = wasmtime.run(
        &[("CONSUL_HTTP_ADDR", http)],
        &["present", "unique=no"],
        None,
    );
    assert_eq!(denied.json()["error"]["kind"], "denied");
    let token = [
        ("CONSUL_HTTP_ADDR", http),
        ("CONSUL_HTTP_TOKEN", acl.writer.as_str()),
    ];
    let made = wasmtime.run(&token, &["present", "unique=no", "ttl=30m"], None);
    assert_eq!(made.code, 0, "{made:?}");
    made.never_says(&acl.writer);
    let help = wasmtime.run(&[], &["--help"], None);
    assert!(
        help.code == 0 && help.stdout.contains("Usage: wasmtime run -S http"),
        "{help:?}"
    );
}

#[test]
fn typed_functions_by_name() {
    let (Some(wasmtime), Some(agent)) = (wasmtime(), consul::plain()) else {
        return;
    };
    let call = format!(
        r#"info({{address: "{}", token: none, datacenter: none, namespace: none, partition: none, timeout: none}}, "00000000-0000-0000-0000-000000000000")"#,
        agent.http
    );
    let component = wasmtime.component.to_str().unwrap();
    let run = Program::other(
        &wasmtime.program,
        [
            "run",
            "--allow-precompiled",
            "-S",
            "http",
            "--invoke",
            &call,
            component,
        ],
    )
    .run();
    assert_eq!((run.code, run.stdout.trim()), (0, "ok(none)"), "{run:?}");
}
