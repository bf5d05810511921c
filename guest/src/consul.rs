//! The operations of Consul's API, one request each.

use crate::lock_types::Wait;
use crate::request::{self, Consistency, Request};
use crate::response::Context;
use crate::session::StoredSession;
use crate::transaction::{Entry, Refusal, Step};
use crate::transport::{Call, Response, Transport, TransportError};
use crate::types::{Agent, NewSession, Session};
use consul_session_core::duration::SECOND;
use consul_session_core::redact::Redactor;
use consul_session_core::settings::check_token;
use consul_session_core::{Address, Error, ErrorKind, Result};

/// The default timeout in nanoseconds. Consul needs 7.3 s to report that it has no leader.
pub const DEFAULT_TIMEOUT: u64 = 10 * SECOND;

/// A Consul agent, reached by a transport.
pub struct Consul<'a, T> {
    agent: &'a Agent,
    address: Address,
    transport: T,
}

/// Sessions that Consul listed: as it stored them, or only decoded.
#[derive(Debug, PartialEq)]
pub struct Sessions<S> {
    /// The sessions, ordered by id.
    pub sessions: Vec<S>,
    /// Whether Consul says that it omitted some.
    pub filtered: bool,
}

/// Sessions with their JSON.
pub type StoredSessions = Sessions<StoredSession>;

/// A session as an operation needs it.
pub trait FromResponse: Sized {
    /// Decodes a list of sessions.
    fn sessions(context: &Context<'_>, response: &Response) -> Result<Vec<Self>>;
}

impl FromResponse for StoredSession {
    fn sessions(context: &Context<'_>, response: &Response) -> Result<Vec<StoredSession>> {
        context.sessions(response)
    }
}

impl FromResponse for Session {
    fn sessions(context: &Context<'_>, response: &Response) -> Result<Vec<Session>> {
        context.decoded_sessions(response)
    }
}

/// A transaction that Consul refused because of the state of a key.
#[derive(Debug)]
pub struct Refused {
    /// The steps that failed, and why.
    pub refusals: Vec<Refusal>,
    /// The same as an error.
    pub error: Error,
}

impl Refused {
    /// Whether the step of this number failed for a reason that contains this text.
    pub fn says(&self, step: usize, text: &str) -> bool {
        let mut refusals = self.refusals.iter();
        refusals.any(|refusal| refusal.step == step && refusal.what.contains(text))
    }
}

impl<'a, T: Transport> Consul<'a, T> {
    /// Checks the agent's settings.
    pub fn new(agent: &'a Agent, transport: T) -> Result<Self> {
        Consul::at(agent, Address::parse("address", &agent.address)?, transport)
    }

    /// Like [`Consul::new`], with an address that knows where it comes from.
    pub fn at(agent: &'a Agent, address: Address, transport: T) -> Result<Self> {
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
    pub async fn create(&self, new: &NewSession) -> Result<String> {
        let request = request::create(self.agent, new)?;
        self.exchange(&request, |context, response| context.created(response))
            .await
    }

    /// Destroys a session.
    pub async fn destroy(&self, id: &str) -> Result<()> {
        let request = request::destroy(self.agent, id)?;
        self.exchange(&request, |context, response| context.destroyed(response))
            .await
    }

    /// Returns the session with this id: none or one.
    pub async fn info<S: FromResponse>(
        &self,
        id: &str,
        consistency: Consistency,
    ) -> Result<Sessions<S>> {
        self.read(&request::info(self.agent, id, consistency)?)
            .await
    }

    /// Returns the sessions of a node.
    pub async fn node<S: FromResponse>(
        &self,
        name: &str,
        consistency: Consistency,
    ) -> Result<Sessions<S>> {
        self.read(&request::node(self.agent, name, consistency)?)
            .await
    }

    /// Returns all sessions.
    pub async fn list<S: FromResponse>(&self, consistency: Consistency) -> Result<Sessions<S>> {
        self.read(&request::list(self.agent, consistency)).await
    }

    /// Renews a session and returns it.
    pub async fn renew<S: FromResponse>(&self, id: &str) -> Result<S> {
        let request = request::renew(self.agent, id)?;
        self.exchange(&request, |context, response| {
            let session = S::sessions(context, response)?.into_iter().next();
            session.ok_or_else(|| {
                let message = format!("cannot {}: Consul returned no session", request.purpose);
                Error::new(ErrorKind::NotFound, message)
            })
        })
        .await
    }

    /// Returns a key, and the index of the read.
    pub async fn key(
        &self,
        key: &str,
        consistency: Consistency,
        wait: Option<&Wait>,
    ) -> Result<(Option<Entry>, u64)> {
        let request = request::read_key(self.agent, key, consistency, wait)?;
        let (entries, index) = self
            .exchange(&request, |context, response| context.entries(response))
            .await?;
        Ok((entries.into_iter().next(), index))
    }

    /// Returns the keys below a prefix, and the index of the read.
    pub async fn keys_below(
        &self,
        prefix: &str,
        consistency: Consistency,
        wait: Option<&Wait>,
    ) -> Result<(Vec<Entry>, u64)> {
        let request = request::read_keys_below(self.agent, prefix, consistency, wait)?;
        self.exchange(&request, |context, response| context.entries(response))
            .await
    }

    /// Carries out all steps of a transaction, or none. Returns the keys that it changed or checked. `purpose` follows
    /// "cannot" in errors, and `hint` follows what Consul says if it refuses the transaction.
    pub async fn transact(
        &self,
        steps: &[Step<'_>],
        purpose: String,
        hint: &str,
    ) -> Result<std::result::Result<Vec<Entry>, Refused>> {
        let request = request::transaction(self.agent, steps, purpose);
        self.exchange(&request, |context, response| {
            let transacted = context.transacted(response)?;
            Ok(transacted.map_err(|refusals| {
                let error = context.conflict(response, &refusals, hint);
                Refused { refusals, error }
            }))
        })
        .await
    }

    async fn read<S: FromResponse>(&self, request: &Request) -> Result<Sessions<S>> {
        self.exchange(request, |context, response| {
            Ok(Sessions {
                sessions: S::sessions(context, response)?,
                filtered: response.filtered,
            })
        })
        .await
    }

    async fn exchange<V>(
        &self,
        request: &Request,
        decode: impl FnOnce(&Context<'_>, &Response) -> Result<V>,
    ) -> Result<V> {
        let response = self.send(request).await;
        let context = self.context(request);
        match response {
            Ok(response) => decode(&context, &response),
            Err(error) => Err(context.no_response(&error)),
        }
    }

    /// Sends a request. Apart from [`Consul::exchange`], of which there is a copy for each way to decode.
    async fn send(&self, request: &Request) -> std::result::Result<Response, TransportError> {
        let call = Call {
            address: &self.address,
            token: self.token(),
            timeout: self.agent.timeout.unwrap_or(DEFAULT_TIMEOUT).max(1),
        };
        self.transport.send(&call, request).await
    }

    fn context<'b>(&'b self, request: &'b Request) -> Context<'b> {
        Context {
            request,
            address: &self.address,
            redactor: Redactor::new(self.token()),
        }
    }

    fn token(&self) -> Option<&str> {
        let token = self.agent.token.as_deref();
        token.filter(|token| !token.is_empty())
    }
}
