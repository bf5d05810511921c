//! What a client is made of: a tenant's address, credentials, trust, policy and limits.

use super::{Client, Inner};
use crate::bindings::types::Agent;
use crate::error::{Error, Result};
use crate::network::{self, Network, Observer, Report};
use crate::policy::Policy;
use crate::runtime::Runtime;
use crate::token::Token;
use crate::trust::Trust;
use anyhow::Context;
use consul_session_guest::connection::Address;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Consul needs 7.3 s to say that it has no leader.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// For each of connecting and the TLS handshake.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer is as good as for ever, and clocks overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Some 30,000 sessions. The component itself reads no more than this.
const DEFAULT_RESPONSE_LIMIT: usize = 8 << 20;

/// Puts a [`Client`] together. Only the address is needed.
#[derive(Clone)]
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
    observer: Option<Observer>,
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
            observer: None,
        }
    }

    /// Where Consul is: `http://host:port` or `https://host:port`. The policy allows this origin and no other, unless
    /// told so.
    pub fn address(self, address: &str) -> Self {
        let address = Address::parse("address", address).map_err(Error::from);
        ClientBuilder {
            address: Some(address),
            ..self
        }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn resolved_address(self, address: Address) -> Self {
        ClientBuilder {
            address: Some(Ok(address)),
            ..self
        }
    }

    /// The ACL token. It is added to requests to the address, by the host; the component never sees it.
    pub fn token(self, token: Token) -> Self {
        ClientBuilder {
            token: Some(token),
            ..self
        }
    }

    /// Whom to trust, and the client's certificate. Default: the system's roots.
    pub fn trust(self, trust: Trust) -> Self {
        ClientBuilder { trust, ..self }
    }

    /// What else may be reached. Default: nothing.
    pub fn policy(self, policy: Policy) -> Self {
        ClientBuilder { policy, ..self }
    }

    /// The datacenter; default: the agent's own.
    pub fn datacenter(self, datacenter: impl Into<String>) -> Self {
        ClientBuilder {
            datacenter: Some(datacenter.into()),
            ..self
        }
    }

    /// The namespace (Consul Enterprise).
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        ClientBuilder {
            namespace: Some(namespace.into()),
            ..self
        }
    }

    /// The admin partition (Consul Enterprise).
    pub fn partition(self, partition: impl Into<String>) -> Self {
        ClientBuilder {
            partition: Some(partition.into()),
            ..self
        }
    }

    /// How long a call may take as a whole, whatever the component or the server do. Default: 10 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        ClientBuilder {
            timeout: timeout.min(LONGEST_TIMEOUT),
            ..self
        }
    }

    /// How long connecting may take, and again the TLS handshake. Default: 5 s.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        ClientBuilder {
            connect_timeout: connect_timeout.min(LONGEST_TIMEOUT),
            ..self
        }
    }

    /// How large an answer may be, in bytes. Default: 8 MiB, which is also the most that the built-in component reads.
    pub fn response_limit(self, response_limit: usize) -> Self {
        ClientBuilder {
            response_limit,
            ..self
        }
    }

    /// How many calls run at once, 1 at least; more wait for their turn, in the time they have. The bound of the runtime,
    /// which all clients share, comes on top: one tenant whose Consul hangs does not hold up the others. Default: a
    /// quarter of the runtime's.
    pub fn max_calls(self, max_calls: u32) -> Self {
        ClientBuilder {
            max_calls: Some(max_calls),
            ..self
        }
    }

    /// Is told of every request of the component that came to an end, for logs, traces and figures.
    pub fn on_request(self, observer: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        ClientBuilder {
            observer: Some(Arc::new(observer)),
            ..self
        }
    }

    /// Checks the settings.
    pub fn build(self, runtime: &Runtime) -> anyhow::Result<Client> {
        let address = self.address.context(
            "no address is set; there is no default, as it would hide a missing setting",
        )??;
        let origin = address.to_string();
        let policy = self.policy.allow(&origin)?;
        let token = match self.token {
            Some(token) => Some((origin.parse()?, token)),
            None => None,
        };
        let max_calls = self.max_calls.unwrap_or(runtime.calls() / 4);
        let verifies = self.trust.verifies();
        let network = Network::new(network::Settings {
            policy,
            trust: self.trust,
            token,
            connect_timeout: self.connect_timeout,
            response_limit: self.response_limit,
            observer: self.observer,
        })?;
        Ok(Client(Arc::new(Inner {
            runtime: runtime.clone(),
            network: Arc::new(network),
            agent: Agent {
                address: origin,
                token: None,
                datacenter: self.datacenter,
                namespace: self.namespace,
                partition: self.partition,
                timeout: Some(nanoseconds(self.timeout)),
            },
            address,
            verifies,
            timeout: self.timeout,
            turns: Semaphore::new(usize::try_from(max_calls.max(1))?),
        })))
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
