//! An embedded, in-memory, Consul-compatible development agent.
//!
//! It serves what Consul's sessions and locks need - `/v1/session`, `/v1/kv`, `/v1/txn`, and as
//! much of `/v1/catalog`, `/v1/health`, `/v1/agent` and `/v1/status` as it takes to bind a session
//! to a node or a check and to let that check fail - the way Consul 1.8.7 in `-dev` mode does:
//! same statuses, texts, defaults and timing. It is one process, one node and no disk, for tests
//! and for trying things out.
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
//! * A session created with a chunked body gets all defaults, as Consul has it: a body counts only
//!   if its length is declared. A chunked KV value is read, as Consul has it, but held to the same
//!   limit as any other, as only newer versions have it.
//! * A check of the agent is in the catalog at once. Only TTL checks change by themselves; any
//!   other kind keeps the status it was registered with.
//! * The agent's own node cannot be removed: it comes back at once, without its sessions.
//! * One ACL token, all or nothing. No other datacenters, no namespaces, no gzip, no snapshots.
//! * Keys are UTF-8: each invalid byte becomes U+FFFD, so keys that differ only there are one key.
//! * JSON nests at most 127 levels deep. Responses contain `<` as it is, not as `\u003c`.
//! * Transactions run KV operations only.
//! * Everything is bounded, see [`Limits`]; a full agent answers 503, or 429 to one more blocked
//!   query, and keeps serving.
//!
//! # How it is built
//!
//! | module | what it does |
//! |---|---|
//! | `server`, `tls` | accepts connections |
//! | `router` | finds the endpoint for a path and a method |
//! | `endpoints` | translate between HTTP and the state machine, one file for each part of the API |
//! | `agent` | the state and the settings that all endpoints share |
//! | `request`, `params`, `response`, `error` | what endpoints receive and return; `error` has the status of each failure |
//! | `shared_state`, `waiters` | the state behind its lock, driven by the clock; blocked queries |
//! | `state` | sessions, keys, transactions and the catalog as a state machine without clock, thread or network |
//! | `acl`, `limits` | access control; upper bounds |
//! | `go` | JSON, durations, URLs and base64 as Go's standard library reads and writes them |
//!
//! A module depends on those below it in this table only.

mod acl;
mod agent;
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
mod waiters;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use limits::Limits;

/// The version of Consul the agent imitates.
pub const VERSION: &str = "1.8.7";

/// A running agent. It stops when it is dropped.
#[derive(Debug)]
pub struct DevAgent {
    address: String,
    ca_pem: Option<String>,
    server: JoinHandle<()>,
}

/// What an agent shall be like; see [`DevAgent::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    listen: SocketAddr,
    node: String,
    datacenter: String,
    acl_token: Option<String>,
    tls: bool,
    ca_file: Option<PathBuf>,
    limits: Limits,
}

impl DevAgent {
    /// Starts an agent on a free port of the loopback interface.
    ///
    /// Like everything here it must be called within a tokio runtime with I/O and time enabled;
    /// the agent lives on that runtime.
    ///
    /// # Errors
    ///
    /// Fails if no port can be had.
    pub async fn start() -> io::Result<DevAgent> {
        Self::builder().start().await
    }

    /// An agent with other than the default settings.
    pub fn builder() -> Builder {
        Builder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            node: "dev-agent".into(),
            datacenter: "dc1".into(),
            acl_token: None,
            tls: false,
            ca_file: None,
            limits: Limits::default(),
        }
    }

    /// Where the agent listens, as `CONSUL_HTTP_ADDR` takes it: `http://127.0.0.1:43211`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate to trust, if the agent speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Stops the agent; blocked queries and all connections break off.
    pub async fn shutdown(mut self) {
        self.server.abort();
        // The error says that the task was aborted, which is what was asked for.
        let _ = (&mut self.server).await;
    }
}

impl Drop for DevAgent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Builder {
    /// Listens here instead of on a free loopback port. The agent trusts whoever reaches it:
    /// think twice before it is anything but a loopback address.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The name of the agent's node; `dev-agent` by default.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// The name of the agent's datacenter; `dc1` by default.
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = name.into();
        self
    }

    /// Denies everything to requests that do not carry this token, the way Consul with
    /// `default_policy = "deny"` does: writes get 403, reads of sessions an empty list.
    pub fn acl_token(mut self, token: impl Into<String>) -> Self {
        self.acl_token = Some(token.into());
        self
    }

    /// Speaks TLS, with a certificate for localhost from an authority made for this agent.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Writes the authority's certificate to a file, for `CONSUL_CACERT`. Turns TLS on.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls = true;
        self.ca_file = Some(path.into());
        self
    }

    /// Sets what the agent holds at most.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the agent.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be had, or the certificate be made or written.
    pub async fn start(self) -> io::Result<DevAgent> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let tls = if self.tls {
            Some(tls::self_made(address.ip())?)
        } else {
            None
        };
        if let (Some(path), Some(tls)) = (&self.ca_file, &tls) {
            // Once, before anybody is served, and a few hundred bytes: no need for a thread.
            std::fs::write(path, &tls.ca_pem).map_err(|error| {
                let why = format!("cannot write the CA to {}: {error}", path.display());
                io::Error::new(error.kind(), why)
            })?;
        }
        let (acceptor, ca_pem) = match tls {
            Some(tls) => (Some(tls.acceptor), Some(tls.ca_pem)),
            None => (None, None),
        };
        let state = state::State::new(&self.node, &self.datacenter, self.limits.clone());
        let agent = agent::Agent {
            state: shared_state::SharedState::new(state),
            acl: acl::Acl::new(self.acl_token),
            limits: self.limits,
            node: self.node,
            datacenter: self.datacenter,
            address,
            session_list: session_list::SessionListCache::default(),
        };
        let scheme = if self.tls { "https" } else { "http" };
        Ok(DevAgent {
            address: format!("{scheme}://{address}"),
            ca_pem,
            server: tokio::spawn(server::run(Arc::new(agent), listener, acceptor)),
        })
    }
}
