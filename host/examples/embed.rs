//! Embedded in an async service: one session for the whole service, kept alive while it works.
//!
//! `cargo run --example embed`, against CONSUL_HTTP_ADDR or, without it, an embedded development agent.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is there to be read"
)]

use consul_session::{Client, ErrorKind, NewSession, OnDifference, Runtime, SECOND};
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

    let wanted = NewSession {
        name: Some("embed-example".into()),
        ttl: Some(30 * SECOND),
        ..NewSession::default()
    };
    // Idempotent: a restarted service finds the session it had.
    let ensured = consul.ensure(&wanted, OnDifference::Recreate).await?;
    let id = ensured.session.id;
    println!("session {id}, created by us: {}", ensured.created);

    // A service renews at a third of the TTL, and goes on through outages until the TTL is over.
    for round in 1..=3 {
        match consul.renew(&id).await {
            Ok(session) => println!("round {round}: renewed, ttl {:?} ns", session.ttl),
            Err(error) if error.is_retryable() => println!("round {round}: try again: {error}"),
            Err(error) if *error.kind() == ErrorKind::NotFound => anyhow::bail!("lost: {error}"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    consul.destroy(&id).await?;
    println!("gone: {}", consul.info(&id).await?.is_none());
    Ok(())
}
