//! What is measured from outside, in processes of their own: this benchmark as a child, the program, and curl.

use crate::client::{Caller, Variant};
use crate::load::{median, micros};
use crate::server::Server;
use crate::soak;
use anyhow::{Context, Result, bail, ensure};
use consul_session::Runtime;
use serde::Serialize;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls that wait at the same time. A plugin's runtime runs at most 256.
fn parked_calls(variant: Variant) -> usize {
    if variant == Variant::Plugin {
        200
    } else {
        1_000
    }
}

/// How long a runtime takes until it is ready, in microseconds.
#[derive(Serialize)]
pub(crate) struct Ready {
    pub(crate) median_us: f64,
}

/// What each parked call costs.
#[derive(Serialize)]
pub(crate) struct Parked {
    pub(crate) variant: Variant,
    pub(crate) kib: f64,
    pub(crate) mappings: f64,
}

/// System calls of a call, the server's included.
#[derive(Serialize)]
pub(crate) struct SystemCalls {
    pub(crate) variant: Variant,
    pub(crate) per_call: f64,
    /// The most frequent ones.
    pub(crate) names: Vec<(String, f64)>,
}

/// A whole process that lists the sessions.
#[derive(Serialize)]
pub(crate) struct Whole {
    pub(crate) program: String,
    pub(crate) median_ms: f64,
    /// The ratio to curl in the same round.
    pub(crate) ratio: f64,
}

/// Runs as a child: `ready`, `serve` (for a profiler), `parked VARIANT URL`, `calls VARIANT URL COUNT` or
/// `soak VARIANT URL MINUTES`.
pub(crate) fn child(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["ready"] => {
            let begun = Instant::now();
            let _runtime = Runtime::new()?;
            println!("{}", micros(begun.elapsed()));
            Ok(())
        }
        ["serve"] => {
            println!("{}", Server::canned()?.url());
            std::io::stdin().lines().for_each(drop);
            Ok(())
        }
        ["parked", variant, url] => park(Variant::named(variant)?, url),
        ["calls", variant, url, count] => single(async {
            let caller = Caller::new(Variant::named(variant)?, url, 1)?;
            let id = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
            for _ in 0..count.parse()? {
                caller.call(id).await?;
            }
            Ok(())
        }),
        ["soak", variant, url, minutes] => {
            soak::child(Variant::named(variant)?, url, minutes.parse()?)
        }
        _ => bail!("unknown child: {words:?}"),
    }
}

