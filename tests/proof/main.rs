//! What the locks of `consul-session` promise, tried against a real Consul, a cluster of three servers and the development
//! agent. Prints its evidence.
//!
//! `cargo test --workspace --test proof` takes less than a minute. `cargo test --workspace --test proof -- --long` takes
//! about half an hour, most of it for TTLs to pass. `--help` lists the parts.
//!
//! | file | part |
//! |---|---|
//! | `contention.rs` | `contention`: contenders for a minute, with a checker that does not trust the lock |
//! | `crash.rs` | `crash`: a holder is killed; `stopped`: a holder is stopped until its session has expired |
//! | `cluster.rs` | three servers on 127.0.0.2 to 127.0.0.4 |
//! | `elections.rs` | `leader`: leaders are killed under held locks; `quorum`: the majority is gone for longer than the TTL |
//! | `outage.rs` | `outage`: Consul hangs |
//! | `requests.rs` | `requests`: what ten contenders cost, counted by a proxy |
//! | `kills.rs` | `kills`: rounds of random signals, and what they leave behind |
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a part fails, and the evidence is printed"
)]

mod cluster;
mod contention;
mod crash;
mod elections;
mod kills;
mod outage;
mod proxy;
mod requests;

use consul_session_dev_agent::DevAgent;
use consul_session_tests::api::Api;
use consul_session_tests::background::Background;
use consul_session_tests::consul::{self, Agent};
use consul_session_tests::program::{Program, Run, path};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const USAGE: &str = "\
usage: cargo test --workspace --test proof -- [PART]... [--long] [--seconds N] [--rounds N] [--seed N]

PART       contention, requests, kills; with --long also crash, stopped, leader, quorum, outage; default: all of these
--long     contend for a minute, and take 200 rounds of kills
--seconds  contend for so long
--rounds   rounds of kills, and three plus a hundredth of them of elections
--seed     for the random numbers; default: 1
";

/// The parts, and whether they are among the short ones.
type Part = (&'static str, bool, fn(&Options));

const PARTS: [Part; 8] = [
    ("contention", true, contention::run),
    ("requests", true, requests::run),
    ("kills", true, kills::run),
    ("crash", false, crash::killed),
    ("stopped", false, crash::stopped),
    ("leader", false, elections::leaders_killed),
    ("quorum", false, elections::quorum_lost),
    ("outage", false, outage::run),
];

/// What the command line asks for.
struct Options {
    parts: Vec<String>,
    long: bool,
    seconds: u64,
    rounds: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let mut failed = Vec::new();
    for (name, short, part) in PARTS {
        let named = options.parts.iter().any(|part| part == name);
        // As with other tests, a name that is no part's selects nothing.
        if !(named || options.parts.is_empty() && (short || options.long)) {
            continue;
        }
        println!("== {name}");
        let start = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| part(&options))).is_err() {
            println!("== {name} FAILED");
            failed.push(name);
        }
        println!("== {name} took {:.1} s\n", start.elapsed().as_secs_f64());
    }
    match failed[..] {
        [] => ExitCode::SUCCESS,
        _ => {
            println!("failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
    }
}

fn options() -> Option<Options> {
    let mut options = Options {
        parts: Vec::new(),
        long: false,
        seconds: 3,
        rounds: 24,
        seed: 1,
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--long") {
        (options.long, options.seconds, options.rounds) = (true, 60, 200);
    }
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok();
        match word.as_str() {
            "--seconds" => options.seconds = number()?,
            "--rounds" => options.rounds = number()?,
            "--seed" => options.seed = number()?,
            "--help" => return None,
            // Those of the test harness mean nothing here, and `--list` expects no tests.
            "--list" => options.parts.push(word),
            "--test-threads" | "--skip" | "--format" | "--color" => drop(words.next()),
            word if word.starts_with('-') => {}
            _ => options.parts.push(word),
        }
    }
    Some(options)
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed);
        dice.roll(1);
        dice
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = usize::try_from(self.roll(from.len() as u64)).unwrap();
        from[place]
    }
}

/// A Consul to contend at.
struct Site {
    name: &'static str,
    http: String,
    api: Api,
    /// Both end when they are dropped.
    _agent: (Option<Agent>, Option<(DevAgent, Runtime)>),
}

impl Site {
    /// A real Consul, if there is one, and the development agent.
    fn all() -> Vec<Site> {
        let consul = Agent::start_for_load().map(|agent| Site {
            name: "Consul",
            http: agent.http.clone(),
            api: agent.api.clone(),
            _agent: (Some(agent), None),
        });
        let runtime = Runtime::new().unwrap();
        let agent = runtime.block_on(DevAgent::start()).unwrap();
        let http = agent.address().to_owned();
        let dev_agent = Site {
            name: "development agent",
            api: Api::new(&http),
            http,
            _agent: (None, Some((agent, runtime))),
        };
        consul.into_iter().chain([dev_agent]).collect()
    }
}

/// Prepares a run of the program under test against a Consul, which COMMAND may start as `$PROGRAM`.
fn program(http: &str, arguments: &[&str]) -> Program {
    Program::new(arguments)
        .env("CONSUL_HTTP_ADDR", http)
        .env("PROGRAM", path())
}

/// Prepares `consul lock`, if there is a Consul program. COMMAND is a line for the shell.
fn consul_lock(http: &str, arguments: &[&str]) -> Option<Program> {
    let arguments = ["lock", "-pass-stdin"].iter().chain(arguments);
    let program = Program::other(consul::program().ok()?, arguments);
    Some(
        program
            .env("PATH", "/usr/bin:/bin")
            .env("CONSUL_HTTP_ADDR", http),
    )
}

/// Starts the program under test, and waits for a line of output.
#[track_caller]
fn start(http: &str, arguments: &[&str], line: &str) -> Background {
    let mut process = program(http, arguments).start();
    assert_eq!(process.line(), line);
    process
}

#[track_caller]
fn exits_with(code: i32, run: &Run) {
    assert_eq!(run.code, code, "{run:#?}");
}

/// Seconds from one moment to another, negative if it is earlier.
fn seconds(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(time) => time.as_secs_f64(),
        None => -from.duration_since(to).as_secs_f64(),
    }
}

/// Waits for a line of output in a thread, and returns the moment at which it came.
fn moment_of_line<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    mut process: Background,
    line: &'static str,
) -> std::thread::ScopedJoinHandle<'scope, (Instant, Background)> {
    scope.spawn(move || {
        assert_eq!(process.line(), line);
        (Instant::now(), process)
    })
}

/// Lets time pass, because that is what is tried.
fn pause(seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(seconds));
}
