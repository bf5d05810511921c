//! The typed client: the component's operations as async functions, each in a sandbox of its own.

use crate::bindings::Exports;
use crate::bindings::sessions::{Ensured, OnDifference};
use crate::bindings::types::{self, Agent, Listing, NewSession, Session};
use crate::error::{Error, ErrorKind, Exchange, Result, explained};
use crate::network::{self, Network, Observer, Report};
use crate::policy::Policy;
use crate::runtime::{Hooks, Journal, MAX_MEMORY, Runtime, State};
use crate::token::Token;
use crate::trust::Trust;
use anyhow::Context;
use consul_session_guest::connection::{Address, Environment, Settings, Source};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::Store;

/// Consul needs 7.3 s to say that it has no leader.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// For each of connecting and the TLS handshake.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer is as good as for ever, and clocks overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Shorter tokens are no secret, and taking them out would garble every text.
const MIN_SECRET: usize = 4;
/// What a component of bounded memory can be sure to read.
pub(crate) const MAX_PARAMETERS: usize = 6 << 20;
/// 30,000 sessions. The component itself reads no more than this.
const DEFAULT_RESPONSE_LIMIT: usize = 8 << 20;

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
}

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
    observer: Option<Observer>,
}

impl ClientBuilder {
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

    /// How large an answer may be, in bytes. Default: 8 MiB.
    pub fn response_limit(self, response_limit: usize) -> Self {
        ClientBuilder {
            response_limit,
            ..self
        }
    }

    /// Is told of every request that the component makes, for logs, traces and figures.
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
        })))
    }
}

impl Client {
    /// Begins a client.
    pub fn builder() -> ClientBuilder {
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
            observer: None,
        }
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

