//! The ways to make a call: read a session by its id.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use consul_session::{Client, Runtime};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A way to make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    /// hyper with the pool that the library has, and serde.
    Native,
    /// The built-in component, in a fresh sandbox for each call.
    Embedded,
    /// The built-in component, in a sandbox that a client keeps.
    Reused,
    /// The component over wasi:http, in a fresh sandbox for each call.
    Plugin,
}

impl Variant {
    pub(crate) const ALL: [Variant; 4] = [
        Variant::Native,
        Variant::Embedded,
        Variant::Reused,
        Variant::Plugin,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Variant::Native => "native",
            Variant::Embedded => "embedded",
            Variant::Reused => "reused",
            Variant::Plugin => "plugin",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Variant> {
        let found = Variant::ALL
            .into_iter()
            .find(|variant| variant.name() == name);
        found.with_context(|| format!("there is no variant {name}"))
    }
}

/// Makes calls to one server.
pub(crate) enum Caller {
    Native {
        pool: Pool<HttpConnector, Empty<Bytes>>,
        address: String,
    },
    Component(Client),
}

/// The fields that a native client would read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "decoding is what counts")]
struct Session {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    node: String,
    lock_delay: i64,
    behavior: String,
    #[serde(rename = "TTL")]
    ttl: String,
    node_checks: Option<Vec<String>>,
    create_index: u64,
    modify_index: u64,
}

impl Caller {
    /// Must be called on the runtime that makes the calls, which are at most `calls` at once.
    pub(crate) fn new(variant: Variant, address: &str, calls: u32) -> Result<Caller> {
        let calls = calls.max(256);
        let runtime = match variant {
            Variant::Native => {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                let pool = Pool::builder(TokioExecutor::new())
                    .pool_idle_timeout(Duration::from_secs(30))
                    .pool_max_idle_per_host(32)
                    .pool_timer(TokioTimer::new())
                    .build(connector);
                let address = address.to_owned();
                return Ok(Caller::Native { pool, address });
            }
            Variant::Embedded | Variant::Reused => Runtime::with_calls(calls)?,
            Variant::Plugin => Runtime::from_bytes(Runtime::plugin())?,
        };
        let settings = Client::builder()
            .address(address)
            .max_calls(calls)
            .reuse(variant == Variant::Reused)
            .timeout(Duration::from_secs(600));
        Ok(Caller::Component(settings.build(&runtime)?))
    }

    /// Creates a session to read, by a way that is not measured.
    pub(crate) async fn session(address: &str) -> Result<String> {
        let client = Client::builder().address(address).build(&Runtime::new()?)?;
        Ok(client
            .create(&consul_session::NewSession::named("bench"))
            .await?)
    }

    pub(crate) async fn call(&self, id: &str) -> Result<()> {
        match self {
            Caller::Native { pool, address } => {
                let request = http::Request::get(format!("{address}/v1/session/info/{id}"))
                    .header("accept", "application/json")
                    .body(Empty::new())?;
                let response = pool.request(request).await?;
                ensure!(response.status() == 200, "status {}", response.status());
                let body = response.into_body().collect().await?.to_bytes();
                let sessions: Vec<Session> = serde_json::from_slice(&body)?;
                ensure!(sessions.len() == 1, "no session");
            }
            Caller::Component(client) => {
                if client.info(id).await?.is_none() {
                    bail!("no session");
                }
            }
        }
        Ok(())
    }
}
