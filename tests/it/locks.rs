//! The commands `lock`, `run`, `put` and `holder`, against Consul and against the development agent.
//!
//! COMMAND is mostly a shell that tells what happens by a line of output and ends with its input, so that nothing has to
//! be timed. Tests that wait for the end of a TTL are in `proof/`.
#![cfg(unix)]

use consul_session_dev_agent::DevAgent;
use consul_session_tests::api::Api;
use consul_session_tests::background::{Background, eventually, signal, wait_until};
use consul_session_tests::bad_server::Server;
use consul_session_tests::consul;
use consul_session_tests::program::{Program, Run, path};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// Says that the lock is held, and ends with its input.
const HOLD: [&str; 3] = ["sh", "-c", "echo held; exec cat"];

/// How soon a loss is noticed, if the machine is not too busy. The renewals of `--ttl 60s` would notice it after 20 s.
const SOON: Duration = Duration::from_secs(10);

/// A Consul to test against.
struct Site {
    http: String,
    api: Api,
}

/// Defines the tests: each function is run against Consul and against the development agent.
macro_rules! on_each_site {
    ($($name:ident,)*) => {
        mod with_consul {
            $(#[test]
            fn $name() {
                if let Some(site) = super::Site::consul() {
                    super::$name(&site);
                }
            })*
        }

        mod with_dev_agent {
            $(#[test]
            fn $name() {
                super::$name(super::Site::dev_agent());
            })*
        }
    };
}

on_each_site! {
    exit_status_of_the_command,
    commands_that_cannot_be_run,
    not_acquired_while_held,
    not_acquired_in_a_lock_delay,
    not_acquired_while_all_places_are_taken,
    a_waiter_whose_key_is_deleted_waits_on,
    unusable_keys,
    excludes_and_is_excluded_by_consul_lock,
    shares_a_semaphore_with_consul_lock,
    uses_the_keys_of_consul_lock,
    uses_or_refuses_odd_keys,
    environment_of_the_command,
    options_reach_the_command_as_variables,
    fencing_tokens_increase,
    descendants_do_not_delay_the_exit,
    put_writes_while_the_lock_is_held,
    put_writes_in_a_semaphore,
    put_is_refused_after_the_loss,
    put_knows_its_own_lock,
    holder_of_a_lock,
    holder_of_a_semaphore,
    loses_the_lock_with_its_session,
    loses_the_lock_with_its_key,
    loses_its_place_with_its_session,
    kills_after_the_grace,
    kills_what_the_command_has_left_behind,
    continues_after_the_loss_if_told_to,
    a_loss_while_stopped_is_noticed,
    a_pause_is_no_loss,
    signals_while_waiting,
    signals_while_releasing,
    signals_reach_the_command,
    run_keeps_a_session,
    run_loses_its_session,
}

impl Site {
    fn consul() -> Option<Site> {
        let agent = consul::real()?;
        Some(Site {
            http: agent.http.clone(),
            api: agent.api.clone(),
        })
    }

    /// One development agent for all tests.
    fn dev_agent() -> &'static Site {
        static AGENT: OnceLock<(Site, DevAgent, Runtime)> = OnceLock::new();
        let (site, ..) = AGENT.get_or_init(|| {
            let runtime = Runtime::new().unwrap();
            let agent = runtime.block_on(DevAgent::start()).unwrap();
            let http = agent.address().to_owned();
            let api = Api::new(&http);
            (Site { http, api }, agent, runtime)
        });
        site
    }

    /// Prepares a run of the program under test, which COMMAND may start as `$PROGRAM`.
    fn program<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Program {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        Program::new(arguments)
            .env("CONSUL_HTTP_ADDR", &self.http)
            .env("PROGRAM", path())
    }

    /// Runs `consul-session lock` with these options and COMMAND.
    fn lock(&self, options: &[&str], command: &[&str]) -> Run {
        self.program(locking(options, command)).run()
    }

    /// Starts `consul-session lock` with these options and COMMAND.
    fn start(&self, options: &[&str], command: &[&str]) -> Background {
        self.program(locking(options, command)).start()
    }

    /// Starts `consul-session lock` with these options, and waits until it holds the lock.
    fn hold(&self, options: &[&str]) -> Background {
        let mut holder = self.start(options, &HOLD);
        assert_eq!(holder.line(), "held");
        holder
    }

    /// Prepares `consul lock`, whose COMMAND is a line for the shell.
    fn consul_lock(&self, options: &[&str], prefix: &str, command: &str) -> Option<Program> {
        let program = consul::program().ok()?;
        let arguments = ["lock", "-pass-stdin"];
        let last = ["--", prefix, command];
        let arguments = arguments.iter().chain(options).chain(&last);
        let program = Program::other(program, arguments).env("PATH", "/usr/bin:/bin");
        Some(program.env("CONSUL_HTTP_ADDR", &self.http))
    }

    /// The session that holds a lock.
    fn session_of(&self, key: &str) -> String {
        let entry = self.api.key(key).unwrap();
        entry["Session"].as_str().unwrap().to_owned()
    }

    /// Panics if a key below the prefix is left, or a session of the default name or of one like the prefix.
    #[track_caller]
    fn nothing_is_left_of(&self, prefix: &str) {
        let below = format!("{}/", prefix.trim_end_matches('/'));
        assert_eq!(self.api.keys(&below), Vec::<String>::new());
        for name in [
            format!("consul-session lock {prefix}"),
            prefix.replace('/', "-"),
        ] {
            assert_eq!(self.api.named(&name), Vec::<Value>::new());
        }
    }

    /// Waits until there is a session of this name.
    fn wait_for_session(&self, name: &str) {
        eventually("created", || !self.api.named(name).is_empty());
    }
}

fn locking<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["lock"], options, &["--"], command].concat()
}

#[track_caller]
fn exits_with(code: i32, run: &Run) {
    assert_eq!(run.code, code, "{run:#?}");
    assert!(!run.stderr.contains("panicked"), "{run:#?}");
}

/// The process is over only when its shell is: a shell that nobody waits for stays as a zombie.
fn is_alive(id: &str) -> bool {
    let state = Program::other("ps", ["-o", "stat=", "-p", id]).run().stdout;
    !matches!(state.trim().chars().next(), None | Some('Z'))
}

/// Kills a process that a test has left behind, at the latest when the test panics.
struct LeftBehind(String);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        signal(self.0.parse().unwrap(), "KILL");
    }
}