    /// Starts a session's TTL anew. [`ErrorKind::NotFound`]: it has ended, and its locks are lost.
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
            return Err(too_large().to_json().to_string());
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
            // What Consul stores is no message: a node may be named like a short token.
            Ok(Ok(result)) => Ok(self.redacted_json(result, |key| key == "warnings")),
            Ok(Err(failure)) => {
                Err(self.redacted_json(self.explain_json(failure, &journal), |_| true))
            }
            Err(error) => Err(error.to_json().to_string()),
        }
    }

    /// Takes the connection parameters off a tenant's call and puts the client's own in their place.
    fn grant(&self, parameters: &str) -> Result<(String, Duration)> {
        let inner = &self.0;
        let Ok(Value::Object(mut map)) = serde_json::from_str(parameters) else {
            // The component says what is wrong with it.
            return Ok((parameters.to_owned(), inner.timeout));
        };
        let given: Vec<&str> = Settings::PARAMETERS
            .into_iter()
            .filter(|name| map.get(*name).is_some_and(|value| !value.is_null()))
            .collect();
        let elsewhere = given
            .iter()
            .any(|name| matches!(*name, "url" | "host" | "port" | "scheme"));
        let settings = Settings::take(&mut map, Environment::EMPTY)?;
        let denied = |name: &str, why: &str| {
            Err(Error::new(
                ErrorKind::Denied,
                format!("`{name}` is not yours to set here: {why}"),
            ))
        };
        for name in ["ca_path", "client_cert", "client_key"] {
            if given.contains(&name) {
                return denied(name, "the host decides what is trusted and presented");
            }
        }
        if settings
            .validate_certs
            .is_some_and(|verify| verify != inner.verifies)
        {
            return denied(
                "validate_certs",
                "the host decides whether certificates are verified",
            );
        }
        if let Some(token) = settings.token {
            if inner.network.injects_token() {
                return denied("token", "the host sends its own");
            }
            map.insert("token".to_owned(), token.into());
        }
        let address = if elsewhere {
            &settings.address
        } else {
            &inner.address
        };
        map.insert("url".to_owned(), address.to_string().into());
        let timeout = settings.timeout.map_or(inner.timeout, |asked| {
            inner.timeout.min(Duration::from_nanos(asked))
        });
        map.insert(
            "timeout".to_owned(),
            format!("{}ns", nanoseconds(timeout)).into(),
        );
        default(&mut map, "datacenter", inner.agent.datacenter.as_deref());
        default(&mut map, "namespace", inner.agent.namespace.as_deref());
        default(&mut map, "partition", inner.agent.partition.as_deref());
        Ok((Value::Object(map).to_string(), timeout))
    }

    async fn call<T>(
        &self,
        operation: impl AsyncFnOnce(
            &Exports,
            &mut Store<State>,
            &Agent,
        ) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T> {
        let journal = Arc::new(Journal::default());
        match self.sandboxed(self.0.timeout, &journal, operation).await? {
            Ok(value) => Ok(value),
            Err(mut error) => {
                error.message = self.redacted(error.message);
                if let Some(exchange) = &mut error.exchange {
                    exchange.path = self.redacted(std::mem::take(&mut exchange.path));
                    exchange.text = self.redacted(std::mem::take(&mut exchange.text));
                }
                let error = Error::from(error);
                let unanswered = error
                    .exchange()
                    .is_some_and(|exchange| exchange.status.is_none());
                Err(match self.known(&journal).filter(|_| unanswered) {
                    Some(detail) => error.explain(&detail),
                    None => error,
                })
            }
        }
    }

    /// A text without the token, which a server may have repeated: the component does not know the token and cannot
    /// take it out.
    fn redacted(&self, text: String) -> String {
        match self.0.network.token() {
            Some(token) if token.len() >= MIN_SECRET => text.replace(token, "<token>"),
            _ => text,
        }
    }

    /// The same for each text in some fields of a JSON object.
    fn redacted_json(&self, json: String, field: fn(&str) -> bool) -> String {
        fn each(value: &mut Value, redact: &dyn Fn(String) -> String) {
            match value {
                Value::String(text) => *text = redact(std::mem::take(text)),
                Value::Array(values) => values.iter_mut().for_each(|value| each(value, redact)),
                Value::Object(fields) => fields.values_mut().for_each(|value| each(value, redact)),
                _ => {}
            }
        }
        let Some(token) = self.0.network.token() else {
            return json;
        };
        // Most answers hold nothing like it, and need not be read again. JSON escapes quotes and backslashes.
        if !json.contains(token) && !token.contains(['"', '\\']) {
            return json;
        }
        match serde_json::from_str(&json) {
            Ok(Value::Object(mut object)) => {
                for (key, value) in &mut object {
                    if field(key) {
                        each(value, &|text| self.redacted(text));
                    }
                }
                Value::Object(object).to_string()
            }
            Ok(_) | Err(_) => self.redacted(json),
        }
    }

    /// Runs an operation in a fresh store, under the deadline. The network gives up a little earlier than the deadline,
    /// so that the component itself can say what it was waiting for.
    async fn sandboxed<T>(
        &self,
        timeout: Duration,
        journal: &Arc<Journal>,
        operation: impl AsyncFnOnce(&Exports, &mut Store<State>, &Agent) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let inner = &self.0;
        let deadline = Instant::now() + timeout;
        let patience = deadline - (timeout / 10).min(Duration::from_millis(50));
        let hooks = Hooks::new(inner.network.clone(), journal.clone(), patience);
        let run = async {
            let _slot = inner.runtime.slot().await?;
            let mut store = inner.runtime.store(hooks, deadline);
            let exports = inner
                .runtime
                .component()
                .instantiate_async(&mut store)
                .await?;
            anyhow::Ok(operation(&exports, &mut store, &inner.agent).await?)
        };
        match tokio::time::timeout_at(deadline, run).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(trap)) => Err(self.stopped(&trap, timeout, journal)),
            Err(_) => Err(self.out_of_time(timeout, journal)),
        }
    }

    fn out_of_time(&self, timeout: Duration, journal: &Journal) -> Error {
        self.cut_off(
            ErrorKind::Timeout,
            &format!("the call took longer than the {timeout:?} it was given"),
            journal,
        )
    }

    fn stopped(&self, trap: &anyhow::Error, timeout: Duration, journal: &Journal) -> Error {
        match trap.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => self.out_of_time(timeout, journal),
            Some(_) if journal.out_of_memory() => self.cut_off(
                ErrorKind::Other,
                &format!(
                    "the component was stopped: it needs more than the {} MiB of memory that it may have",
                    MAX_MEMORY >> 20
                ),
                journal,
            ),
            Some(trap) => self.cut_off(
                ErrorKind::Other,
                &format!("the component was stopped: {trap}"),
                journal,
            ),
            None => self.cut_off(
                ErrorKind::Other,
                &format!("the component was stopped: {trap:#}"),
                journal,
            ),
        }
    }

    /// The error of a call that did not come to its own end.
    fn cut_off(&self, kind: ErrorKind, message: &str, journal: &Journal) -> Error {
        let request = journal
            .request()
            .map(|(method, path)| (method, self.redacted(path)));
        let maybe_applied = journal.wrote();
        let place = match &request {
            Some((method, path)) => format!(" (last request: {method} {}{path})", self.0.address),
            None => String::new(),
        };
        let applied = if maybe_applied {
            " What it had asked Consul to change may have been carried out: look before trying again."
        } else {
            ""
        };
        Error::from(types::Error {
            kind,
            message: format!("{message}{place}.{applied}"),
            exchange: request.map(|(method, path)| Exchange {
                method,
                path,
                status: None,
                text: String::new(),
            }),
            maybe_applied,
        })
    }

    /// What the host knows about a request without an answer and the component could not be told: details of TLS and of
    /// the policy, and where an address comes from that the caller did not give.
    fn known(&self, journal: &Journal) -> Option<String> {
        let source = match self.0.address.source {
            Source::Url => None,
            source => Some(format!("the address is {source}")),
        };
        match (journal.detail(), source) {
            (Some(detail), Some(source)) => Some(format!("{detail}; {source}")),
            (detail, source) => detail.or(source),
        }
    }

    fn explain_json(&self, failure: String, journal: &Journal) -> String {
        let Ok(Value::Object(mut object)) = serde_json::from_str(&failure) else {
            return failure;
        };
        let error = object.get("error");
        let answered =
            error.is_none_or(|error| error.get("method").is_none() || !error["status"].is_null());
        if answered {
            return failure;
        }
        if let (Some(detail), Some(Value::String(message))) =
            (self.known(journal), object.get_mut("msg"))
        {
            *message = explained(message, &detail);
        }
        Value::Object(object).to_string()
    }
}

pub(crate) fn too_large() -> Error {
    let message = format!(
        "the parameters are larger than {} MiB",
        MAX_PARAMETERS >> 20
    );
    Error::invalid("params", message)
}

fn default(map: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value
        && map.get(name).is_none_or(Value::is_null)
    {
        map.insert(name.to_owned(), value.into());
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
