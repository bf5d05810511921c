//! Settings of an agent, and its start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::acl::Acl;
use crate::agent::Agent;
use crate::session_list::SessionListCache;
use crate::shared_state::SharedState;
use crate::state::State;
use crate::{DevAgent, Limits, Version, server, tls};

/// Configures and starts a [`DevAgent`]; see [`DevAgent::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct DevAgentBuilder {
    version: Version,
    listen: SocketAddr,
    node: String,
    datacenter: String,
    acl_token: Option<String>,
    powerless_token: Option<String>,
    tls: bool,
    ca_file: Option<PathBuf>,
    limits: Limits,
}

impl DevAgentBuilder {
    pub(crate) fn new() -> DevAgentBuilder {
        DevAgentBuilder {
            version: Version::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            node: "dev-agent".into(),
            datacenter: "dc1".into(),
            acl_token: None,
            powerless_token: None,
            tls: false,
            ca_file: None,
            limits: Limits::default(),
        }
    }

    /// Sets the version of Consul to imitate; the default is 1.8.7, the only one whose responses were
    /// recorded.
    pub fn imitate(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets the address to listen on; the default is a free port of 127.0.0.1.
    ///
    /// Without [`acl_token`](Self::acl_token), anyone who can reach the address can use the agent.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets the name of the agent's node; the default is `dev-agent`.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// Sets the name of the agent's datacenter; the default is `dc1`.
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = name.into();
        self
    }

    /// Enables access control: only requests with this token may do anything.
    ///
    /// Other requests get what Consul with `default_policy = "deny"` gives them: without a token,
    /// writes get a 403 and lists are empty; with another token, almost everything gets a 403.
    pub fn acl_token(mut self, token: impl Into<String>) -> Self {
        self.acl_token = Some(token.into());
        self
    }

    /// Adds a token that the agent knows but that permits nothing. Without
    /// [`acl_token`](Self::acl_token), it has no effect.
    ///
    /// Requests with it are denied and filtered like those without a token. Newer versions of Consul
    /// tell the two apart: only a request with a token learns that results were filtered.
    pub fn powerless_token(mut self, token: impl Into<String>) -> Self {
        self.powerless_token = Some(token.into());
        self
    }

    /// Enables TLS, with a certificate for `localhost`, 127.0.0.1, ::1 and the address the agent
    /// listens on. A new authority signs it; see [`DevAgent::ca_pem`].
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Enables TLS and writes the authority's certificate to a PEM file, for `CONSUL_CACERT`.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls = true;
        self.ca_file = Some(path.into());
        self
    }

    /// Sets the agent's upper bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the agent as a background task of the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the address is not available, or if the certificate cannot be created or written.
    ///
    /// # Panics
    ///
    /// Panics if called outside a Tokio runtime, or in one without I/O and time enabled.
    pub async fn start(self) -> io::Result<DevAgent> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let tls = if self.tls {
            Some(tls::Tls::generate(address.ip())?)
        } else {
            None
        };
        if let (Some(path), Some(tls)) = (&self.ca_file, &tls) {
            // A blocking write, but of a few hundred bytes and before the first request.
            std::fs::write(path, &tls.ca_pem).map_err(|error| {
                let message = format!("cannot write the CA to {}: {error}", path.display());
                io::Error::new(error.kind(), message)
            })?;
        }
        let (acceptor, ca_pem) = match tls {
            Some(tls) => (Some(tls.acceptor), Some(tls.ca_pem)),
            None => (None, None),
        };
        let version = self.version.differences();
        let state = State::new(version, &self.node, &self.datacenter, self.limits.clone());
        let agent = Agent {
            version,
            state: SharedState::new(state),
            acl: Acl::new(self.acl_token, self.powerless_token),
            limits: self.limits,
            node: self.node,
            datacenter: self.datacenter,
            address,
            session_list: SessionListCache::default(),
        };
        let scheme = if self.tls { "https" } else { "http" };
        Ok(DevAgent {
            address: format!("{scheme}://{address}"),
            ca_pem,
            server: tokio::spawn(server::run(Arc::new(agent), listener, acceptor)),
        })
    }
}