fn exit_status_of_the_command(site: &Site) {
    let prefix = "locks/status";
    for places in ["1", "2"] {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 3", 3),
            ("exit 123", 123),
            ("exit 255", 255),
            ("kill -TERM $$", 143),
            ("kill -KILL $$", 137),
        ] {
            let run = site.lock(&["-n", places, prefix], &["sh", "-c", script]);
            exits_with(code, &run);
            assert_eq!((&*run.stdout, &*run.stderr), ("", ""), "{script}");
            site.nothing_is_left_of(prefix);
        }
    }
    let run = site.lock(&[prefix], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((&*run.stdout, &*run.stderr), ("out\n", "err\n"));
    let echo = site.program(locking(&[prefix], &["cat"])).input("in");
    assert_eq!(echo.run().stdout, "in");
}

fn commands_that_cannot_be_run(site: &Site) {
    let prefix = "locks/cannot-run";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("not-executable");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    for (command, code) in [
        (file.to_str().unwrap(), 126),
        (folder.path().to_str().unwrap(), 126),
        ("/nonexistent/program", 127),
        ("no-program-has-this-name", 127),
        ("", 127),
    ] {
        let run = site.lock(&[prefix], &[command]);
        exits_with(code, &run);
        let message = format!("error: cannot run `{command}`: ");
        assert!(run.stderr.starts_with(&message), "{run:#?}");
        site.nothing_is_left_of(prefix);
    }
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    for address in [
        "http://user:hidden@127.0.0.1:1",
        "http://127.0.0.1:1/?token=hidden",
    ] {
        for command in [
            &["lock", "p", "--", "true"][..],
            &["list"],
            &["apply", "{}"],
        ] {
            let run = Program::new(["--address", address].iter().chain(command)).run();
            exits_with(2, &run);
            run.never_says("hidden");
        }
    }
}

#[test]
fn wrong_usage_creates_nothing() {
    let server = Server::answering(400, &[], "");
    let url = server.url();
    let long = "a".repeat(5_000);
    let almost_too_long = "a".repeat(4_094);
    for prefix in [
        "",
        "/",
        "//",
        "a//b",
        "a//",
        "//a",
        "a/../b",
        "a/./b",
        "..",
        "a\nb",
        "a\u{7f}b",
        "a\u{85}b",
        &long,
        &almost_too_long,
    ] {
        for places in ["1", "2"] {
            let options = ["--address", &url, "lock", "-n", places, prefix];
            let run = Program::new([&options[..], &["--", "true"]].concat()).run();
            exits_with(2, &run);
            assert!(run.stderr.starts_with("error: "), "{run:#?}");
        }
        let holder = ["--address", &url, "holder", prefix];
        exits_with(2, &Program::new(holder).run());
    }
    for options in [
        &["--ttl", "9s"][..],
        &["--ttl", "9999ms"],
        &["--ttl", "86401s"],
        &["--ttl", "0"],
        &["--ttl", "-15s"],
        &["--ttl", "soon"],
        &["--ttl", ""],
        &["--ttl", "10s garbage"],
        &["--ttl", "10000000001ns"],
        &["--ttl", "99999999999999999999s"],
        &["--lock-delay", "61s"],
        &["--lock-delay", "x"],
        &["--grace", "30s"],
        &["--grace", "x"],
        &["--grace", "10s", "--ttl", "10s", "--lock-delay", "0"],
        &["--grace", "15s", "-n", "2"],
        &["--wait", "x"],
        &["--wait", "1s", "--try"],
        &["-n", "0"],
        &["-n", "-1"],
        &["-n", "4294967296"],
        &["--on-lost", "x"],
        &["--name", ""],
        &["--no-such-option"],
    ] {
        let arguments = [&["--address", &url, "lock"], options, &["prefix"]].concat();
        let run = Program::new([&arguments[..], &["--", "true"]].concat()).run();
        exits_with(2, &run);
        assert!(run.stderr.starts_with("error: "), "{options:?}: {run:#?}");
    }
    for arguments in [
        &["lock"][..],
        &["lock", "--", "true"],
        &["lock", "prefix"],
        &["lock", "prefix", "--"],
        &["lock", "prefix", "true"],
        &["run"],
        &["run", "name"],
        &["run", "name", "--"],
        &["run", "", "--", "true"],
        &["run", "name", "--ttl", "9s", "--", "true"],
        &["run", "name", "--grace", "15s", "--", "true"],
        &["run", "name", "--lock-delay", "1s", "--", "true"],
        &["put"],
        &["put", "key"],
        &["put", "", "value"],
        &["put", "key", "value"],
        &["holder"],
    ] {
        let arguments = [&["--address", &url], arguments].concat();
        exits_with(2, &Program::new(&arguments).run());
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn fails_before_the_command_is_started() {
    let marker = TempDir::new().unwrap();
    let marker = marker.path().join("started");
    let touch = ["touch", marker.to_str().unwrap()];
    // Nobody listens there.
    let nobody = Program::new(locking(&["locks/nobody"], &touch))
        .env("CONSUL_HTTP_ADDR", "http://127.0.0.1:1")
        .run();
    exits_with(125, &nobody);
    let silent = Server::silent();
    let in_vain = Program::new(locking(&["--wait", "1s", "locks/silent"], &touch))
        .env("CONSUL_HTTP_ADDR", silent.url())
        .run();
    exits_with(124, &in_vain);
    let no_consul = Server::answering(404, &[], "not here");
    let no_consul = Program::new(locking(&["locks/404"], &touch))
        .env("CONSUL_HTTP_ADDR", no_consul.url())
        .run();
    exits_with(125, &no_consul);
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let denied = Program::new(locking(&["locks/denied"], &touch))
        .env("CONSUL_HTTP_ADDR", &acl.agent.http)
        .env("CONSUL_HTTP_TOKEN", &acl.powerless)
        .run();
    exits_with(125, &denied);
    denied.never_says(&acl.powerless);
    // This token may create sessions, but write no keys.
    for places in ["1", "2"] {
        let name = "locks-half-denied";
        let options = ["--name", name, "-n", places, "locks/half-denied"];
        let denied = Program::new(locking(&options, &touch))
            .env("CONSUL_HTTP_ADDR", &acl.agent.http)
            .env("CONSUL_HTTP_TOKEN", &acl.writer)
            .run();
        exits_with(125, &denied);
        denied.never_says(&acl.writer);
        assert_eq!(acl.agent.api.named(name), Vec::<Value>::new());
    }
    assert!(!marker.exists());
}

#[test]
fn a_token_for_sessions_and_keys_suffices() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let (api, prefix) = (&acl.agent.api, "locks-acl/suffices");
    let rules =
        r#"session_prefix "" { policy = "write" } key_prefix "locks-acl/" { policy = "write" }"#;
    let policy = json!({"Name": "locks", "Rules": rules});
    api.put("/v1/acl/policy", &policy).unwrap();
    let token = json!({"Policies": [{"Name": "locks"}]});
    let token = api.put("/v1/acl/token", &token).unwrap();
    let token = token["SecretID"].as_str().unwrap();
    for places in ["1", "2"] {
        let options = ["-n", places, prefix];
        let script = "\"$PROGRAM\" put locks-acl/written value";
        let lock = Program::new(locking(&options, &["sh", "-c", script]))
            .env("CONSUL_HTTP_ADDR", &acl.agent.http)
            .env("CONSUL_HTTP_TOKEN", token)
            .env("PROGRAM", path())
            .run();
        exits_with(0, &lock);
        let entry = api.key("locks-acl/written").unwrap();
        assert_eq!(entry["Value"], "dmFsdWU=");
        api.delete("/v1/kv/locks-acl/written").unwrap();
        let mut sessions = api.sessions();
        sessions.retain(|session| session["Name"].as_str().unwrap().contains(prefix));
        assert_eq!((sessions, api.keys("locks-acl/")), (vec![], vec![]));
    }
}

#[test]
fn the_token_of_a_file_does_not_reach_the_command() {
    let Some(acl) = consul::with_acl() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, &acl.management).unwrap();
    let options = ["--token-file", file.to_str().unwrap(), "locks/token"];
    let lock =
        || Program::new(locking(&options, &["env"])).env("CONSUL_HTTP_ADDR", &acl.agent.http);
    let run = lock().run();
    exits_with(0, &run);
    run.never_says(&acl.management);
    assert!(!run.stdout.contains("CONSUL_HTTP_TOKEN"), "{run:#?}");
    // What is in the environment before stays there.
    let run = lock().env("CONSUL_HTTP_TOKEN", &acl.powerless).run();
    exits_with(0, &run);
    run.never_says(&acl.management);
    let variable = format!("CONSUL_HTTP_TOKEN={}\n", acl.powerless);
    assert!(run.stdout.contains(&variable), "{run:#?}");
}

