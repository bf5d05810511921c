//! The components on other hosts: Python (wasmtime-py), JavaScript (transpiled by jco) and Ansible, with HTTP of their own
//! (`embedded`) or the host's (`plugin`). Each runs the same list of operations as the program `consul-session`, and must
//! return the same results.
//!
//! These tests install pinned packages under `target/`, so they run only if `CI` or `CONSUL_SESSION_HOSTS` is set.

use consul_session_tests::bad_server::Server;
use consul_session_tests::consul;
use consul_session_tests::program::{Program, path};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts")
}

/// The directory with the installed packages, and the components.
struct Installed {
    folder: PathBuf,
    embedded: PathBuf,
    plugin: PathBuf,
}

fn installed() -> Option<&'static Installed> {
    static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        if std::env::var_os("CI").is_none() && std::env::var_os("CONSUL_SESSION_HOSTS").is_none() {
            return None;
        }
        let target = std::env::current_exe()
            .unwrap()
            .ancestors()
            .nth(3)
            .unwrap()
            .to_owned();
        let folder = target.join("hosts");
        let output = Command::new("bash")
            .arg(here().join("setup.sh"))
            .arg(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let component = |name: &str| {
            let file = folder.join(name).with_extension("wasm");
            let written = Program::new(["component", name, "-o", file.to_str().unwrap()]).run();
            assert_eq!(written.code, 0, "{written:?}");
            file
        };
        Some(Installed {
            embedded: component("embedded"),
            plugin: component("plugin"),
            folder,
        })
    });
    if installed.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: other hosts; set CONSUL_SESSION_HOSTS=1 to install them under target/"
        );
    }
    installed.as_ref()
}

/// Standard output and standard error.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Runs the operations on a host and returns the results by the operation's name.
fn operations(
    host: &str,
    component: &Path,
    installed: &Installed,
) -> Option<BTreeMap<String, Value>> {
    // Not a shared agent, because the operations list all sessions.
    let (plain, acl) = (consul::Agent::start()?, consul::with_acl()?);
    let hanging = Server::silent();
    let output = Command::new("bash")
        .arg(here().join("run.sh"))
        .args([host])
        .args([&installed.folder, component])
        .env("CONSUL_HTTP_ADDR", &plain.http)
        .env("CONSUL_ACL_ADDR", &acl.agent.http)
        .env("CONSUL_ACL_TOKEN_READONLY", &acl.reader)
        .env("HANGING_ADDR", hanging.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{host}: {}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let results: BTreeMap<String, Value> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["operation"].as_str().unwrap().to_owned(), line)
        })
        .collect();
    Some(results)
}

#[track_caller]
fn same_as_natively(host: &str, component: fn(&Installed) -> &Path) {
    let Some(installed) = installed() else { return };
    let Some(native) = operations("native", &path(), installed) else {
        return;
    };
    let stock = operations(host, component(installed), installed).unwrap();
    assert!(
        stock.len() > 10,
        "{host} ran only {} operations",
        stock.len()
    );
    let mut compared = 0;
    for (name, result) in &stock {
        if let Some(native) = native.get(name) {
            assert_eq!(result, native, "{host}: {name}");
            compared += 1;
        }
    }
    assert!(
        compared > 10,
        "{host} has only {compared} operations in common with the program"
    );
}

fn embedded(installed: &Installed) -> &Path {
    &installed.embedded
}

fn plugin(installed: &Installed) -> &Path {
    &installed.plugin
}

#[test]
fn python() {
    same_as_natively("python", embedded);
}

#[test]
fn python_with_the_plugin() {
    same_as_natively("python", plugin);
}

#[test]
fn javascript() {
    same_as_natively("javascript", embedded);
}

#[test]
fn javascript_with_the_plugin() {
    same_as_natively("jco", plugin);
}

#[test]
fn ansible() {
    same_as_natively("ansible", embedded);
}

