//! A hostile component in the sandbox: every trick ends in time, reaches nothing, and harms no one after it.

use crate::client::runtime;
use consul_session::{Client, Error, NewSession, Policy, Runtime, Token};
use consul_session_component::Artifact;
use consul_session_dev_agent::DevAgent;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time of a call that only its deadline ends.
const SHORT: Duration = Duration::from_secs(1);
/// The time of a call that ends by something else, however slow the machine.
const LONG: Duration = Duration::from_secs(60);

const HOSTILE: Artifact = Artifact {
    name: "hostile",
    package: "consul-session-hostile",
    target: "wasm32-unknown-unknown",
    features: &[],
};

/// The hostile component, built once for all tests.
fn hostile() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let component = HOSTILE.build(&workspace, &workspace.join("target/hostile"));
        Runtime::from_bytes(&component.unwrap()).unwrap()
    })
}

/// Plays a trick, which is named together with its argument, and returns what it obtained.
async fn play(client: &Client, trick: &str) -> Result<String, Error> {
    let (trick, argument) = trick.split_once(' ').unwrap_or((trick, ""));
    let outcome = client
        .trusted_action(json!({"trick": trick, "argument": argument}))
        .await?;
    let result: Value = serde_json::from_str(outcome.as_json()).unwrap();
    Ok(result["text"].as_str().unwrap().to_owned())
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

/// Plays a trick that must fail with this in its message.
async fn fails(client: &Client, trick: &str, with: &str) -> Error {
    let error = play(client, trick).await.expect_err(trick);
    assert!(error.message().contains(with), "{trick}: {error:?}");
    error
}

#[tokio::test]
async fn time_and_memory_are_bounded() {
    let (short, client) = agent_with(SHORT).await;
    let begun = Instant::now();
    assert!(fails(&client, "spin", "timeout").await.is_timeout());
    let list = format!("flood {}/v1/session/list", short.address());
    assert!(play(&client, &list).await.unwrap_err().is_timeout());
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    // These end by other limits, and before their time.
    let (_agent, client) = agent().await;
    fails(&client, "grow", "more than the 128 MiB of memory").await;
    fails(&client, "recurse", "the component was stopped").await;
    fails(&client, "trap", "the component was stopped").await;
    fails(&client, "answer 30000000", "too much data").await;
    fails(&client, "headers", "the component was stopped").await;
    // The next call has a store of its own, and notices nothing.
    fails(&client, "answer 3", "malformed result").await;
}

#[tokio::test]
async fn a_malformed_error_is_cut_and_redacted() {
    let (_agent, client) = agent().await;
    let error = fails(&client, "fail secret 100000", "malformed error").await;
    assert!(error.message().len() < 2_000, "{}", error.message().len());
    assert!(!error.message().contains("secret"), "{error}");
}

#[tokio::test]
async fn what_a_stopped_component_wrote_is_not_forgotten() {
    let (agent, client) = agent().await;
    let create = format!("write {}/v1/session/create", agent.address());
    let error = fails(&client, &create, "check before you try again").await;
    assert!(error.maybe_applied());
    let forbidden = format!("write {}/v1/kv/a", agent.address());
    assert!(!play(&client, &forbidden).await.unwrap_err().maybe_applied());
    let unreachable = "write http://127.0.0.1:1/v1/session/create";
    let policy = Policy::deny_all().allow("http://127.0.0.1:1").unwrap();
    let elsewhere = Client::builder()
        .address("http://127.0.0.1:1")
        .policy(policy)
        .timeout(LONG)
        .build(hostile())
        .unwrap();
    let error = play(&elsewhere, unreachable).await.unwrap_err();
    assert!(!error.maybe_applied());
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
            neighbour.create(&NewSession::new()).await.unwrap();
        }
    };
    // All on one thread, and the spinning component comes first: it has to yield for the other to get on.
    tokio::select! {
        biased;
        spun = play(&client, "spin") => panic!("the other was held up until the end: {spun:?}"),
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
        let got = play(&client, &trick).await;
        assert!(
            got.as_ref()
                .is_err_and(|error| error.message().contains("HttpRequestDenied")
                    || error.message().contains("refused")),
            "{trick}: {got:?}"
        );
    }
    // What is allowed works, with the token that the component does not know.
    let allowed = play(&client, &format!("get {own}/v1/session/list"))
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
    let _ = play(
        &client,
        &format!("hoard {}/v1/session/list", agent.address()),
    )
    .await;
    let neighbour = Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .build(runtime())
        .unwrap();
    assert!(neighbour.list().await.is_ok());
}