fn not_acquired_while_held(site: &Site) {
    let prefix = "locks/held";
    let mut holder = site.hold(&[prefix]);
    for wait in [&["--try"][..], &["--wait", "0"], &["--wait", "300ms"]] {
        let run = site.lock(&[wait, &[prefix]].concat(), &["echo", "started"]);
        exits_with(124, &run);
        assert_eq!(run.stdout, "");
        let session = site.session_of(&format!("{prefix}/.lock"));
        assert!(run.stderr.contains(&session), "{run:#?}");
        if let ["--wait", "300ms"] = wait {
            assert!(run.took >= Duration::from_millis(300), "{run:#?}");
        }
    }
    // It is tried once, even if that takes longer.
    exits_with(124, &site.lock(&["--wait", "1ms", prefix], &["true"]));
    exits_with(0, &site.lock(&["--wait", "1ms", "locks/free"], &["true"]));
    // Only the holder's session is left.
    let name = format!("consul-session lock {prefix}");
    assert_eq!(site.api.named(&name).len(), 1);
    // Those who wait longer get it.
    let waiting = site.start(&["--wait", "100s", prefix], &["echo", "started"]);
    holder.end_input();
    exits_with(0, &holder.end());
    let run = waiting.end();
    exits_with(0, &run);
    assert_eq!(run.stdout, "started\n");
    site.nothing_is_left_of(prefix);
}

fn not_acquired_in_a_lock_delay(site: &Site) {
    let prefix = "locks/delayed";
    let key = format!("{prefix}/.lock");
    let lose = |delay| {
        let holder = site.hold(&["--lock-delay", delay, prefix]);
        site.api.destroy(&site.session_of(&key));
        exits_with(123, &holder.end());
        site.nothing_is_left_of(prefix);
    };
    lose("0");
    exits_with(0, &site.lock(&["--try", prefix], &["true"]));
    lose("1s");
    exits_with(0, &site.lock(&["--wait", "100s", prefix], &["true"]));
    lose("60s");
    for wait in ["0", "300ms"] {
        let run = site.lock(&["--wait", wait, prefix], &["echo", "started"]);
        exits_with(124, &run);
        assert_eq!(run.stdout, "");
        assert!(run.stderr.contains("lock delay"), "{run:#?}");
        site.nothing_is_left_of(prefix);
    }
}

fn not_acquired_while_all_places_are_taken(site: &Site) {
    let prefix = "locks/places";
    let options = ["-n", "2", prefix];
    let (mut first, mut second) = (site.hold(&options), site.hold(&options));
    let run = site.lock(&["--try", "-n", "2", prefix], &["echo", "started"]);
    exits_with(124, &run);
    assert_eq!(run.stdout, "");
    // Everyone must use the same number of places, and a semaphore is no lock.
    for places in ["3", "1"] {
        let run = site.lock(&["--try", "-n", places, prefix], &["echo", "started"]);
        exits_with(125, &run);
    }
    first.end_input();
    exits_with(0, &first.end());
    exits_with(0, &site.lock(&options, &["true"]));
    second.end_input();
    exits_with(0, &second.end());
    site.nothing_is_left_of(prefix);
    exits_with(0, &site.lock(&["-n", "3", prefix], &["true"]));
    site.nothing_is_left_of(prefix);
}

/// Its session is kept, and not left behind.
fn a_waiter_whose_key_is_deleted_waits_on(site: &Site) {
    let prefix = "locks/evicted";
    let name = "locks-evicted-waiter";
    let options = ["-n", "2", prefix];
    let mut first = site.hold(&options);
    let mut second = site.hold(&options);
    let waiter = ["-n", "2", "--name", name, prefix];
    let waiter = site.start(&waiter, &["echo", "started"]);
    let contenders = || {
        let mut keys = site.api.keys(&format!("{prefix}/"));
        keys.retain(|key| !key.ends_with("/.lock"));
        keys
    };
    eventually("joined", || contenders().len() == 3);
    let session = site.api.named(name).remove(0)["ID"].clone();
    let key = format!("{prefix}/{}", session.as_str().unwrap());
    site.api.delete(&format!("/v1/kv/{key}")).unwrap();
    for holder in [&mut first, &mut second] {
        holder.end_input();
    }
    exits_with(0, &waiter.end());
    exits_with(0, &first.end());
    exits_with(0, &second.end());
    assert_eq!(site.api.named(name), Vec::<Value>::new());
    site.nothing_is_left_of(prefix);
}