/// The program cannot call the typed functions, so two other hosts are compared with each other.
#[test]
fn typed_functions_in_python_and_javascript() {
    let Some(installed) = installed() else { return };
    let Some(python) = operations("python", &installed.embedded, installed) else {
        return;
    };
    let javascript = operations("javascript", &installed.embedded, installed).unwrap();
    let mut compared = 0;
    for (name, result) in python.iter().filter(|(name, _)| name.starts_with("typed")) {
        assert_eq!(javascript.get(name), Some(result), "{name}");
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} typed operations");
}

/// The examples, unchanged, and what callers' mistakes lead to.
#[test]
fn the_examples() {
    // Not a shared agent, because the names in the examples are fixed.
    let (Some(installed), Some(agent)) = (installed(), consul::Agent::start()) else {
        return;
    };
    let output = Command::new("bash")
        .arg(here().join("examples.sh"))
        .args([&installed.folder, &installed.embedded, &installed.plugin])
        .env("CONSUL_HTTP_ADDR", &agent.http)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Runs the command with `jco run`, which passes on its own environment and exits with 1 on every failure.
#[test]
fn jco_runs_the_command() {
    // Not a shared agent, because the test lists all sessions.
    let (Some(installed), Some(agent)) = (installed(), consul::Agent::start()) else {
        return;
    };
    let command = installed.folder.join("command.wasm");
    let written = Program::new(["component", "command", "-o", command.to_str().unwrap()]).run();
    assert_eq!(written.code, 0, "{written:?}");
    let path = std::env::var("PATH").unwrap();
    let jco = |arguments: &[&str]| {
        let program = installed.folder.join("jco/node_modules/.bin/jco");
        let mut all = vec!["run", command.to_str().unwrap()];
        all.extend(arguments);
        Program::other(program, all)
            .env("PATH", &path)
            .env("HOME", installed.folder.as_os_str())
            .env("CONSUL_HTTP_ADDR", &agent.http)
            .run()
    };
    let native = |arguments: &[&str]| {
        let mut all = vec!["apply"];
        all.extend(arguments);
        Program::new(all).env("CONSUL_HTTP_ADDR", &agent.http).run()
    };
    let hanging = Server::silent();
    let made = jco(&["present", "name=jco ü", "ttl=30m", "node_checks=[]"]);
    assert_eq!(
        (made.code, &made.json()["changed"]),
        (0, &serde_json::json!(true)),
        "{made:?}"
    );
    for arguments in [
        &["present", "name=jco ü", "ttl=30m", "node_checks=[]"][..],
        &["info", "name=jco ü"],
        &["present", "name=jco ü", "ttl=1h"],
        &["renew", "name=jco ü"],
        &["node", "node=nobody"],
        &["node", &format!("node={}", consul::NODE)],
        &["list"],
        &["absent", "name=nobody"],
        &["list", "nmae=x"],
        &["list", "url=http://127.0.0.1:1"],
    ] {
        let (jco, native) = (jco(arguments), native(arguments));
        assert_eq!(jco.stdout, native.stdout, "{arguments:?} {}", jco.stderr);
        assert_eq!(jco.code, native.code, "{arguments:?}");
    }
    let late = jco(&["list", "timeout=1s", &format!("url={}", hanging.url())]);
    assert_eq!(late.json()["error"]["kind"], "timeout", "{late:?}");
    let shown = Command::new(installed.folder.join("jco/node_modules/.bin/jco"))
        .args(["metadata-show", command.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        shown.status.success() && text(&shown).contains("consul-session"),
        "{}",
        text(&shown)
    );
    let gone = jco(&["absent", "name=jco ü"]);
    assert_eq!(
        gone.json()["session_ids"].as_array().unwrap().len(),
        1,
        "{gone:?}"
    );
}

#[test]
fn a_playbook_that_used_the_original() {
    let (Some(installed), Some(agent)) = (installed(), consul::Agent::start()) else {
        return;
    };
    let output = Command::new("bash")
        .arg(here().join("ansible/playbook.sh"))
        .args([&installed.folder, &installed.embedded])
        .env("CONSUL_HTTP_ADDR", &agent.http)
        .env("CONSUL_NODE", consul::NODE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
