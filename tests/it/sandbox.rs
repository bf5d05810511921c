//! A hostile component in the sandbox. Every trick must end in time, reach nothing, and leave later calls unaffected.

#[path = "../hostile/src/tricks.rs"]
mod tricks;

use crate::client::runtime;
use consul_session::{Client, Error, NewSession, Policy, Runtime, Token};
use consul_session_component::Artifact;
use consul_session_dev_agent::DevAgent;
use consul_session_tests::bad_server::{Request, Server};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tricks::Trick;

/// Timeout of calls that only the deadline ends.
const SHORT: Duration = Duration::from_secs(1);
/// Timeout of calls that must end for another reason, even on a slow machine.
const LONG: Duration = Duration::from_secs(60);

const PLUGIN: Artifact = Artifact {
    name: "hostile",
    package: "consul-session-hostile",
    target: "wasm32-unknown-unknown",
    features: &[],
    profile: "component",
};

const EMBEDDED: Artifact = Artifact {
    features: &["embedded"],
    ..PLUGIN
};

/// Returns a runtime with the hostile component of the world `plugin`, which is built once for all tests.
pub(crate) fn plugin() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| hostile(&PLUGIN, "target/hostile"))
}

/// The same in the world `embedded`.
pub(crate) fn embedded() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| hostile(&EMBEDDED, "target/hostile-embedded"))
}

fn hostile(artifact: &Artifact, target: &str) -> Runtime {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let component = artifact.build(&workspace, &workspace.join(target));
    Runtime::from_bytes(&component.unwrap()).unwrap()
}

