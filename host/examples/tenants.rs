//! One tenant per customer: tasks that others wrote, each in a sandbox, each with its own address, token and limits.
//!
//! `cargo run --example tenants`: two embedded agents stand in for two customers' clusters.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is there to be read"
)]

use consul_session::{Client, Runtime, Token};
use consul_session_dev_agent::DevAgent;
use std::time::Duration;

struct Tenant {
    name: &'static str,
    client: Client,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let runtime = Runtime::new()?; // shared: nothing survives a call in it
    let one = DevAgent::builder().acl_token("token-one").start().await?;
    let two = DevAgent::builder().acl_token("token-two").start().await?;

    let tenant = |name, agent: &DevAgent, token| -> anyhow::Result<Tenant> {
        Ok(Tenant {
            name,
            client: Client::builder()
                .address(agent.address()) // all that this tenant can reach
                .token(Token::new(token)?) // added by the host; no task sees it
                .timeout(Duration::from_secs(2))
                .response_limit(1 << 20)
                .max_calls(8) // at once; the others wait
                .build(&runtime)?,
        })
    };
    let tenants = [
        tenant("one", &one, "token-one")?,
        tenant("two", &two, "token-two")?,
    ];

    // Tasks as they come in: JSON in the words of the automation module, trusted with nothing.
    let elsewhere = format!(r#"{{"state": "list", "url": "{}"}}"#, two.address());
    let tasks = [
        (0, r#"{"name": "deploy", "ttl": "30s"}"#),
        (1, r#"{"name": "deploy", "ttl": "1m"}"#),
        (0, r#"{"state": "list"}"#),
        (0, elsewhere.as_str()),
        (1, r#"{"state": "list", "validate_certs": false}"#),
        (1, r#"{"state": "list", "token": "guess"}"#),
    ];
    for (tenant, task) in tasks {
        let Tenant { name, client } = &tenants[tenant];
        match client.action(task).await {
            Ok(result) => println!("{name}: {task}\n  -> {result}"),
            Err(failure) => println!("{name}: {task}\n  refused -> {failure}"),
        }
    }
    Ok(())
}
