//! A runner for tasks that other people wrote: one client per customer, with its own address, token and limits, and one
//! sandbox per task.
//!
//! Run it with `cargo run -p consul-session --example tenants`. Two development agents play the customers' clusters.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints what it does"
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
    let runtime = Runtime::new()?; // shared, because nothing survives a call
    let one = DevAgent::builder().acl_token("token-one").start().await?;
    let two = DevAgent::builder().acl_token("token-two").start().await?;

    let tenant = |name, agent: &DevAgent, token| -> anyhow::Result<Tenant> {
        Ok(Tenant {
            name,
            client: Client::builder()
                .address(agent.address()) // the only origin that this tenant can reach
                .token(Token::new(token)?) // added by the host, invisible to tasks
                .timeout(Duration::from_secs(2))
                .response_limit(1 << 20)
                .max_calls(8) // concurrent; further calls wait
                .build(&runtime)?,
        })
    };
    let tenants = [
        tenant("one", &one, "token-one")?,
        tenant("two", &two, "token-two")?,
    ];

    // Untrusted tasks: JSON objects with the parameters of the automation module.
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
            Ok(outcome) => println!("{name}: {task}\n  -> {}", outcome.as_json()),
            Err(error) => println!("{name}: {task}\n  -> {}: {error}", error.kind().as_str()),
        }
    }
    Ok(())
}
