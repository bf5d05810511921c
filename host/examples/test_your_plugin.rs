//! In the tests of a program that uses sessions: an agent of its own, which behaves as Consul does.
//!
//! `cargo run --example test_your_plugin`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is there to be read"
)]

use consul_session::{Client, NewSession, Runtime, Token};
use consul_session_dev_agent::DevAgent;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // A free loopback port, nothing on disk, gone when dropped. With a token, to test what happens without one.
    let agent = DevAgent::builder()
        .node("ci")
        .acl_token("secret")
        .start()
        .await?;
    let runtime = Runtime::new()?;

    let stranger = Client::builder().address(agent.address()).build(&runtime)?;
    let refused = stranger.create(&NewSession::default()).await;
    assert!(refused.is_err_and(|error| error.is_denied()));

    let known = Client::builder()
        .address(agent.address())
        .token(Token::new("secret")?)
        .build(&runtime)?;
    let id = known.create(&NewSession::default()).await?;
    let session = known.info(&id).await?.expect("just created");
    assert_eq!(
        (session.node.as_str(), session.node_checks.as_slice()),
        ("ci", &["serfHealth".to_owned()][..])
    );
    println!("a session on {}: {id}", session.node);

    agent.shutdown().await;
    Ok(())
}
