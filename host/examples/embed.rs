//! An async service that keeps one session alive while it works.
//!
//! Run it with `cargo run -p consul-session --example embed`. It uses CONSUL_HTTP_ADDR, or a development agent of its own.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints what it does"
)]

use consul_session::{Client, NewSession, OnDifference, Runtime};
use consul_session_dev_agent::DevAgent;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let agent = DevAgent::start().await?;
    let address = std::env::var("CONSUL_HTTP_ADDR").unwrap_or_else(|_| agent.address().to_owned());

    let runtime = Runtime::new()?; // once per program
    let consul = Client::builder()
        .address(&address)
        .timeout(Duration::from_secs(10))
        .on_request(|report| eprintln!("{} {} {:?}", report.method, report.path, report.status))
        .build(&runtime)?;

    let wanted = NewSession::named("embed-example").ttl(Duration::from_secs(30));
    // Idempotent: a restarted service finds the session it had.
    let ensured = consul.ensure(&wanted, OnDifference::Recreate).await?;
    let id = ensured.session.id;
    println!("session {id}, created by this run: {}", ensured.created);

    // A service renews at a third of the TTL, and keeps trying through outages until the TTL has passed.
    for round in 1..=3 {
        match consul.renew(&id).await {
            Ok(session) => println!("round {round}: renewed, ttl {:?}", session.ttl),
            Err(error) if error.is_retryable() => println!("round {round}: will retry: {error}"),
            Err(error) if error.is_not_found() => anyhow::bail!("session lost: {error}"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    consul.destroy(&id).await?;
    println!("destroyed: {}", consul.info(&id).await?.is_none());
    Ok(())
}