fn unusable_keys(site: &Site) {
    let prefix = "locks/unusable";
    let path = format!("/v1/kv/{prefix}/.lock?flags=7");
    site.api.put(&path, &json!("precious")).unwrap();
    for places in ["1", "2"] {
        let run = site.lock(&["--try", "-n", places, prefix], &["echo", "started"]);
        exits_with(125, &run);
        assert_eq!(run.stdout, "");
    }
    let entry = site.api.key(&format!("{prefix}/.lock")).unwrap();
    assert_eq!(entry["Flags"], 7);
    assert_eq!(entry["Value"], "InByZWNpb3VzIg==");
    site.api.delete(&path).unwrap();
    site.nothing_is_left_of(prefix);
}

/// Starts `consul lock`, and waits until it holds the lock.
#[track_caller]
fn hold_with_consul(program: Program) -> Background {
    let mut holder = program.start();
    assert_eq!(holder.line(), "held");
    holder
}

fn excludes_and_is_excluded_by_consul_lock(site: &Site) {
    let prefix = "locks/both";
    let theirs = |options: &[&str]| site.consul_lock(options, prefix, "echo held; exec cat");
    let Some(impatient) = theirs(&["-timeout=300ms"]) else {
        return;
    };
    let mut ours = site.hold(&[prefix]);
    let run = impatient.run();
    assert_ne!(run.code, 0, "{run:#?}");
    assert_eq!(run.stdout, "");
    let waiting = theirs(&[]).unwrap().start();
    ours.end_input();
    exits_with(0, &ours.end());
    let mut holder = waiting;
    assert_eq!(holder.line(), "held");
    let run = site.lock(&["--try", prefix], &["echo", "started"]);
    exits_with(124, &run);
    assert_eq!(run.stdout, "");
    let mut waiting = site.start(&[prefix], &HOLD);
    holder.end_input();
    assert_eq!(waiting.line(), "held");
    exits_with(0, &holder.end());
    waiting.end_input();
    exits_with(0, &waiting.end());
    site.nothing_is_left_of(prefix);
}

fn shares_a_semaphore_with_consul_lock(site: &Site) {
    let prefix = "locks/both-n";
    let theirs = |options: &[&str]| {
        let options = [&["-n=2"], options].concat();
        site.consul_lock(&options, prefix, "echo held; exec cat")
    };
    let Some(program) = theirs(&[]) else { return };
    let options = ["-n", "2", prefix];
    let mut consuls = hold_with_consul(program);
    let mut ours = site.hold(&options);
    // No place is left.
    let run = site.lock(&["--try", "-n", "2", prefix], &["echo", "started"]);
    exits_with(124, &run);
    let run = theirs(&["-timeout=300ms"]).unwrap().run();
    assert_ne!(run.code, 0, "{run:#?}");
    assert_eq!(run.stdout, "");
    // Each takes the place of the other.
    let mut waiting = theirs(&[]).unwrap().start();
    ours.end_input();
    exits_with(0, &ours.end());
    assert_eq!(waiting.line(), "held");
    let mut ours = site.start(&options, &HOLD);
    consuls.end_input();
    assert_eq!(ours.line(), "held");
    exits_with(0, &consuls.end());
    ours.end_input();
    waiting.end_input();
    exits_with(0, &ours.end());
    exits_with(0, &waiting.end());
}

fn uses_the_keys_of_consul_lock(site: &Site) {
    for prefix in [
        "locks-keys/ünïcødé/日本",
        "locks-keys/with spaces ",
        "locks-keys/+:;=,",
        "locks-keys/a+b:c;d=e,f",
        "locks-keys/a%2Fb%",
        "locks-keys/q?x#y&z",
        "locks-keys/'\"`$<>|*[]{}~!@()^",
        "locks-keys/.hidden/..x/...",
        "/locks-keys/leading",
        "locks-keys/trailing/",
        "/locks-keys/slashes/",
    ] {
        for (places, option) in [("1", "-n=1"), ("2", "-n=2")] {
            let Some(program) = site.consul_lock(&[option], prefix, "echo held; exec cat") else {
                return;
            };
            let mut holder = hold_with_consul(program);
            let theirs = site.api.keys("locks-keys/");
            let one = site.lock(&["--try", "-n", places, prefix], &["true"]);
            exits_with(if places == "1" { 124 } else { 0 }, &one);
            holder.end_input();
            exits_with(0, &holder.end());
            eventually("released", || {
                let places = site.api.keys("locks-keys/");
                places.iter().all(|key| key.ends_with("/.lock"))
            });
            let mut ours = site.hold(&["-n", places, prefix]);
            let keys = site.api.keys("locks-keys/");
            assert_eq!(general(&keys), general(&theirs));
            assert_eq!(keys.len(), places.parse::<usize>().unwrap());
            ours.end_input();
            exits_with(0, &ours.end());
            site.nothing_is_left_of("locks-keys/");
        }
    }
}

/// Of some keys, a proxy might make another path, so requests about them are refused.
fn uses_or_refuses_odd_keys(site: &Site) {
    for prefix in [
        "locks-odd/back\\slash",
        "locks-odd/%2e",
        "locks-odd/%2E%2e/x",
        "locks-odd/%2Fx",
        "locks-odd/x%2F/x",
        "locks-odd/%5C",
    ] {
        for places in ["1", "2"] {
            let options = ["--try", "-n", places, prefix];
            let run = site.lock(&options, &["sh", "-c", "echo \"$CONSUL_LOCK_KEY\""]);
            match run.code {
                0 => {
                    let key = run.stdout.trim_end();
                    assert!(key.starts_with(&format!("{prefix}/")), "{run:#?}");
                    assert!(key.len() <= prefix.len() + "/".len() + 36);
                }
                code => {
                    assert_eq!(code, 2, "{run:#?}");
                    assert!(run.stderr.contains("PREFIX"), "{run:#?}");
                }
            }
            site.nothing_is_left_of("locks-odd/");
        }
    }
}

