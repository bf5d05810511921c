//! Latency and throughput. The variants take turns in every round, so that a disturbance of the machine affects all; a
//! ratio is that of two neighbors, and the result is the median over the rounds.

use crate::Options;
use crate::client::{Caller, Variant};
use anyhow::Result;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Calls in flight, and the calls of a round.
const LOADS: [(usize, usize); 3] = [(1, 800), (8, 2_400), (64, 3_200)];

/// What a variant reached under a load.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) server: String,
    /// Threads of the caller's runtime.
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    pub(crate) variant: Variant,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls_per_second: f64,
    /// Ratios to the native client of the same round.
    pub(crate) p50_ratio: f64,
    pub(crate) p99_ratio: f64,
    pub(crate) throughput_ratio: f64,
}

/// One round of one variant.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    p50: f64,
    p99: f64,
    throughput: f64,
}

/// Measures all variants against a server.
pub(crate) fn measure(server: &str, address: &str, options: &Options) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for threads in [1, 2] {
        let runtime = runtime(threads)?;
        let id = Arc::new(runtime.block_on(Caller::session(address))?);
        let callers = runtime.block_on(async {
            let new = |variant: &Variant| Ok(Arc::new(Caller::new(*variant, address, 64)?));
            options.variants.iter().map(new).collect::<Result<Vec<_>>>()
        })?;
        for (in_flight, calls) in LOADS {
            eprintln!("{server}, {threads} threads, {in_flight} in flight");
            let mut rounds = vec![Vec::new(); callers.len()];
            // The first round fills pools and caches.
            for round in 0..=options.rounds.max(5) {
                for (caller, rounds) in callers.iter().zip(&mut rounds) {
                    let load = load(caller, &id, in_flight, calls);
                    let figures = runtime.block_on(load)?;
                    if round > 0 {
                        rounds.push(figures);
                    }
                }
            }
            for (variant, own) in options.variants.iter().zip(&rounds) {
                measured.push(summary(
                    server, threads, in_flight, *variant, own, &rounds[0],
                ));
            }
        }
    }
    Ok(measured)
}

fn runtime(threads: usize) -> Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_all().build()?)
}

pub(crate) async fn load(
    caller: &Arc<Caller>,
    id: &Arc<String>,
    in_flight: usize,
    calls: usize,
) -> Result<Round> {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (caller, id) = (caller.clone(), id.clone());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(calls / in_flight);
                for _ in 0..calls / in_flight {
                    let begun = Instant::now();
                    caller.call(&id).await?;
                    times.push(begun.elapsed());
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::with_capacity(calls);
    for task in tasks {
        times.extend(task.await??);
    }
    let elapsed = begun.elapsed();
    times.sort_unstable();
    Ok(Round {
        p50: micros(times[times.len() / 2]),
        p99: micros(times[times.len() * 99 / 100]),
        throughput: times.len() as f64 / elapsed.as_secs_f64(),
    })
}

fn summary(
    server: &str,
    threads: usize,
    in_flight: usize,
    variant: Variant,
    own: &[Round],
    native: &[Round],
) -> Measured {
    let figure = |of: fn(&Round) -> f64| median(own.iter().map(of));
    let ratio = |of: fn(&Round) -> f64| {
        median(
            own.iter()
                .zip(native)
                .map(|(own, native)| of(own) / of(native)),
        )
    };
    Measured {
        server: server.to_owned(),
        threads,
        in_flight,
        variant,
        p50_us: figure(|round| round.p50),
        p99_us: figure(|round| round.p99),
        calls_per_second: figure(|round| round.throughput),
        p50_ratio: ratio(|round| round.p50),
        p99_ratio: ratio(|round| round.p99),
        throughput_ratio: ratio(|round| round.throughput),
    }
}

/// The median; of an even number of figures, the lower one of the middle.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures
        .get(figures.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
