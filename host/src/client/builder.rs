//! The settings of a client: a tenant's address, credentials, trust, policy and limits.

use super::lanes::{CLIENT_UPKEEP, CLIENT_WAITS, Waits};
use super::{Client, Inner};
use crate::component::types::Agent;
use crate::error::{Error, Result};
use crate::network::{self, Network, Observer, Report};
use crate::policy::Policy;
use crate::runtime::Runtime;
use crate::session::nanoseconds;
use crate::token::Token;
use crate::trust::Trust;
use consul_session_core::Address;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Consul needs 7.3 s to report that it has no leader.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// For connecting, and again for the TLS handshake.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A longer timeout would overflow the clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Some 30,000 sessions. The component itself reads no more than this.
const DEFAULT_RESPONSE_LIMIT: usize = 8 << 20;

/// Builds a [`Client`]. Only the address is required.
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    address: Option<Result<Address>>,
    token: Option<Token>,
    trust: Trust,
    policy: Policy,
    datacenter: Option<String>,
    namespace: Option<String>,
    partition: Option<String>,
    timeout: Duration,
    connect_timeout: Duration,
    response_limit: usize,
    max_calls: Option<u32>,
    reuse: bool,
    observer: Option<Observer>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("address", &self.address)
            .field("token", &self.token)
            .field("trust", &self.trust)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(super) fn new() -> ClientBuilder {
        ClientBuilder {
            address: None,
            token: None,
            trust: Trust::system(),
            policy: Policy::deny_all(),
            datacenter: None,
            namespace: None,
            partition: None,
            timeout: DEFAULT_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            response_limit: DEFAULT_RESPONSE_LIMIT,
            max_calls: None,
            reuse: false,
            observer: None,
        }
    }

    /// Sets where Consul is: `http://host:port` or `https://host:port`. The policy allows this origin in addition to its
    /// own. There is no default, because it would hide a missing setting.
    pub fn address(mut self, address: &str) -> Self {
        self.address = Some(Address::parse("address", address));
        self
    }

    /// Sets an address that knows which setting it comes from.
    #[doc(hidden)]
    pub fn resolved_address(mut self, address: Address) -> Self {
        self.address = Some(Ok(address));
        self
    }

    /// Sets the ACL token. The host adds it to requests to the address; the component never sees it.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets the trusted certificates and the client's own. Default: the system's roots, and no client certificate.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets what else may be reached. Default: nothing.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the datacenter. Default: the agent's own.
    pub fn datacenter(mut self, datacenter: impl Into<String>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }

    /// Sets the namespace (Consul Enterprise). Default: the token's own.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the admin partition (Consul Enterprise). Default: the agent's own.
    pub fn partition(mut self, partition: impl Into<String>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Sets the timeout of a call as a whole, whatever the component or the server do. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Sets the timeout for connecting, and again for the TLS handshake. Default: 5 s.
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout.min(MAX_TIMEOUT);
        self
    }

    /// Sets the maximum size of a response in bytes. Default: 8 MiB, which is also the most that the built-in component
    /// reads.
    pub fn response_limit(mut self, response_limit: usize) -> Self {
        self.response_limit = response_limit;
        self
    }

    /// Sets how many calls run at once, at least 1. Further calls wait within their timeout. Default: a quarter of the
    /// runtime's limit, which all clients share, so that a tenant whose Consul hangs does not delay the others.
    pub fn max_calls(mut self, max_calls: u32) -> Self {
        self.max_calls = Some(max_calls);
        self
    }

    /// Sets whether the client's calls may use an instance of the component again that has completed an earlier call of
    /// this client, instead of a fresh one each. Default: false.
    ///
    /// This saves time, and gives up a part of the isolation: what one call leaves in the component's memory, the next one
    /// could read or be affected by, if the component had a bug that lets it. Other clients are not affected. An
    /// instance that failed, or whose memory has grown, is not used again. A client keeps at most a
    /// quarter as many instances as it runs calls, for as long as it lives, and all clients of a runtime at most a quarter
    /// as many as the runtime runs calls. Components of the world `plugin` are not used again.
    pub fn reuse(mut self, reuse: bool) -> Self {
        self.reuse = reuse;
        self
    }

    /// Sets a function that is called after each request, for logging, tracing and metrics.
    pub fn on_request(mut self, observer: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// Fails if no address is set, or if it is malformed.
    pub fn build(self, runtime: &Runtime) -> Result<Client> {
        let address = self
            .address
            .unwrap_or_else(|| Err(Error::invalid("address", "no address is set")))?;
        let origin = address.to_string();
        let verifies = self.trust.verifies();
        let max_calls = self.max_calls.unwrap_or(runtime.calls() / 4).max(1);
        let max_calls = usize::try_from(max_calls).unwrap_or(Semaphore::MAX_PERMITS);
        let network = Network::new(network::Settings {
            policy: self.policy.allow(&origin)?,
            trust: self.trust,
            origin: &origin,
            token: self.token,
            connect_timeout: self.connect_timeout,
            response_limit: self.response_limit,
            observer: self.observer,
            share: runtime.connections(max_calls.saturating_add(2 * CLIENT_WAITS + CLIENT_UPKEEP)),
        })?;
        Ok(Client(Arc::new(Inner {
            kept: self.reuse.then(|| Arc::new(runtime.kept(max_calls))),
            computing: runtime.computing(),
            runtime: runtime.clone(),
            network: Arc::new(network),
            agent: Arc::new(Agent {
                address: origin,
                token: None,
                datacenter: self.datacenter,
                namespace: self.namespace,
                partition: self.partition,
                timeout: Some(nanoseconds(self.timeout)),
            }),
            address,
            verifies,
            timeout: self.timeout,
            calls: Semaphore::new(max_calls),
            upkeep: Semaphore::new(CLIENT_UPKEEP),
            to_acquire: Waits::new(CLIENT_WAITS),
            for_loss: Waits::new(CLIENT_WAITS),
        })))
    }
}