/// Keys without the ids of sessions, which are 36 characters.
fn general(keys: &[String]) -> Vec<String> {
    let is_id = |name: &str| name.len() == 36 && !name.contains(|c: char| !c.is_ascii_graphic());
    keys.iter()
        .map(|key| match key.rsplit_once('/') {
            Some((prefix, name)) if is_id(name) => format!("{prefix}/ID"),
            _ => key.clone(),
        })
        .collect()
}

fn environment_of_the_command(site: &Site) {
    let prefix = "locks/environment";
    let script = "echo $CONSUL_LOCK_HELD,$CONSUL_LOCK_KEY,$CONSUL_LOCK_SESSION,$CONSUL_LOCK_FENCING_TOKEN,$OTHER; exec cat";
    for places in ["1", "2"] {
        let options = ["-n", places, "--name", "locks-environment", prefix];
        let lock = site.program(locking(&options, &["sh", "-c", script]));
        let mut lock = lock.env("OTHER", "kept").start();
        let line = lock.line();
        let session = site.api.named("locks-environment").remove(0);
        let session = session["ID"].as_str().unwrap().to_owned();
        let [held, key, id, token, other] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert_eq!((held, id, other), ("true", &*session, "kept"));
        // Who holds the key holds the lock.
        assert_eq!(site.session_of(key), session);
        let list = format!("{prefix}/.lock");
        assert_eq!(
            key,
            if places == "1" {
                list.clone()
            } else {
                format!("{prefix}/{session}")
            }
        );
        let index = site.api.key(&list).unwrap()["ModifyIndex"].clone();
        assert_eq!(token, index.to_string());
        lock.end_input();
        exits_with(0, &lock.end());
        site.nothing_is_left_of(prefix);
    }
}

/// So that `consul-session` and `consul` in COMMAND find the same Consul.
fn options_reach_the_command_as_variables(site: &Site) {
    let (prefix, key) = ("locks/options", "locks-options/key");
    let options = ["--address", &site.http, prefix];
    let script = format!("echo $CONSUL_HTTP_ADDR; \"$PROGRAM\" put {key} value");
    let lock = Program::new(locking(&options, &["sh", "-c", &script]))
        .env("CONSUL_HTTP_ADDR", "http://127.0.0.1:1")
        .env("PROGRAM", path());
    let run = lock.run();
    exits_with(0, &run);
    let address = run.stdout.lines().next().unwrap();
    assert_eq!(address.trim_end_matches('/'), site.http);
    assert!(site.api.key(key).is_some());
    site.api.delete(&format!("/v1/kv/{key}")).unwrap();
    site.nothing_is_left_of(prefix);
}

fn fencing_tokens_increase(site: &Site) {
    for places in ["1", "2"] {
        let mut last = 0;
        for _ in 0..3 {
            let options = ["-n", places, "locks/tokens"];
            let script = "echo $CONSUL_LOCK_FENCING_TOKEN";
            let run = site.lock(&options, &["sh", "-c", script]);
            exits_with(0, &run);
            let token = run.stdout.trim_end().parse::<u64>().unwrap();
            assert!(token > last, "{token} after {last}");
            last = token;
        }
    }
}

fn descendants_do_not_delay_the_exit(site: &Site) {
    let prefix = "locks/descendants";
    let script = "sleep 100 & echo $!";
    let mut lock = site.start(&[prefix], &["sh", "-c", script]);
    let sleep = LeftBehind(lock.line());
    let run = lock.end();
    exits_with(0, &run);
    assert!(run.took < Duration::from_secs(90), "{run:#?}");
    assert!(is_alive(&sleep.0));
    site.nothing_is_left_of(prefix);
}

/// Runs a script under a lock.
fn under_lock(site: &Site, prefix: &str, script: &str) -> Run {
    let run = site.lock(&[prefix], &["sh", "-c", script]);
    site.nothing_is_left_of(prefix);
    run
}

fn put_writes_while_the_lock_is_held(site: &Site) {
    let (prefix, key) = ("locks/put", "locks-put/ünï key+:;=,");
    let entry = || site.api.key(key).unwrap();
    let run = under_lock(site, prefix, &format!("\"$PROGRAM\" put '{key}' first"));
    exits_with(0, &run);
    let written = run.json();
    assert_eq!(
        (&written["changed"], &written["key"]),
        (&json!(true), &json!(key))
    );
    assert_eq!(written["modify_index"], entry()["ModifyIndex"]);
    assert_eq!(entry()["Value"], "Zmlyc3Q=");
    assert_eq!(entry()["Flags"], 0);
    // The flags are kept.
    let encoded = consul_session_tests::api::encoded(key);
    let path = format!("/v1/kv/{encoded}");
    let flags = 18_446_744_073_709_551_615_u64;
    let with_flags = format!("{path}?flags={flags}");
    site.api.put(&with_flags, &Value::Null).unwrap();
    let script = format!("printf 'a\\000\\n' | \"$PROGRAM\" put '{key}' -");
    exits_with(0, &under_lock(site, prefix, &script));
    assert_eq!(entry()["Value"], "YQAK");
    assert_eq!(entry()["Flags"], flags);
    exits_with(
        0,
        &under_lock(site, prefix, &format!("\"$PROGRAM\" put '{key}' ''")),
    );
    assert_eq!(entry()["Value"], Value::Null);
    // Another session holds the key.
    let session = site.api.create(&json!({"Name": "locks-put-other"}));
    assert!(site.api.acquire(key, &session, 5));
    let run = under_lock(site, prefix, &format!("\"$PROGRAM\" put '{key}' second"));
    run.failure("conflict").says(&[&session]);
    assert_eq!(entry()["Session"], json!(session));
    assert_eq!(entry()["Flags"], 5);
    site.api.destroy(&session);
    site.api.delete(&path).unwrap();
    // Keys that Consul would rewrite.
    for key in ["a//b", "/a", "a/../b", "a\tb"] {
        let run = under_lock(site, prefix, &format!("\"$PROGRAM\" put '{key}' value"));
        exits_with(2, &run);
    }
}

