//! An in-memory HTTP server that imitates HashiCorp Consul's sessions, locks and key-value store.
//!
//! It serves what sessions and locks need: `/v1/session`, `/v1/kv`, `/v1/txn`, and as much of
//! `/v1/catalog`, `/v1/health`, `/v1/agent` and `/v1/status` as it takes to bind a session to a node
//! or a check, and to make that check fail. Statuses, texts, defaults and timing are those of Consul
//! 1.8.7 in `-dev` mode, or of a newer [`Version`]. It is one process with one node and no disk, for
//! tests and demos.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use consul_session_dev_agent::DevAgent;
//!
//! let agent = DevAgent::start().await?;
//! assert!(agent.address().starts_with("http://127.0.0.1:"));
//! agent.shutdown().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! # Where it differs from Consul
//!
//! * A chunked KV value is held to the same size limit as any other, as in newer versions of Consul.
//!   The chunked body of a session's creation is ignored, as in Consul.
//! * A check registered with the agent is in the catalog at once. Only TTL checks change by
//!   themselves; all others keep the status they were registered with.
//! * The agent's own node cannot be removed: it is registered again at once, without its sessions.
//! * One ACL token permits everything, and one may permit nothing. There are no other datacenters, no
//!   namespaces, no compression and no snapshots.
//! * Keys are UTF-8: each invalid byte becomes U+FFFD, so keys that differ only there are one key.
//! * JSON nests at most 127 levels deep. Responses contain `<` as it is, not as `\u003c`.
//! * Transactions run KV operations only.
//! * Everything is bounded, see [`Limits`]. An agent at a limit responds with 503, or with 429 to one
//!   more blocking query, and goes on serving.
//!
//! # Newer versions
//!
//! [`imitate`](DevAgentBuilder::imitate) selects a newer [`Version`]. The agent then responds as Consul
//! 1.22 does in the endpoints for sessions, keys and transactions, in errors, and in headers. Unlike
//! those of 1.8.7, these responses were not recorded from a running server, but read in Consul's
//! source. The table in `version.rs` has a row for every difference that the agent imitates, with the
//! file in which it was read.
//!
//! # How it is built
//!
//! | module | what it does |
//! |---|---|
//! | `builder` | starts an agent |
//! | `server`, `tls` | accept connections |
//! | `router` | finds the endpoint for a path and a method |
//! | `endpoints` | translate between HTTP and the state machine, one file for each part of the API |
//! | `agent` | the state and the settings that all endpoints share |
//! | `session_list` | caches the serialized list of all sessions |
//! | `request`, `params` | what endpoints receive |
//! | `error`, `response` | what endpoints return; `error` has the status of each failure |
//! | `shared_state`, `waiters` | the state behind its lock, driven by the clock; blocked queries |
//! | `state` | sessions, keys, transactions and the catalog: a state machine without clock, thread or network |
//! | `version` | the versions of Consul that can be imitated, and all differences between them |
//! | `acl`, `limits` | access control; upper bounds |
//! | `go` | JSON, durations, URLs and base64 as Go's standard library reads and writes them |
//!
//! Each module depends only on modules below it in this table, or beside it in the same row.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod acl;
mod agent;
mod builder;
mod endpoints;
mod error;
mod go;
mod limits;
mod params;
mod request;
mod response;
mod router;
mod server;
mod session_list;
mod shared_state;
mod state;
mod tls;
mod version;
mod waiters;

use std::io;

use tokio::task::JoinHandle;

pub use builder::DevAgentBuilder;
pub use limits::Limits;
pub use version::Version;

/// The version of Consul that the agent imitates by default, and then reports as its own.
pub const VERSION: &str = "1.8.7";

/// A running agent. Dropping it stops it.
#[derive(Debug)]
pub struct DevAgent {
    address: String,
    ca_pem: Option<String>,
    server: JoinHandle<()>,
}

impl DevAgent {
    /// Starts an agent with default settings on a free port of the loopback interface.
    ///
    /// The agent runs on the current Tokio runtime, as one background task.
    ///
    /// # Errors
    ///
    /// Fails if the operating system provides no port.
    ///
    /// # Panics
    ///
    /// Panics if called outside a Tokio runtime, or in one without I/O and time enabled.
    pub async fn start() -> io::Result<DevAgent> {
        Self::builder().start().await
    }

    /// Returns a builder for an agent with other settings.
    pub fn builder() -> DevAgentBuilder {
        DevAgentBuilder::new()
    }

    /// Returns the URL the agent listens on, in the form of `CONSUL_HTTP_ADDR`:
    /// `http://127.0.0.1:43211`, or `https://` with TLS.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the PEM-encoded certificate of the authority that signed the agent's certificate, or
    /// `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Stops the agent and waits until its port is closed. Blocked queries and open connections are
    /// cut off.
    pub async fn shutdown(mut self) {
        self.server.abort();
        // The task was aborted, so the error says only that.
        let _ = (&mut self.server).await;
    }
}

impl Drop for DevAgent {
    fn drop(&mut self) {
        self.server.abort();
    }
}
