//! How to test a program that uses sessions against the development agent, which behaves like Consul.
//!
//! Run it with `cargo run -p consul-session --example test_your_plugin`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints what it does"
)]

use consul_session::{Client, NewSession, Runtime, Token};
use consul_session_dev_agent::DevAgent;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // Listens on a free loopback port, keeps everything in memory, and stops when dropped. It requires a token, so that
    // the test can check what happens without one.
    let agent = DevAgent::builder()
        .node("ci")
        .acl_token("secret")
        .start()
        .await?;
    let runtime = Runtime::new()?;

    let stranger = Client::builder().address(agent.address()).build(&runtime)?;
    let refused = stranger.create(&NewSession::new()).await;
    assert!(refused.is_err_and(|error| error.is_denied()));

    let known = Client::builder()
        .address(agent.address())
        .token(Token::new("secret")?)
        .build(&runtime)?;
    let id = known.create(&NewSession::new()).await?;
    let session = known.info(&id).await?.expect("just created");
    assert_eq!(
        (session.node.as_str(), session.node_checks.as_slice()),
        ("ci", &["serfHealth".to_owned()][..])
    );
    println!("a session on {}: {id}", session.node);

    agent.shutdown().await;
    Ok(())
}