fn put_writes_in_a_semaphore(site: &Site) {
    let (prefix, key) = ("locks/put-n", "locks-put-n/key");
    let script = format!("\"$PROGRAM\" put {key} value; echo put $?; exec cat");
    let options = ["-n", "2", "--on-lost", "continue", prefix];
    let mut lock = site.start(&options, &["sh", "-c", &script]);
    assert!(lock.line().contains("changed"));
    assert_eq!(lock.line(), "put 0");
    assert_eq!(site.api.key(key).unwrap()["Value"], "dmFsdWU=");
    lock.end_input();
    exits_with(0, &lock.end());
    site.api.delete(&format!("/v1/kv/{key}")).unwrap();
    site.nothing_is_left_of(prefix);
}

fn put_is_refused_after_the_loss(site: &Site) {
    let (prefix, key) = ("locks/put-lost", "locks-put-lost/key");
    let script = format!("echo held; read line; \"$PROGRAM\" put {key} value; echo put $?");
    for places in ["1", "2"] {
        let options = [
            "-n",
            places,
            "--on-lost",
            "continue",
            "--name",
            "locks-put-lost",
            prefix,
        ];
        let mut lock = site.start(&options, &["sh", "-c", &script]);
        assert_eq!(lock.line(), "held");
        let session = site.api.named("locks-put-lost").remove(0);
        site.api.destroy(session["ID"].as_str().unwrap());
        lock.says("is lost");
        lock.write("go on");
        let failure: Value = serde_json::from_str(&lock.line()).unwrap();
        assert_eq!(failure["error"]["kind"], "conflict", "{failure}");
        assert_eq!(lock.line(), "put 1");
        exits_with(123, &lock.end());
        assert_eq!(site.api.key(key), None);
        site.nothing_is_left_of(prefix);
    }
}

/// In a session that `run` keeps inside of a lock, and in a lock inside of a lock.
fn put_knows_its_own_lock(site: &Site) {
    let (prefix, key) = ("locks/put-nested", "locks-put-nested/key");
    let put = format!("\"$PROGRAM\" put {key} value");
    let nested = |inner: &str| {
        let script = format!("\"$PROGRAM\" {inner} -- sh -c '{put}'");
        under_lock(site, prefix, &script)
    };
    exits_with(0, &nested("lock locks/put-nested/inner"));
    assert!(site.api.key(key).is_some());
    site.api.delete(&format!("/v1/kv/{key}")).unwrap();
    // The session that `run` keeps holds no lock.
    exits_with(2, &nested("run locks-put-nested"));
    assert_eq!(site.api.key(key), None);
}

fn holder_of_a_lock(site: &Site) {
    let prefix = "locks/holder";
    let holder = |arguments: &[&str]| site.program([&["holder"], arguments].concat()).run();
    let free = json!({"held": false, "kind": "lock", "limit": 1, "holders": [], "fencing_token": null, "value": ""});
    assert_eq!(holder(&[prefix]).success(), free);
    let mut lock = site.hold(&["--name", "locks-holder", prefix]);
    let entry = site.api.key(&format!("{prefix}/.lock")).unwrap();
    let node = site.api.named("locks-holder")[0]["Node"].clone();
    for prefix in [prefix, "/locks/holder", "locks/holder/"] {
        let held = holder(&[prefix]).success();
        assert_eq!(
            held,
            json!({
                "held": true,
                "kind": "lock",
                "limit": 1,
                "holders": [{"session": entry["Session"], "name": "locks-holder", "node": node}],
                "fencing_token": entry["ModifyIndex"],
                "value": "",
            })
        );
    }
    let table = holder(&["--output", "table", prefix]).stdout;
    let session = entry["Session"].as_str().unwrap();
    assert!(
        table.contains(session) && table.contains("locks-holder"),
        "{table}"
    );
    lock.end_input();
    exits_with(0, &lock.end());
    assert_eq!(holder(&[prefix]).success(), free);
    let failed = Program::new(["--address", "http://127.0.0.1:1", "holder", prefix]).run();
    exits_with(1, &failed);
}

fn holder_of_a_semaphore(site: &Site) {
    let prefix = "locks/holder-n";
    let holder = || site.program(["holder", prefix]).run().success();
    let mut holding = Vec::new();
    for number in 1..=2 {
        let name = format!("locks-holder-n-{number}");
        holding.push(site.hold(&["-n", "3", "--name", &name, prefix]));
        let held = holder();
        assert_eq!(held["held"], true);
        assert_eq!(
            (&held["kind"], &held["limit"]),
            (&json!("semaphore"), &json!(3))
        );
        let holders = held["holders"].as_array().unwrap();
        assert_eq!(holders.len(), number);
        assert!(holders.iter().any(|holder| holder["name"] == name));
    }
    for mut lock in holding {
        lock.end_input();
        exits_with(0, &lock.end());
    }
    assert_eq!(holder()["held"], false);
}

/// Waits for the end of a run whose lock was lost at this moment.
#[track_caller]
fn lost(lock: Background, moment: Instant) -> Run {
    let run = lock.end();
    let elapsed = moment.elapsed();
    exits_with(123, &run);
    assert!(run.stderr.contains("is lost"), "{run:#?}");
    assert!(elapsed < SOON, "{elapsed:?}: {run:#?}");
    run
}

fn loses_the_lock_with_its_session(site: &Site) {
    let prefix = "locks/lost-session";
    // It ends by SIGTERM, and may say so.
    let script = "exec 3<&0; trap 'echo terminated; exit 5' TERM; echo held; cat <&3 & wait";
    let options = ["--ttl", "60s", "--lock-delay", "0", prefix];
    let mut lock = site.start(&options, &["sh", "-c", script]);
    assert_eq!(lock.line(), "held");
    let moment = Instant::now();
    site.api
        .destroy(&site.session_of(&format!("{prefix}/.lock")));
    let run = lost(lock, moment);
    assert_eq!(run.stdout, "held\nterminated\n");
    site.nothing_is_left_of(prefix);
}

fn loses_the_lock_with_its_key(site: &Site) {
    let prefix = "locks/lost-key";
    let key = format!("{prefix}/.lock");
    let path = format!("/v1/kv/{key}");
    let delete = || drop(site.api.delete(&path).unwrap());
    let release = || {
        let session = site.session_of(&key);
        // The flags would be 0 otherwise.
        let path = format!("{path}?release={session}&flags={LOCK_FLAGS}");
        assert_eq!(site.api.put(&path, &Value::Null).unwrap(), json!(true));
    };
    let lose: [&dyn Fn(); 2] = [&delete, &release];
    for lose in lose {
        let lock = site.hold(&["--ttl", "60s", prefix]);
        let moment = Instant::now();
        lose();
        lost(lock, moment);
        site.nothing_is_left_of(prefix);
    }
    // Another contender takes it, and keeps it.
    let lock = site.hold(&["--ttl", "60s", "--name", "locks-lost-key", prefix]);
    let mut next = site.start(&["--name", "locks-lost-key-next", prefix], &HOLD);
    site.wait_for_session("locks-lost-key-next");
    let moment = Instant::now();
    delete();
    lost(lock, moment);
    assert_eq!(next.line(), "held");
    assert!(!next.has_ended());
    next.end_input();
    exits_with(0, &next.end());
    site.nothing_is_left_of(prefix);
}

