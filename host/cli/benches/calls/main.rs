//! What a call costs: the same request by a native client and through the component, side by side in one run.
//!
//! `cargo bench` runs everything. `cargo bench -- calls` runs a part of it; `--help` lists the parts. It prints tables,
//! and writes `target/bench/calls.json` and `target/bench/calls.svg`.
//!
//! | file | what is there |
//! |---|---|
//! | `client.rs` | the ways to make a call |
//! | `server.rs` | a server that answers from memory, and one that never answers |
//! | `load.rs` | latency and throughput, in interleaved rounds |
//! | `process.rs` | what is measured from outside: parked calls, system calls, whole processes |
//! | `soak.rs` | whether memory grows |
//! | `report.rs` | the table, the JSON and the plot |

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its results"
)]

mod client;
mod load;
mod process;
mod report;
mod server;
mod soak;

use anyhow::{Result, bail};
use client::Variant;
use consul_session_tests::consul;
use serde_json::{Map, Value, json};
use server::Server;

const USAGE: &str = "\
usage: cargo bench -- [PART]... [--rounds N] [--variants NAME,NAME,...] [--minutes N]

PART       calls, ready, parked, syscalls, process; default: these. And soak
--rounds   interleaved rounds, at least 5; default: 7
--variants native, embedded, reused, plugin; default: all
--minutes  of the soak, for each variant; default: 10
";

/// What the command line asks for.
struct Options {
    parts: Vec<String>,
    rounds: usize,
    variants: Vec<Variant>,
    minutes: u64,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut options = Options {
        parts: Vec::new(),
        rounds: 7,
        variants: Variant::ALL.to_vec(),
        minutes: 10,
    };
    while let Some(word) = arguments.next() {
        match word.as_str() {
            // A child process of this benchmark.
            "--child" => return process::child(&arguments.collect::<Vec<_>>()),
            "--rounds" => options.rounds = arguments.next().unwrap_or_default().parse()?,
            "--minutes" => options.minutes = arguments.next().unwrap_or_default().parse()?,
            "--variants" => {
                let names = arguments.next().unwrap_or_default();
                options.variants = names
                    .split(',')
                    .map(Variant::named)
                    .collect::<Result<_>>()?;
            }
            "calls" | "ready" | "parked" | "syscalls" | "process" | "soak" => {
                options.parts.push(word)
            }
            "--help" => {
                print!("{USAGE}");
                return Ok(());
            }
            _ => bail!("unknown argument {word}\n\n{USAGE}"),
        }
    }
    run(&options)
}

fn run(options: &Options) -> Result<()> {
    let wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|p| p == part);
    let canned = Server::canned()?;
    let consul = consul::Agent::start_for_load();
    let mut results = Map::new();
    if wanted("calls") {
        let mut calls = load::measure("in memory", &canned.url(), options)?;
        if let Some(consul) = &consul {
            calls.extend(load::measure("Consul", &consul.http, options)?);
        }
        report::calls(&calls);
        results.insert("calls".to_owned(), json!(calls));
    }
    if wanted("ready") {
        let ready = process::ready()?;
        report::ready(&ready);
        results.insert("ready".to_owned(), json!(ready));
    }
    if wanted("parked") {
        let parked = process::parked(&options.variants)?;
        report::parked(&parked);
        results.insert("parked".to_owned(), json!(parked));
    }
    if wanted("syscalls") {
        let counts = process::system_calls(&options.variants, &canned.url())?;
        report::system_calls(&counts);
        results.insert("system_calls".to_owned(), json!(counts));
    }
    if wanted("process") {
        let whole = process::whole(consul.as_ref().map_or(&canned.url(), |consul| &consul.http))?;
        report::whole(&whole);
        results.insert("process".to_owned(), json!(whole));
    }
    if options.parts.iter().any(|part| part == "soak") {
        soak::run(&options.variants, &canned.url(), options.minutes)?;
    }
    report::write(&Value::Object(results))
}
