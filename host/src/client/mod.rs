//! The typed client: the component's operations as async functions, each call in a sandbox of its own.

mod builder;
mod call;
mod hints;
mod lanes;
mod locks;
mod tenant_parameters;

pub use builder::ClientBuilder;
pub(crate) use lanes::{Lane, RUNTIME_WAITS, Waiting, Waits};

use crate::component::types as wire;
use crate::component::{Operation, Parameters, Returned};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::outcome::{Outcome, failure_from_component, warnings_from_component};
use crate::runtime::{ComputingShare, Kept, Runtime};
use crate::session::{Ensured, Listing, NewSession, OnDifference, Session};
use call::Turn;
use consul_session_core::Address;
use consul_session_core::arguments::{self, MAX_PARAMETERS};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tenant_parameters::TenantParameters;
use tokio::sync::Semaphore;
use wire::Failure;

/// One tenant's access to one Consul: an address, credentials, trust, a policy and limits.
///
/// Clients share a [`Runtime`] and nothing else. Cloning is cheap. Every method fails with an [`Error`] whose
/// [kind](Error::kind) tells what went wrong; dropping a future cancels the call, and a write that was under way may still
/// be applied.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    network: Arc<Network>,
    address: Address,
    verifies: bool,
    agent: Arc<wire::Agent>,
    timeout: Duration,
    calls: Semaphore,
    upkeep: Semaphore,
    to_acquire: Arc<Waits>,
    for_loss: Arc<Waits>,
    computing: Arc<ComputingShare>,
    /// Instances to use again, if the client was asked to.
    kept: Option<Arc<Kept>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.0.address.to_string())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn waits(&self, waiting: Waiting) -> &Waits {
        match waiting {
            Waiting::ToAcquire => &self.to_acquire,
            Waiting::ForLoss => &self.for_loss,
        }
    }
}

impl Client {
    /// Starts building a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Creates a session and returns its id. Every call creates another session.
    pub async fn create(&self, session: &NewSession) -> Result<String> {
        let new = wire::NewSession::from(session);
        self.call(Operation::Create, new.size(), |agent| (agent, new))
            .await
    }

    /// Destroys the session with this id, whether it exists or not.
    pub async fn destroy(&self, id: &str) -> Result<()> {
        self.call(Operation::Destroy, id.len(), |agent| (agent, id.to_owned()))
            .await
    }

    /// Returns the session with this id, if it exists and the token may read it.
    pub async fn info(&self, id: &str) -> Result<Option<Session>> {
        let found: Option<wire::Session> = self
            .call(Operation::Info, id.len(), |agent| (agent, id.to_owned()))
            .await?;
        Ok(found.map(Session::from))
    }

    /// Lists the sessions of a node.
    pub async fn node(&self, name: &str) -> Result<Listing> {
        let listing: wire::Listing = self
            .call(Operation::Node, name.len(), |agent| {
                (agent, name.to_owned())
            })
            .await?;
        Ok(listing.into())
    }

    /// Lists all sessions that the token may read.
    pub async fn list(&self) -> Result<Listing> {
        let listing: wire::Listing = self.call(Operation::List, 0, |agent| (agent,)).await?;
        Ok(listing.into())
    }

    /// Renews a session, so that its TTL starts again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the session has ended; its locks are lost.
    pub async fn renew(&self, id: &str) -> Result<Session> {
        let session: wire::Session = self
            .call(Operation::Renew, id.len(), |agent| (agent, id.to_owned()))
            .await?;
        Ok(session.into())
    }

    /// Makes sure that one session of this name exists. Callers that race converge on the same session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if a session of this name has other attributes and
    /// `on_difference` is [`OnDifference::Refuse`].
    pub async fn ensure(
        &self,
        session: &NewSession,
        on_difference: OnDifference,
    ) -> Result<Ensured> {
        let new = wire::NewSession::from(session);
        let on_difference = wire::OnDifference::from(on_difference);
        let ensured: wire::Ensured = self
            .call(Operation::Ensure, new.size(), |agent| {
                (agent, new, on_difference)
            })
            .await?;
        let mut ensured = Ensured::from(ensured);
        ensured.warnings = warnings_from_component(ensured.warnings, self.0.network.redactor())?;
        Ok(ensured)
    }

    /// Destroys every session of this name, on one node if `node` is given, and returns their ids.
    pub async fn remove(&self, name: &str, node: Option<&str>) -> Result<Vec<String>> {
        self.call(
            Operation::Remove,
            name.len() + node.map_or(0, str::len),
            |agent| (agent, name.to_owned(), node.map(str::to_owned)),
        )
        .await
    }

    /// Runs an action for a tenant: `parameters` is a JSON object with the parameters of the automation module.
    ///
    /// The client decides about the connection. An address in the parameters is used if the policy allows it, a token if
    /// the client has none, and a timeout if it is shorter than the client's. TLS settings are refused.
    pub async fn action(&self, parameters: &str) -> Result<Outcome> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(arguments::too_large());
        }
        let (turn, parameters) = if call::is_short(parameters.len()) {
            let checked = TenantParameters::check(self, parameters)?;
            (self.turn(checked.timeout).await?, checked.parameters)
        } else {
            let mut turn = self.turn(self.0.timeout).await?;
            let (client, copy) = (self.clone(), parameters.to_owned());
            let check = move || TenantParameters::check(&client, &copy);
            let checked = turn.handle(parameters.len(), check).await?;
            turn.shorten(checked.timeout);
            (turn, checked.parameters)
        };
        self.act(&turn, parameters).await
    }

    /// Runs an action for the host itself, without the checks that [`Client::action`] makes. The policy still applies.
    ///
    /// `parameters` should not contain `token`, `timeout` or TLS settings, which the client has already.
    pub async fn trusted_action(&self, parameters: Map<String, Value>) -> Result<Outcome> {
        let parameters = TenantParameters::trusted(self, parameters)?;
        let turn = self.turn(self.0.timeout).await?;
        self.act(&turn, parameters).await
    }

    async fn act(&self, turn: &Turn<'_>, parameters: String) -> Result<Outcome> {
        let result: Result<String, String> = turn
            .run(Operation::Action, parameters.len(), |_| (parameters,))
            .await?;
        match result {
            Ok(json) => {
                let (network, size) = (self.0.network.clone(), json.len());
                let read = move || Outcome::from_component(json, network.redactor());
                turn.handle(size, read).await
            }
            Err(json) => Err(self.explain(failure_from_component(&json), turn.journal())),
        }
    }

    /// Carries out a typed operation.
    async fn call<P, T>(
        &self,
        operation: Operation,
        input: usize,
        parameters: impl FnOnce(Arc<wire::Agent>) -> P,
    ) -> Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let turn = self.turn(self.0.timeout).await?;
        let result: Result<T, Failure> = turn.run(operation, input, parameters).await?;
        result.map_err(|failure| self.explain(Error::from(failure), turn.journal()))
    }
}