fn loses_its_place_with_its_session(site: &Site) {
    let (prefix, name) = ("locks/lost-place", "locks-lost-place");
    let session = |name: &str| {
        let session = site.api.named(name).remove(0);
        session["ID"].as_str().unwrap().to_owned()
    };
    let other_name = "locks-lost-place-other";
    let mut other = site.hold(&["--name", other_name, "-n", "2", prefix]);
    let destroy = || site.api.destroy(&session(name));
    let delete = || {
        let path = format!("/v1/kv/{prefix}/{}", session(name));
        site.api.delete(&path).unwrap();
    };
    // Only the list names it no longer.
    let strike = || {
        let key = format!("{prefix}/.lock");
        let entry = site.api.key(&key).unwrap();
        let rest = json!({"Limit": 2, "Holders": {session(other_name): true}});
        let path = format!("/v1/kv/{key}?flags={}", entry["Flags"]);
        site.api.put(&path, &rest).unwrap();
    };
    let lose: [&dyn Fn(); 3] = [&destroy, &delete, &strike];
    for lose in lose {
        let options = ["--ttl", "60s", "--name", name, "-n", "2", prefix];
        let lock = site.hold(&options);
        let moment = Instant::now();
        lose();
        lost(lock, moment);
        assert_eq!(site.api.named(name), Vec::<Value>::new());
    }
    assert!(!other.has_ended());
    other.end_input();
    exits_with(0, &other.end());
    site.nothing_is_left_of(prefix);
}

fn kills_after_the_grace(site: &Site) {
    let prefix = "locks/grace";
    let script = "trap '' TERM; echo held; exec cat";
    let mut lock = site.start(
        &["--ttl", "60s", "--grace", "1500ms", prefix],
        &["sh", "-c", script],
    );
    assert_eq!(lock.line(), "held");
    let moment = Instant::now();
    site.api
        .destroy(&site.session_of(&format!("{prefix}/.lock")));
    lost(lock, moment);
    assert!(moment.elapsed() >= Duration::from_millis(1_500));
    site.nothing_is_left_of(prefix);
}

/// Also processes of COMMAND's group stop when the lock is lost.
fn kills_what_the_command_has_left_behind(site: &Site) {
    let prefix = "locks/group";
    // The shell ends by SIGTERM, whereas its child ignores it.
    let script = "sh -c 'trap \"\" TERM; echo held; exec sleep 100' & echo $!; wait";
    let options = ["--ttl", "60s", "--grace", "1s", prefix];
    let mut lock = site.start(&options, &["sh", "-c", script]);
    let mut lines = [lock.line(), lock.line()];
    lines.sort();
    let [id, held] = lines;
    assert_eq!(held, "held");
    let child = LeftBehind(id);
    let moment = Instant::now();
    site.api
        .destroy(&site.session_of(&format!("{prefix}/.lock")));
    lost(lock, moment);
    eventually("killed", || !is_alive(&child.0));
    site.nothing_is_left_of(prefix);
}

fn continues_after_the_loss_if_told_to(site: &Site) {
    let prefix = "locks/continue";
    let script = "trap 'echo terminated' TERM; echo held; read line; exit 0";
    for places in ["1", "2"] {
        let options = [
            "--on-lost",
            "continue",
            "--ttl",
            "60s",
            "--name",
            "locks-continue",
            "-n",
            places,
            prefix,
        ];
        let mut lock = site.start(&options, &["sh", "-c", script]);
        assert_eq!(lock.line(), "held");
        let session = site.api.named("locks-continue").remove(0);
        let moment = Instant::now();
        site.api.destroy(session["ID"].as_str().unwrap());
        // At once, not in the end.
        lock.says("is lost");
        assert!(moment.elapsed() < SOON);
        assert!(!lock.has_ended());
        lock.write("go on");
        let run = lock.end();
        exits_with(123, &run);
        assert_eq!(run.stdout, "held\n");
        site.nothing_is_left_of(prefix);
    }
}

/// Consul is asked after a pause.
fn a_loss_while_stopped_is_noticed(site: &Site) {
    let prefix = "locks/lost-while-stopped";
    let mut lock = site.hold(&["--ttl", "60s", prefix]);
    lock.signal("STOP");
    site.api
        .destroy(&site.session_of(&format!("{prefix}/.lock")));
    lock.signal("CONT");
    lost(lock, Instant::now());
    site.nothing_is_left_of(prefix);
}

fn a_pause_is_no_loss(site: &Site) {
    let prefix = "locks/stopped";
    let mut lock = site.hold(&["--ttl", "60s", prefix]);
    lock.signal("STOP");
    lock.signal("CONT");
    lock.write("still there");
    assert_eq!(lock.line(), "still there");
    lock.end_input();
    exits_with(0, &lock.end());
    site.nothing_is_left_of(prefix);
}

fn signals_while_waiting(site: &Site) {
    let prefix = "locks/signal-waiting";
    for places in ["1", "2"] {
        let mut holders = vec![site.hold(&["-n", places, prefix])];
        if places == "2" {
            holders.push(site.hold(&["-n", places, prefix]));
        }
        for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3)] {
            let session = format!("locks-signal-{places}-{name}");
            let options = ["-n", places, "--name", &session, prefix];
            let mut waiting = site.start(&options, &["echo", "started"]);
            site.wait_for_session(&session);
            if places == "2" {
                // Its key names it.
                let id = site.api.named(&session).remove(0)["ID"].clone();
                let key = format!("{prefix}/{}", id.as_str().unwrap());
                eventually("joined", || site.api.key(&key).is_some());
            }
            waiting.signal(name);
            let run = waiting.end();
            exits_with(128 + number, &run);
            assert_eq!(run.stdout, "");
            assert_eq!(site.api.named(&session), Vec::<Value>::new());
        }
        for mut holder in holders {
            holder.end_input();
            exits_with(0, &holder.end());
        }
        site.nothing_is_left_of(prefix);
    }
}

