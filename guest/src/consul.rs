//! The operations of Consul's session API, one request each.

use crate::answer::Context;
use crate::connection::{Address, check_token};
use crate::duration::SECOND;
use crate::error::{Fault, failure};
use crate::request::{self, Consistency, Request};
use crate::session::Stored;
use crate::transport::{Answer, Call, Transport};
use crate::types::{Agent, ErrorKind, NewSession};

/// How long to wait if the caller does not say: Consul needs 7.3 s to say that it has no leader.
const DEFAULT_TIMEOUT: u64 = 10 * SECOND;

/// A Consul agent, reached by a transport.
pub struct Consul<'a, T> {
    agent: &'a Agent,
    address: Address,
    transport: T,
}

/// Sessions that Consul listed.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// The sessions, ordered by id.
    pub sessions: Vec<Stored>,
    /// Consul says that it left some out.
    pub filtered: bool,
}

impl<'a, T: Transport> Consul<'a, T> {
    /// Checks the agent's settings.
    pub fn new(agent: &'a Agent, transport: T) -> Result<Self, Fault> {
        Consul::at(agent, Address::parse("address", &agent.address)?, transport)
    }

    /// As [`Consul::new`], with an address that knows where it comes from.
    pub fn at(agent: &'a Agent, address: Address, transport: T) -> Result<Self, Fault> {
        if let Some(token) = &agent.token {
            check_token(token)?;
        }
        Ok(Consul {
            agent,
            address,
            transport,
        })
    }

    /// Creates a session and returns its id.
    pub fn create(&self, new: &NewSession) -> Result<String, Fault> {
        let request = request::create(self.agent, new)?;
        self.exchange(&request, |context, answer| context.created(answer))
    }

    /// Destroys a session.
    pub fn destroy(&self, id: &str) -> Result<(), Fault> {
        let request = request::destroy(self.agent, id)?;
        self.exchange(&request, |context, answer| context.destroyed(answer))
    }

    /// The session of this id: none or one.
    pub fn info(&self, id: &str, consistency: Consistency) -> Result<Listed, Fault> {
        let request = request::info(self.agent, id, consistency)?;
        self.read(&request)
    }

    /// The sessions of a node.
    pub fn node(&self, name: &str, consistency: Consistency) -> Result<Listed, Fault> {
        let request = request::node(self.agent, name, consistency)?;
        self.read(&request)
    }

    /// All sessions.
    pub fn list(&self, consistency: Consistency) -> Result<Listed, Fault> {
        self.read(&request::list(self.agent, consistency))
    }

    /// Renews a session and returns it.
    pub fn renew(&self, id: &str) -> Result<Stored, Fault> {
        let request = request::renew(self.agent, id)?;
        self.exchange(&request, |context, answer| {
            context.sessions(answer)?.into_iter().next().ok_or_else(|| {
                let message = format!(
                    "cannot {}: Consul answers without a session",
                    request.purpose
                );
                failure(ErrorKind::NotFound, message)
            })
        })
    }

    fn read(&self, request: &Request) -> Result<Listed, Fault> {
        self.exchange(request, |context, answer| {
            Ok(Listed {
                sessions: context.sessions(answer)?,
                filtered: answer.filtered,
            })
        })
    }

    fn exchange<V>(
        &self,
        request: &Request,
        read: impl FnOnce(&Context<'_>, &Answer) -> Result<V, Fault>,
    ) -> Result<V, Fault> {
        let token = self
            .agent
            .token
            .as_deref()
            .filter(|token| !token.is_empty());
        let context = Context {
            request,
            address: &self.address,
            token,
        };
        let call = Call {
            address: &self.address,
            token,
            timeout: self.agent.timeout.unwrap_or(DEFAULT_TIMEOUT).max(1),
        };
        let answer = self
            .transport
            .send(&call, request)
            .map_err(|breach| context.breach(&breach))?;
        read(&context, &answer)
    }
}