fn single(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

pub(crate) fn this(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").args(arguments);
    Ok(command)
}

pub(crate) fn ready() -> Result<Ready> {
    let mut times = Vec::new();
    for _ in 0..15 {
        let output = this(&["ready"])?.output()?;
        ensure!(output.status.success(), "{output:?}");
        times.push(String::from_utf8(output.stdout)?.trim().parse()?);
    }
    Ok(Ready {
        median_us: median(times),
    })
}

/// Parks calls, prints what they cost, and ends when standard input does.
fn park(variant: Variant, url: &str) -> Result<()> {
    single(async {
        let caller = Arc::new(Caller::new(variant, url, parked_calls(variant) as u32)?);
        let park = |count: usize| {
            for _ in 0..count {
                let caller = caller.clone();
                tokio::spawn(
                    async move { caller.call("2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11").await },
                );
            }
        };
        // Each line of input asks for more calls; the parent knows from the server when they wait.
        for line in std::io::stdin().lock().lines() {
            park(line?.parse()?);
            // All calls have sent their requests when nothing is left to do but to wait.
            tokio::time::sleep(Duration::from_secs(2)).await;
            println!("{} {}", resident_kib()?, mappings()?);
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

/// The memory of this process, without what instances share with each other: VmRSS counts the component's constants once
/// for each instance.
pub(crate) fn resident_kib() -> Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("Pss is missing")?.parse()?)
}

pub(crate) fn mappings() -> Result<usize> {
    Ok(std::fs::read_to_string("/proc/self/maps")?.lines().count())
}

pub(crate) fn parked(variants: &[Variant]) -> Result<Vec<Parked>> {
    let mut parked = Vec::new();
    for &variant in variants {
        let server = Server::silent()?;
        let mut child = this(&["parked", variant.name(), &server.url()])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut ask = |count: usize| -> Result<(f64, f64)> {
            writeln!(input, "{count}")?;
            let line = output.next().context("the child ended")??;
            let (memory, mappings) = line.split_once(' ').context("malformed line")?;
            Ok((memory.parse()?, mappings.parse()?))
        };
        // The first calls start what all calls share.
        let before = ask(10)?;
        let more = parked_calls(variant) - 10;
        let after = ask(more)?;
        let each = |before: f64, after: f64| (after - before) / more as f64;
        parked.push(Parked {
            variant,
            kib: each(before.0, after.0),
            mappings: each(before.1, after.1),
        });
        child.kill()?;
        child.wait()?;
    }
    Ok(parked)
}

/// Counts by strace. Two runs of different length, so that starting the process does not count.
pub(crate) fn system_calls(variants: &[Variant], url: &str) -> Result<Vec<SystemCalls>> {
    let (few, many) = (200, 1_200);
    if Command::new("strace").arg("-V").output().is_err() {
        println!("system calls: strace is not installed");
        return Ok(Vec::new());
    }
    let mut counts = Vec::new();
    for &variant in variants {
        let count = |calls: usize| -> Result<Vec<(String, f64)>> {
            let summary = tempfile::NamedTempFile::new()?;
            let status = Command::new("strace")
                .args(["-f", "-c", "-o"])
                .arg(summary.path())
                .arg(std::env::current_exe()?)
                .args(["--child", "calls", variant.name(), url, &calls.to_string()])
                .status()?;
            ensure!(status.success(), "strace: {status}");
            Ok(std::fs::read_to_string(summary.path())?
                .lines()
                .filter_map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    let count = words.get(3)?.parse().ok()?;
                    Some(((*words.last()?).to_owned(), count))
                })
                .filter(|(name, _)| name != "total")
                .collect())
        };
        let (before, after) = (count(few)?, count(many)?);
        let mut names: Vec<(String, f64)> = after
            .into_iter()
            .map(|(name, count)| {
                let earlier = before.iter().find(|(known, _)| *known == name);
                let more = count - earlier.map_or(0.0, |(_, count)| *count);
                (name, more / (many - few) as f64)
            })
            .filter(|(_, per_call)| *per_call > 0.005)
            .collect();
        names.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        counts.push(SystemCalls {
            variant,
            per_call: names.iter().map(|(_, per_call)| per_call).sum(),
            names,
        });
    }
    Ok(counts)
}

/// The program and curl, alternately.
pub(crate) fn whole(url: &str) -> Result<Vec<Whole>> {
    let program = Path::new(env!("CARGO_BIN_EXE_consul-session"));
    let list = format!("{url}/v1/session/list");
    let time = |command: &mut Command| -> Result<f64> {
        let begun = Instant::now();
        let status = command
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let (mut own, mut curl) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        own.push(time(Command::new(program).args([
            "--address",
            url,
            "list",
        ]))?);
        match time(Command::new("curl").args(["--silent", "--fail", &list])) {
            Ok(taken) => curl.push(taken),
            Err(error) => {
                println!("whole process: curl: {error}");
                break;
            }
        }
    }
    let ratios = own.iter().zip(&curl).map(|(own, curl)| own / curl);
    Ok(vec![
        Whole {
            program: "consul-session list".to_owned(),
            ratio: median(ratios),
            median_ms: median(own),
        },
        Whole {
            program: "curl".to_owned(),
            ratio: 1.0,
            median_ms: median(curl),
        },
    ])
}