/// COMMAND has ended, Consul takes a moment to release the lock, and SIGTERM comes.
fn signals_while_releasing(site: &Site) {
    let prefix = "locks/signal-releasing";
    let (releases, releasing) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel();
    let gone_on = Mutex::new(gone_on);
    let consul = site.http.strip_prefix("http://").unwrap().to_owned();
    let server = Server::after_request(move |request, client| {
        if String::from_utf8_lossy(&request.body).contains("\"delete\"") {
            releases.send(()).unwrap();
            gone_on.lock().unwrap().recv().unwrap();
        }
        let mut upstream = TcpStream::connect(&consul)?;
        request.write(&mut upstream, &consul)?;
        io::copy(&mut upstream, client).map(|_| ())
    });
    let mut lock = Program::new(locking(&[prefix], &["true"]))
        .env("CONSUL_HTTP_ADDR", server.url())
        .start();
    releasing.recv_timeout(Duration::from_secs(60)).unwrap();
    lock.signal("TERM");
    // The time only matters to programs that end.
    assert!(!wait_until(Duration::from_millis(300), || lock.has_ended()));
    go_on.send(()).unwrap();
    exits_with(0, &lock.end());
    site.nothing_is_left_of(prefix);
}

fn signals_reach_the_command(site: &Site) {
    let prefix = "locks/signal";
    for name in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
        let script = format!(
            "exec 3<&0; trap 'echo got {name}; exit 7' {name}; echo held; cat <&3 & wait $!"
        );
        let mut lock = site.start(&[prefix], &["sh", "-c", &script]);
        assert_eq!(lock.line(), "held");
        lock.signal(name);
        let run = lock.end();
        exits_with(7, &run);
        assert_eq!(run.stdout, format!("held\ngot {name}\n"));
        site.nothing_is_left_of(prefix);
    }
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        for places in ["1", "2"] {
            let mut lock = site.hold(&["-n", places, prefix]);
            lock.signal(name);
            exits_with(128 + number, &lock.end());
            site.nothing_is_left_of(prefix);
        }
    }
    // COMMAND may go on.
    let script = "trap 'echo ignored' TERM; echo held; read line; read line; exit 0";
    let mut lock = site.start(&[prefix], &["sh", "-c", script]);
    assert_eq!(lock.line(), "held");
    lock.signal("TERM");
    assert_eq!(lock.line(), "ignored");
    lock.end_input();
    exits_with(0, &lock.end());
    site.nothing_is_left_of(prefix);
}

fn run_keeps_a_session(site: &Site) {
    let name = "locks-run";
    let session = |options: &[&'static str], command: &[&'static str]| {
        site.program([&["run"], options, &[name, "--"], command].concat())
    };
    let script = "echo $CONSUL_LOCK_SESSION,$CONSUL_LOCK_HELD,$CONSUL_LOCK_KEY,$CONSUL_LOCK_FENCING_TOKEN; exec cat";
    let mut run = session(&["--ttl", "30s"], &["sh", "-c", script]).start();
    let line = run.line();
    let there = site.api.named(name);
    assert_eq!(there.len(), 1);
    assert_eq!(there[0]["TTL"], "30s");
    assert_eq!(line, format!("{},,,", there[0]["ID"].as_str().unwrap()));
    run.end_input();
    exits_with(0, &run.end());
    assert_eq!(site.api.named(name), Vec::<Value>::new());
    for (command, code) in [
        (&["sh", "-c", "exit 4"][..], 4),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["/"], 126),
        (&["no-program-has-this-name"], 127),
    ] {
        exits_with(code, &session(&[], command).run());
        assert_eq!(site.api.named(name), Vec::<Value>::new());
    }
    let mut run = session(&[], &HOLD).start();
    assert_eq!(run.line(), "held");
    run.signal("INT");
    exits_with(130, &run.end());
    assert_eq!(site.api.named(name), Vec::<Value>::new());
}

fn run_loses_its_session(site: &Site) {
    let name = "locks-run-lost";
    for on_lost in ["terminate", "continue"] {
        let options = ["run", "--ttl", "60s", "--on-lost", on_lost, name, "--"];
        let mut run = site.program([&options[..], &HOLD].concat()).start();
        assert_eq!(run.line(), "held");
        let session = site.api.named(name).remove(0);
        let moment = Instant::now();
        site.api.destroy(session["ID"].as_str().unwrap());
        run.says("is lost");
        if on_lost == "continue" {
            run.write("go on");
            assert_eq!(run.line(), "go on");
            run.end_input();
        }
        lost(run, moment);
        assert_eq!(site.api.named(name), Vec::<Value>::new());
    }
}

/// `--dev` starts an agent that COMMAND can use too.
#[test]
fn development_agent_of_the_lock() {
    let script = "\"$PROGRAM\" put key value && \"$PROGRAM\" holder dev";
    let run = Program::new(locking(&["--dev", "dev"], &["sh", "-c", script]))
        .env("PROGRAM", path())
        .env("CONSUL_HTTP_ADDR", "http://127.0.0.1:1")
        .run();
    exits_with(0, &run);
    assert!(run.stdout.contains("\"held\":true"), "{run:#?}");
}

/// A file that nobody may execute, and arguments that are not UTF-8.
#[test]
fn arguments_of_the_command_are_not_changed() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let site = Site::dev_agent();
    let odd = OsString::from_vec(b"\xff \n'\"".to_vec());
    let mut arguments: Vec<OsString> = ["lock", "locks/arguments", "--", "printf", "%s.", "", "--"]
        .map(OsString::from)
        .to_vec();
    arguments.push(odd);
    let output = Program::new(arguments)
        .env("CONSUL_HTTP_ADDR", &site.http)
        .output();
    assert_eq!(output.stdout, b".--.\xff \n'\".", "{output:?}");
}

/// The program is found by the same rules as from a shell.
#[test]
fn commands_are_found_on_the_path() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::dev_agent();
    let folder = TempDir::new().unwrap();
    let file: PathBuf = folder.path().join("locks-command");
    fs::write(&file, "#!/bin/sh\nexit 9\n").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&file, executable).unwrap();
    let lock = site
        .program(["lock", "locks/path", "--", "locks-command"])
        .env("PATH", folder.path());
    exits_with(9, &lock.run());
}
