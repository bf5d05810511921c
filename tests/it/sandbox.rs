//! A hostile component in the sandbox. Every trick must end in time, reach nothing, and leave later calls unaffected.

use crate::client::runtime;
use consul_session::{Client, Error, NewSession, Policy, Runtime, Token};
use consul_session_component::Artifact;
use consul_session_dev_agent::DevAgent;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Timeout of calls that only the deadline ends.
const SHORT: Duration = Duration::from_secs(1);
/// Timeout of calls that must end for another reason, even on a slow machine.
const LONG: Duration = Duration::from_secs(60);

const HOSTILE: Artifact = Artifact {
    name: "hostile",
    package: "consul-session-hostile",
    target: "wasm32-unknown-unknown",
    features: &[],
    profile: "component",
};

/// Returns a runtime with the hostile component, which is built once for all tests.
fn hostile() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let component = HOSTILE.build(&workspace, &workspace.join("target/hostile"));
        Runtime::from_bytes(&component.unwrap()).unwrap()
    })
}

/// Runs a trick, given as its name and argument, and returns what it obtained.
async fn play(client: &Client, trick: &str) -> Result<String, Error> {
    let (trick, argument) = trick.split_once(' ').unwrap_or((trick, ""));
    let outcome = client
        .trusted_action(Map::from_iter([
            ("trick".to_owned(), trick.into()),
            ("argument".to_owned(), argument.into()),
        ]))
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

/// Runs a trick that must fail with a message that contains `with`.
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
    // Other limits end these tricks before the deadline.
    let (_agent, client) = agent().await;
    fails(&client, "grow", "more than the 128 MiB of memory").await;
    fails(&client, "recurse", "the component was stopped").await;
    fails(&client, "trap", "the component was stopped").await;
    fails(&client, "answer 30000000", "too much data").await;
    fails(&client, "headers", "the component was stopped").await;
    // Each call has its own store, so the next call is unaffected.
    fails(&client, "answer 3", "malformed result").await;
}

#[tokio::test]
async fn malformed_error_is_truncated_and_redacted() {
    let (_agent, client) = agent().await;
    let error = fails(&client, "fail secret 100000", "malformed error").await;
    assert!(error.message().len() < 2_000, "{}", error.message().len());
    assert!(!error.message().contains("secret"), "{error}");
}

#[tokio::test]
async fn stopped_component_may_have_applied_a_write() {
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
async fn spinning_component_does_not_block_others() {
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
    // Both futures run on one thread and the spinning component is polled first, so it has to yield to let the other
    // run.
    tokio::select! {
        biased;
        spun = play(&client, "spin") => panic!("the spinning component blocked the other client: {spun:?}"),
        () = work => {}
    }
}

#[tokio::test]
async fn only_the_session_api_of_the_clients_agent_is_reachable() {
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
    // An allowed request succeeds, because the host adds the token, which the component does not know.
    let allowed = play(&client, &format!("get {own}/v1/session/list"))
        .await
        .unwrap();
    assert!(allowed.starts_with("200 ["), "{allowed}");
}

#[tokio::test]
async fn reserved_headers_cannot_be_set() {
    let (agent, client) = agent().await;
    let list = format!("{}/v1/session/list", agent.address());
    for header in ["token", "authorization", "host"] {
        fails(&client, &format!("{header} {list}"), "Forbidden").await;
    }
}

#[tokio::test]
async fn concurrent_requests_are_bounded() {
    let (agent, client) = agent().await;
    // The component starts 10,000 requests. The host rejects all but a few, and the agent keeps serving other clients.
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