impl Trick {
    /// The trick with its argument.
    fn on(self, argument: impl Display) -> String {
        format!("{} {argument}", self.name())
    }
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

async fn agent(hostile: &Runtime) -> (DevAgent, Client) {
    agent_with(hostile, LONG).await
}

async fn agent_with(hostile: &Runtime, timeout: Duration) -> (DevAgent, Client) {
    let agent = DevAgent::builder()
        .acl_token("secret")
        .start()
        .await
        .unwrap();
    let client = client_of(&agent, hostile, timeout);
    (agent, client)
}

fn client_of(agent: &DevAgent, runtime: &Runtime, timeout: Duration) -> Client {
    Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .timeout(timeout)
        .build(runtime)
        .unwrap()
}

/// Runs a trick that must fail with a message that contains `with`.
async fn fails(client: &Client, trick: &str, with: &str) -> Error {
    let error = play(client, trick).await.expect_err(trick);
    assert!(error.message().contains(with), "{trick}: {error:?}");
    error
}

#[tokio::test]
async fn time_and_memory_are_bounded() {
    for hostile in [plugin(), embedded()] {
        let (short, client) = agent_with(hostile, SHORT).await;
        let begun = Instant::now();
        assert!(
            fails(&client, Trick::Spin.name(), "timeout")
                .await
                .is_timeout()
        );
        let list = Trick::Flood.on(format!("{}/v1/session/list", short.address()));
        assert!(play(&client, &list).await.unwrap_err().is_timeout());
        assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
        // Other limits end these tricks before the deadline.
        let (_agent, client) = agent(hostile).await;
        fails(
            &client,
            Trick::Grow.name(),
            "more than the 128 MiB of memory",
        )
        .await;
        fails(&client, Trick::Recurse.name(), "the component was stopped").await;
        fails(&client, Trick::Trap.name(), "the component was stopped").await;
        fails(&client, &Trick::Answer.on("30000000"), "too much data").await;
        fails(&client, Trick::Headers.name(), "the component was stopped").await;
        // Each call has its own store, so the next call is unaffected.
        fails(&client, &Trick::Answer.on("3"), "malformed result").await;
    }
}

#[tokio::test]
async fn malformed_error_is_truncated_and_redacted() {
    for hostile in [plugin(), embedded()] {
        let (_agent, client) = agent(hostile).await;
        let error = fails(&client, &Trick::Fail.on("secret 100000"), "malformed error").await;
        assert!(error.message().len() < 2_000, "{}", error.message().len());
        assert!(!error.message().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn stopped_component_may_have_applied_a_write() {
    for hostile in [plugin(), embedded()] {
        let (agent, client) = agent(hostile).await;
        let create = Trick::Write.on(format!("{}/v1/session/create", agent.address()));
        let error = fails(&client, &create, "check before you try again").await;
        assert!(error.maybe_applied());
        let forbidden = Trick::Write.on(format!("{}/v1/kv/a", agent.address()));
        assert!(!play(&client, &forbidden).await.unwrap_err().maybe_applied());
        let unreachable = Trick::Write.on("http://127.0.0.1:1/v1/session/create");
        let policy = Policy::deny_all().allow("http://127.0.0.1:1").unwrap();
        let elsewhere = Client::builder()
            .address("http://127.0.0.1:1")
            .policy(policy)
            .timeout(LONG)
            .build(hostile)
            .unwrap();
        let error = play(&elsewhere, &unreachable).await.unwrap_err();
        assert!(!error.maybe_applied());
    }
}

#[tokio::test]
async fn spinning_component_does_not_block_others() {
    for hostile in [plugin(), embedded()] {
        let (agent, client) = agent(hostile).await;
        let neighbour = client_of(&agent, runtime(), LONG);
        let work = async {
            for _ in 0..3 {
                neighbour.create(&NewSession::new()).await.unwrap();
            }
        };
        // Both futures run on one thread and the spinning component is polled first, so it has to yield to let the other
        // run.
        tokio::select! {
            biased;
            spun = play(&client, Trick::Spin.name()) => panic!("the spinning component blocked the other client: {spun:?}"),
            () = work => {}
        }
    }
}

/// 64 components that compute all the time take no more turns of the executor than one would.
#[tokio::test]
async fn spinning_components_take_turns() {
    let denied = Trick::SpinSteps.on("http://127.0.0.1:1/v1/session/list");
    for (hostile, trick) in [
        (plugin(), Trick::Spin.name()),
        (embedded(), Trick::Spin.name()),
        (embedded(), &denied),
    ] {
        let (agent, client) = agent(hostile).await;
        let turns = Arc::new(AtomicUsize::new(0));
        let mut spinning = JoinSet::new();
        for _ in 0..64 {
            let (client, turns) = (client.clone(), turns.clone());
            let trick = trick.to_owned();
            let mut spin = Box::pin(async move { play(&client, &trick).await });
            spinning.spawn(std::future::poll_fn(move |context| {
                turns.fetch_add(1, Ordering::Relaxed);
                spin.as_mut().poll(context)
            }));
        }
        // Has a turn in each round of the executor.
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = rounds.clone();
        spinning.spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        // A component of the same kind, which needs turns, too.
        let neighbour = client_of(&agent, hostile, LONG);
        let list = Trick::Get.on(format!("{}/v1/session/list", agent.address()));
        let work = async {
            for _ in 0..3 {
                play(&neighbour, &list).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            ended = spinning.join_next() => panic!("a component stopped spinning: {ended:?}"),
            () = work => {}
        }
        // All are polled once when they start. After that, one computes in each round, with a few polls around it.
        let (turns, rounds) = (
            turns.load(Ordering::Relaxed),
            rounds.load(Ordering::Relaxed),
        );
        assert!(turns < 64 + 10 * rounds, "{turns} turns in {rounds} rounds");
    }
}

#[tokio::test]
async fn headers_of_a_request_are_bounded() {
    let (agent, client) = agent(embedded()).await;
    let list = Trick::HeaderNames.on(format!("{}/v1/session/list", agent.address()));
    fails(&client, &list, "more than 100 headers").await;
}

#[tokio::test]
async fn computing_is_bounded_for_each_call() {
    for hostile in [plugin(), embedded()] {
        let (_agent, client) = agent(hostile).await;
        fails(&client, Trick::Spin.name(), "computed for more than 2 s").await;
    }
    // In short steps, between requests that are denied at once.
    let (_agent, client) = agent(embedded()).await;
    let denied = Trick::SpinBetween.on("http://127.0.0.1:1/v1/session/list");
    fails(&client, &denied, "computed for more than 2 s").await;
}

#[tokio::test]
async fn only_the_session_api_of_the_clients_agent_is_reachable() {
    for hostile in [plugin(), embedded()] {
        let (agent, client) = agent(hostile).await;
        let stranger = DevAgent::start().await.unwrap();
        let own = agent.address();
        for (method, url) in [
            (
                Trick::Get,
                format!("{}/v1/session/list", stranger.address()),
            ),
            (Trick::Get, format!("{own}/v1/agent/self")),
            (Trick::Get, format!("{own}/v1/kv/secret?raw")),
            (Trick::Put, format!("{own}/v1/kv/secret")),
            (Trick::Put, format!("{own}/v1/session/../kv/secret")),
            (Trick::Get, format!("{own}/v1/session/%2e%2e/agent/self")),
            (Trick::Get, format!("{own}/v1/session//list")),
            (Trick::Delete, format!("{own}/v1/session/list")),
            (Trick::Get, format!("{own}/v1/session/list?token=other")),
            (
                Trick::Get,
                format!("{own}/v1/session/list?dc=dc1&%74oken=other"),
            ),
            (
                Trick::Get,
                own.replace("http://", "https://") + "/v1/session/list",
            ),
            (
                Trick::Get,
                own.replace("http://", "http://someone@") + "/v1/session/list",
            ),
        ] {
            let trick = method.on(url);
            let got = play(&client, &trick).await;
            assert!(
                got.as_ref()
                    .is_err_and(|error| error.message().contains("Denied")
                        || error.message().contains("refused")),
                "{trick}: {got:?}"
            );
        }
        // An allowed request succeeds, because the host adds the token, which the component does not know.
        let allowed = play(&client, &Trick::Get.on(format!("{own}/v1/session/list")))
            .await
            .unwrap();
        assert!(allowed.starts_with("200 ["), "{allowed}");
    }
}

#[tokio::test]
async fn reserved_headers_cannot_be_set() {
    let (agent, client) = agent(plugin()).await;
    let step_client = Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .build(embedded())
        .unwrap();
    let list = format!("{}/v1/session/list", agent.address());
    for header in [Trick::Token, Trick::Authorization, Trick::Host] {
        fails(&client, &header.on(&list), "Forbidden").await;
        fails(&step_client, &header.on(&list), "must not send").await;
    }
}

/// In the world `embedded`, the host builds the request from what the component says.
#[tokio::test]
async fn malformed_requests_are_not_sent() {
    let (agent, client) = agent(embedded()).await;
    let list = format!("{}/v1/session/list", agent.address());
    for trick in [
        Trick::Smuggle,
        Trick::Path,
        Trick::Authority,
        Trick::ReadBody,
    ] {
        fails(&client, &trick.on(&list), "is malformed").await;
    }
    fails(&client, &Trick::Expect.on(&list), "must not send").await;
    // A length without a body would take the beginning of the connection's next request.
    for _ in 0..2 {
        let announced = play(&client, &Trick::Announce.on(&list)).await.unwrap();
        assert!(announced.starts_with("200 []"), "{announced}");
    }
    // The host counts the bytes itself, so the body cannot become a second request.
    let create = Trick::Length.on(format!("{}/v1/session/create", agent.address()));
    let answer = play(&client, &create).await.unwrap();
    assert!(
        answer.starts_with("400") || answer.starts_with("500"),
        "{answer}"
    );
    assert!(
        play(&client, &Trick::Get.on(&list))
            .await
            .unwrap()
            .starts_with("200 []")
    );
}

/// A component that computes forever after a response is stopped, too.
#[tokio::test]
async fn every_step_ends_at_the_deadline() {
    let (agent, client) = agent_with(embedded(), SHORT).await;
    let later = Trick::SpinLater.on(format!("{}/v1/session/list", agent.address()));
    assert!(play(&client, &later).await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn concurrent_requests_are_bounded() {
    let (agent, client) = agent(plugin()).await;
    // The component starts 10,000 requests. The host rejects all but a few, and the agent keeps serving other clients.
    let _ = play(
        &client,
        &Trick::Hoard.on(format!("{}/v1/session/list", agent.address())),
    )
    .await;
    let neighbour = Client::builder()
        .address(agent.address())
        .token(Token::new("secret").unwrap())
        .build(runtime())
        .unwrap();
    assert!(neighbour.list().await.is_ok());
}

/// Requests count until the component ends them, even if a server answers before.
#[tokio::test]
async fn early_answers_do_not_evade_the_bound_on_requests() {
    let server = Server::raw(|mut stream, record| {
        if let Some(request) = Request::read(&mut stream)? {
            record(request);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}")?;
        }
        // Open until the client closes it.
        std::io::copy(&mut stream, &mut std::io::sink()).map(|_| ())
    });
    let client = Client::builder()
        .address(&server.url())
        .timeout(LONG)
        .build(plugin())
        .unwrap();
    let create = Trick::Unfinished.on(format!("{}/v1/session/create", server.url()));
    fails(&client, &create, "ConnectionLimitReached").await;
    assert_eq!(server.requests().len(), 8);
}

/// The host's memory behind the handles that a component holds.
#[tokio::test]
async fn resources_are_bounded() {
    let (_agent, client) = agent(plugin()).await;
    fails(
        &client,
        Trick::Resources.name(),
        "the component was stopped",
    )
    .await;
}

/// An instance carries over memory from one call to the next only with `reuse`, and never to another client.
#[tokio::test]
async fn instances_are_used_again_only_within_a_client_that_asks_for_it() {
    let agent = DevAgent::start().await.unwrap();
    let client = |reuse| {
        let settings = Client::builder().address(agent.address()).timeout(LONG);
        settings.reuse(reuse).build(embedded()).unwrap()
    };
    let (fresh, reusing, other) = (client(false), client(true), client(true));
    for (client, word, expected) in [
        (&fresh, "a", "a"),
        (&fresh, "b", "b"),
        (&reusing, "c", "c"),
        (&reusing, "d", "cd"),
        (&other, "e", "e"),
        (&fresh, "f", "f"),
        (&reusing, "g", "cdg"),
    ] {
        let remembered = play(client, &Trick::Remember.on(word)).await.unwrap();
        assert_eq!(remembered, expected);
    }
    // An instance that was stopped is not used again.
    play(&reusing, Trick::Trap.name()).await.unwrap_err();
    assert_eq!(play(&reusing, &Trick::Remember.on("h")).await.unwrap(), "h");
}
