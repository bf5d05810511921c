//! The typed client: the component's operations as async functions, each in a sandbox of its own.

mod builder;
mod call;
mod explain;
mod grant;

pub use builder::ClientBuilder;
#[cfg(feature = "cli")]
pub(crate) use explain::without;

use crate::bindings::sessions::{Ensured, OnDifference};
use crate::bindings::types::{Agent, Listing, NewSession, Session};
use crate::error::Result;
use crate::network::Network;
use crate::runtime::{Journal, Runtime};
use consul_session_guest::connection::Address;
use consul_session_guest::words::{self, MAX_PARAMETERS};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// One tenant's access to one Consul: an address, credentials, trust, a policy and limits. Clients share a [`Runtime`]
/// and nothing else. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    network: Arc<Network>,
    address: Address,
    verifies: bool,
    agent: Agent,
    timeout: Duration,
    turns: Semaphore,
}

impl Client {
    /// Begins a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Creates a session and returns its id. A repeated call makes another session.
    pub async fn create(&self, session: &NewSession) -> Result<String> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_create(store, agent, session)
                .await
        })
        .await
    }

    /// Destroys the session with this id, whether it is there or not.
    pub async fn destroy(&self, id: &str) -> Result<()> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_destroy(store, agent, id)
                .await
        })
        .await
    }

    /// The session with this id, if it is there and the token may read it.
    pub async fn info(&self, id: &str) -> Result<Option<Session>> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_info(store, agent, id)
                .await
        })
        .await
    }

    /// The sessions of a node.
    pub async fn node(&self, name: &str) -> Result<Listing> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_node(store, agent, name)
                .await
        })
        .await
    }

    /// All sessions that the token may read.
    pub async fn list(&self) -> Result<Listing> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_list(store, agent)
                .await
        })
        .await
    }

    /// Starts a session's TTL anew. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): it has ended, and its locks are lost.
    pub async fn renew(&self, id: &str) -> Result<Session> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_renew(store, agent, id)
                .await
        })
        .await
    }

    /// Makes sure that one session of this name exists. Callers that race end with one and the same.
    pub async fn ensure(
        &self,
        session: &NewSession,
        on_difference: OnDifference,
    ) -> Result<Ensured> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_ensure(store, agent, session, on_difference)
                .await
        })
        .await
    }

    /// Destroys every session of this name, on a node if one is given, and returns their ids.
    pub async fn remove(&self, name: &str, node: Option<&str>) -> Result<Vec<String>> {
        self.call(async |exports, store, agent| {
            exports
                .consul_session_sessions()
                .call_remove(store, agent, name, node)
                .await
        })
        .await
    }

    /// The action door: the parameters of the automation module as a JSON object, and its result as one.
    ///
    /// Connection parameters are the host's to grant: an address counts if the policy allows it, a token if the client
    /// has none, a timeout if it is shorter; anything about TLS is refused.
    pub async fn action(&self, parameters: &str) -> Result<String, String> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(words::too_large().to_json().to_string());
        }
        let (parameters, timeout) = self
            .grant(parameters)
            .map_err(|error| error.to_json().to_string())?;
        let journal = Arc::new(Journal::default());
        let done = self
            .sandboxed(timeout, &journal, async |exports, store, _| {
                exports
                    .consul_session_action()
                    .call_run(store, &parameters)
                    .await
            })
            .await;
        match done {
            Ok(Ok(result)) => Ok(self.explained_result(result)),
            Ok(Err(failure)) => Err(self.explained_failure(failure, &journal)),
            Err(error) => Err(error.to_json().to_string()),
        }
    }
}

impl Default for NewSession {
    /// A session that leaves everything to Consul: 15 s lock delay, behavior release, no TTL, tied to its node's health.
    fn default() -> NewSession {
        NewSession {
            name: None,
            node: None,
            lock_delay: None,
            behavior: None,
            ttl: None,
            node_checks: None,
            service_checks: None,
            checks: None,
        }
    }
}
