//! Whether memory grows: calls for minutes, 64 in flight, in a process of its own for each variant.

use crate::client::{Caller, Variant};
use crate::load::load;
use crate::process::{mappings, resident_kib, this};
use anyhow::{Result, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls in flight.
const IN_FLIGHT: usize = 64;
/// How often memory is looked at, during a run.
const LOOKS: u32 = 10;

/// Runs each variant for a time, and prints what its process holds meanwhile.
pub(crate) fn run(variants: &[Variant], url: &str, minutes: u64) -> Result<()> {
    println!("\n{IN_FLIGHT} calls in flight, {minutes} min each:\n");
    println!("variant  | minutes | calls      | KiB     | mappings | descriptors");
    println!("---------|---------|------------|---------|----------|------------");
    for variant in variants {
        let status = this(&["soak", variant.name(), url, &minutes.to_string()])?.status()?;
        ensure!(status.success(), "{status}");
    }
    Ok(())
}

/// The child.
pub(crate) fn child(variant: Variant, url: &str, minutes: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let id = Arc::new(Caller::session(url).await?);
        let caller = Arc::new(Caller::new(variant, url, IN_FLIGHT as u32)?);
        let begun = Instant::now();
        let mut calls = 0;
        for look in 0..=LOOKS {
            let until = Duration::from_secs(minutes * 60) * look / LOOKS;
            // The first line comes after some calls, which fill pools and caches.
            while calls == 0 || begun.elapsed() < until {
                load(&caller, &id, IN_FLIGHT, 6_400).await?;
                calls += 6_400;
            }
            println!(
                "{:8} | {:7.1} | {calls:10} | {:7} | {:8} | {:10}",
                variant.name(),
                begun.elapsed().as_secs_f64() / 60.0,
                resident_kib()?,
                mappings()?,
                std::fs::read_dir("/proc/self/fd")?.count(),
            );
        }
        Ok(())
    })
}
