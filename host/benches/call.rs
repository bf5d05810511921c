//! The cost of the sandbox: the same requests through the component and directly, side by side in one run.
//!
//! Run it with `cargo bench -p consul-session`. It uses CONSUL_HTTP_ADDR, or a development agent of its own.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use bytes::Bytes;
use consul_session::{Client, NewSession, Runtime};
use consul_session_dev_agent::DevAgent;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioExecutor;
use std::time::{Duration, Instant};

const ROUNDS: usize = 500;

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let begun = Instant::now();
    let runtime = Runtime::new()?;
    println!("loading the component      {:>9.1?}", begun.elapsed());
    let agent = DevAgent::start().await?;
    let address = std::env::var("CONSUL_HTTP_ADDR").unwrap_or_else(|_| agent.address().to_owned());
    let consul = Client::builder().address(&address).build(&runtime)?;
    let direct = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build_http::<Empty<Bytes>>();
    let id = consul.create(&NewSession::new()).await?;
    let info: http::Uri = format!("{address}/v1/session/info/{id}").parse()?;

    // Alternate, so that a disturbance of the machine affects both.
    let (mut through, mut directly) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        anyhow::ensure!(consul.info(&id).await?.is_some());
        through.push(begun.elapsed());
        let begun = Instant::now();
        let answer = direct.get(info.clone()).await?;
        anyhow::ensure!(!answer.into_body().collect().await?.to_bytes().is_empty());
        directly.push(begun.elapsed());
    }
    let (through, directly) = (median(through), median(directly));
    println!("info through the component {through:>9.1?}  (median of {ROUNDS})");
    println!("info by a bare HTTP client {directly:>9.1?}  (median of {ROUNDS})");
    println!(
        "ratio {:.1}, the sandbox itself {:.1?}",
        through.as_secs_f64() / directly.as_secs_f64(),
        through.saturating_sub(directly)
    );
    consul.destroy(&id).await?;

    for sessions in [100, 1000, 10_000] {
        let mut ids = Vec::new();
        while ids.len() < sessions {
            ids.push(consul.create(&NewSession::new()).await?);
        }
        let begun = Instant::now();
        let listed = consul.list().await?.sessions.len();
        println!("list of {listed:>6} sessions    {:>9.1?}", begun.elapsed());
        for id in ids {
            consul.destroy(&id).await?;
        }
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
