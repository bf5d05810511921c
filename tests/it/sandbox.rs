//! A hostile component in the sandbox: every trick ends in time, reaches nothing, and harms no one after it.

use crate::client::runtime;
use consul_session::{Client, NewSession, Policy, Runtime, Token};
use consul_session_dev_agent::DevAgent;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time of a call that only its deadline ends.
const SHORT: Duration = Duration::from_secs(1);
/// The time of a call that ends by something else, however slow the machine.
const LONG: Duration = Duration::from_secs(60);

/// The hostile component, built once for all tests.
fn hostile() -> &'static Runtime {
    static HOSTILE: OnceLock<Runtime> = OnceLock::new();
    HOSTILE.get_or_init(|| {
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = workspace.join("target/hostile");
        let output = Command::new(env!("CARGO"))
            .current_dir(&workspace)
            .args([
                "rustc",
                "--quiet",
                "--lib",
                "--crate-type",
                "cdylib",
                "--locked",
            ])
            .args([
                "--package",
                "consul-session-hostile",
                "--profile",
                "component",
            ])
            .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Runtime::from_file(
            target.join("wasm32-unknown-unknown/component/consul_session_hostile.wasm"),
        )
        .unwrap()
    })
}

async fn agent() -> (DevAgent, Client) {
    agent_with(LONG).await
}

async fn agent_with(timeout: Duration) -> (DevAgent, Client) {
    let agent = DevAgent::builder()
        .acl_token("secret")
        .start()
        .await
        .unwrap();
    let client = Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .timeout(timeout)
        .build(hostile())
        .unwrap();
    (agent, client)
}

/// Runs a trick that must fail with this in its failure.
async fn fails(client: &Client, trick: &str, with: &str) {
    let failure = client.action(trick).await.expect_err(trick);
    assert!(failure.contains(with), "{trick}: {failure}");
}

#[tokio::test]
async fn time_and_memory_are_bounded() {
    let (short, client) = agent_with(SHORT).await;
    let begun = Instant::now();
    fails(&client, "spin", r#""kind":"timeout""#).await;
    let list = format!("flood {}/v1/session/list", short.address());
    fails(&client, &list, r#""kind":"timeout""#).await;
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    // These end by other limits, and before their time.
    let (_agent, client) = agent().await;
    fails(&client, "grow", "more than the 128 MiB of memory").await;
    fails(&client, "recurse", "the component was stopped").await;
    fails(&client, "trap", "the component was stopped").await;
    fails(&client, "answer 30000000", "too much data").await;
    fails(&client, "headers", "the component was stopped").await;
    // The next call has a store of its own, and notices nothing.
    assert_eq!(client.action("answer 3").await.unwrap(), "xxx");
}

#[tokio::test]
async fn what_a_stopped_component_wrote_is_not_forgotten() {
    let (agent, client) = agent().await;
    let create = format!("write {}/v1/session/create", agent.address());
    fails(&client, &create, r#""maybe_applied":true"#).await;
    let forbidden = format!("write {}/v1/kv/a", agent.address());
    fails(&client, &forbidden, r#""maybe_applied":false"#).await;
    let unreachable = "write http://127.0.0.1:1/v1/session/create";
    let policy = Policy::deny_all().allow("http://127.0.0.1:1").unwrap();
    let elsewhere = Client::builder()
        .address("http://127.0.0.1:1")
        .policy(policy)
        .timeout(LONG)
        .build(hostile())
        .unwrap();
    fails(&elsewhere, unreachable, r#""maybe_applied":false"#).await;
}

#[tokio::test]
async fn a_component_that_spins_does_not_hold_up_the_others() {
    let (agent, client) = agent().await;
    let neighbour = Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .timeout(LONG)
        .build(runtime())
        .unwrap();
    let work = async {
        for _ in 0..3 {
            neighbour.create(&NewSession::default()).await.unwrap();
        }
    };
    // All on one thread, and the spinning component comes first: it has to yield for the other to get on.
    tokio::select! {
        biased;
        spun = client.action("spin") => panic!("the other was held up until the end: {spun:?}"),
        () = work => {}
    }
}

#[tokio::test]
async fn nothing_but_the_session_api_of_its_own_agent_is_reached() {
    let (agent, client) = agent().await;
    let stranger = DevAgent::start().await.unwrap();
    let own = agent.address();
    for (method, url) in [
        ("get", format!("{}/v1/session/list", stranger.address())),
        ("get", format!("{own}/v1/agent/self")),
        ("get", format!("{own}/v1/kv/secret?raw")),
        ("put", format!("{own}/v1/kv/secret")),
        ("put", format!("{own}/v1/session/../kv/secret")),
        ("get", format!("{own}/v1/session/%2e%2e/agent/self")),
        ("get", format!("{own}/v1/session//list")),
        ("delete", format!("{own}/v1/session/list")),
        ("get", format!("{own}/v1/session/list?token=other")),
        ("get", format!("{own}/v1/session/list?dc=dc1&%74oken=other")),
        (
            "get",
            own.replace("http://", "https://") + "/v1/session/list",
        ),
        (
            "get",
            own.replace("http://", "http://someone@") + "/v1/session/list",
        ),
    ] {
        let trick = format!("{method} {url}");
        let got = client.action(&trick).await;
        assert!(
            got.as_ref().is_err_and(
                |error| error.contains("HttpRequestDenied") || error.contains("refused")
            ),
            "{trick}: {got:?}"
        );
    }
    // What is allowed works, with the token that the component does not know.
    let allowed = client
        .action(&format!("get {own}/v1/session/list"))
        .await
        .unwrap();
    assert!(allowed.starts_with("200 ["), "{allowed}");
}

#[tokio::test]
async fn headers_that_are_the_hosts_cannot_be_set() {
    let (agent, client) = agent().await;
    let list = format!("{}/v1/session/list", agent.address());
    for header in ["token", "authorization", "host"] {
        fails(&client, &format!("{header} {list}"), "Forbidden").await;
    }
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let (agent, client) = agent().await;
    // 10,000 are begun; all but a handful are refused, and the agent serves on.
    let _ = client
        .action(&format!("hoard {}/v1/session/list", agent.address()))
        .await;
    let neighbour = Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .build(runtime())
        .unwrap();
    assert!(neighbour.list().await.is_ok());
}
