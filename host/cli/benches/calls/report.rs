//! The tables, the JSON and the plot.

use crate::load::Measured;
use crate::process::{Parked, Ready, SystemCalls, Whole};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;

pub(crate) fn calls(measured: &[Measured]) {
    println!(
        "\nA call: read a session by its id. Ratios are to the native client in the same round.\n"
    );
    println!(
        "server    | threads | in flight | variant  | p50 µs        | p99 µs        | calls/s"
    );
    println!(
        "----------|---------|-----------|----------|---------------|---------------|----------------"
    );
    for row in measured {
        println!(
            "{:9} | {:7} | {:9} | {:8} | {:6.0} ({:4.2}) | {:6.0} ({:4.2}) | {:7.0} ({:4.2})",
            row.server,
            row.threads,
            row.in_flight,
            row.variant.name(),
            row.p50_us,
            row.p50_ratio,
            row.p99_us,
            row.p99_ratio,
            row.calls_per_second,
            row.throughput_ratio,
        );
    }
}

pub(crate) fn ready(ready: &Ready) {
    println!(
        "\nA runtime is ready after {:.2} ms.",
        ready.median_us / 1e3
    );
}

pub(crate) fn parked(parked: &[Parked]) {
    println!("\nA call that waits for its response:\n");
    println!("variant  | KiB   | mappings");
    println!("---------|-------|---------");
    for row in parked {
        println!(
            "{:8} | {:5.1} | {:8.1}",
            row.variant.name(),
            row.kib,
            row.mappings
        );
    }
}

pub(crate) fn system_calls(counts: &[SystemCalls]) {
    println!("\nSystem calls of a call, without the server's:\n");
    for row in counts {
        let names: Vec<String> = row
            .names
            .iter()
            .map(|(name, count)| format!("{name} {count:.2}"))
            .collect();
        println!(
            "{:8} | {:5.1} | {}",
            row.variant.name(),
            row.per_call,
            names.join(", ")
        );
    }
}

pub(crate) fn whole(whole: &[Whole]) {
    println!("\nA whole process that lists the sessions:\n");
    for row in whole {
        println!(
            "{:20} | {:5.1} ms ({:4.2})",
            row.program, row.median_ms, row.ratio
        );
    }
}

/// Writes what was measured to the target directory.
pub(crate) fn write(results: &Value) -> Result<()> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_consul-session"));
    let target = program.ancestors().nth(2).context("no target directory")?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("calls.json"),
        serde_json::to_string_pretty(results)?,
    )?;
    println!("\nWrote {}", folder.join("calls.json").display());
    let plot = plot(results);
    if !plot.is_empty() {
        std::fs::write(folder.join("calls.svg"), plot)?;
        println!("Wrote {}", folder.join("calls.svg").display());
    }
    Ok(())
}

/// Bars: the latency and the throughput of each variant as ratios to the native client. Empty without figures of calls.
fn plot(results: &Value) -> String {
    const BAR: usize = 18;
    const COLORS: [(&str, &str); 3] = [
        ("embedded", "#2f7ed8"),
        ("reused", "#8bbc21"),
        ("plugin", "#a6a6a6"),
    ];
    let calls: Vec<&Value> = results["calls"].as_array().into_iter().flatten().collect();
    let row = |server: &str, in_flight: u64, variant: &str, figure: &str| {
        let found = calls.iter().find(|row| {
            row["server"] == server
                && row["threads"] == 1
                && row["in_flight"] == in_flight
                && row["variant"] == variant
        });
        found.and_then(|row| row[figure].as_f64())
    };
    let groups = [
        (
            "median latency, 1 in flight (less is better)",
            1,
            "p50_ratio",
            4.0,
        ),
        (
            "throughput, 64 in flight (more is better)",
            64,
            "throughput_ratio",
            1.2,
        ),
    ];
    let (mut body, mut y) = (String::new(), 20);
    let mut found = false;
    for (title, in_flight, figure, full) in groups {
        let _ = writeln!(
            body,
            "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title}</text>"
        );
        y += 12;
        for server in ["Consul", "in memory"] {
            for (variant, color) in COLORS {
                let Some(ratio) = row(server, in_flight, variant, figure) else {
                    continue;
                };
                found = true;
                let width = (ratio / full).min(1.0) * 400.0;
                let _ = writeln!(
                    body,
                    "<text x=\"150\" y=\"{}\" text-anchor=\"end\">{server}, {variant}</text><rect x=\"160\" y=\"{y}\" width=\"{width:.0}\" height=\"{}\" fill=\"{color}\"/><text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
                    y + BAR - 5,
                    BAR - 4,
                    166.0 + width,
                    y + BAR - 5,
                );
                y += BAR;
            }
        }
        let native = 160.0 + 400.0 / full;
        let _ = writeln!(
            body,
            "<line x1=\"{native:.0}\" x2=\"{native:.0}\" y1=\"{}\" y2=\"{y}\" stroke=\"#c00\"/><text x=\"{native:.0}\" y=\"{}\" text-anchor=\"middle\" fill=\"#c00\">native</text>",
            y - 6 * BAR - 4,
            y + 12,
        );
        y += 44;
    }
    if !found {
        return String::new();
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"620\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}
