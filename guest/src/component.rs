//! The exports of the component. Each passes the WIT values to the operation of the same name.

use crate::bindings::exports::consul::session::{action, sessions};
use crate::consul::{Consul, StoredSessions};
use crate::ensure;
use crate::http::WasiHttp;
use crate::perform;
use crate::request::Consistency;
use crate::session::StoredSession;
use crate::sessions::{Ensured, OnDifference};
use crate::types::{self, Agent, Listing, NewSession, Session};
use consul_session_core::arguments;
use consul_session_core::settings::Environment;
use consul_session_core::{Error, ErrorKind, Result};

/// The type that implements the exports.
pub(crate) struct Component;

crate::bindings::export!(Component with_types_in crate::bindings);

impl action::Guest for Component {
    fn run(params: String) -> Result<String, String> {
        arguments::from_json(&params)
            .and_then(|parameters| perform::run(parameters, Environment::EMPTY, WasiHttp))
            .map(|result| result.to_string())
            .map_err(|error| perform::failure_json(&error))
    }
}

impl sessions::Guest for Component {
    fn create(agent: Agent, session: NewSession) -> Result<String, types::Error> {
        Ok(consul(&agent)?.create(&session)?)
    }

    fn destroy(agent: Agent, id: String) -> Result<(), types::Error> {
        Ok(consul(&agent)?.destroy(&id)?)
    }

    fn info(agent: Agent, id: String) -> Result<Option<Session>, types::Error> {
        let found = consul(&agent)?.info(&id, Consistency::Default)?;
        Ok(found.sessions.into_iter().next().map(session))
    }

    fn node(agent: Agent, name: String) -> Result<Listing, types::Error> {
        Ok(listing(consul(&agent)?.node(&name, Consistency::Default)?))
    }

    fn list(agent: Agent) -> Result<Listing, types::Error> {
        Ok(listing(consul(&agent)?.list(Consistency::Default)?))
    }

    fn renew(agent: Agent, id: String) -> Result<Session, types::Error> {
        Ok(session(consul(&agent)?.renew(&id)?))
    }

    fn ensure(
        agent: Agent,
        new: NewSession,
        on_difference: OnDifference,
    ) -> Result<Ensured, types::Error> {
        let name = match &new.name {
            Some(name) if !name.is_empty() => name,
            _ => return Err(Error::invalid("name", "`ensure` needs a name").into()),
        };
        let consul = consul(&agent)?;
        let plan = ensure::plan(&consul, name, &new, on_difference)?;
        let ensured = ensure::ensure(&consul, name, &new, on_difference, plan)?;
        Ok(Ensured {
            session: session(ensured.session),
            created: ensured.created,
            replaced: ensured.replaced,
            warnings: ensured.warnings,
        })
    }

    fn remove(
        agent: Agent,
        name: String,
        node: Option<String>,
    ) -> Result<Vec<String>, types::Error> {
        if name.is_empty() {
            return Err(Error::invalid("name", "`remove` needs a name").into());
        }
        let removed = ensure::remove(&consul(&agent)?, &name, node.as_deref())?;
        Ok(removed
            .into_iter()
            .map(|stored| stored.session.id)
            .collect())
    }
}

fn consul(agent: &Agent) -> Result<Consul<'_, WasiHttp>> {
    Consul::new(agent, WasiHttp)
}

fn session(stored: StoredSession) -> Session {
    stored.session
}

fn listing(found: StoredSessions) -> Listing {
    Listing {
        sessions: found.sessions.into_iter().map(session).collect(),
        filtered: found.filtered,
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> types::Error {
        types::Error {
            kind: match error.kind() {
                ErrorKind::Invalid(parameter) => types::ErrorKind::Invalid(parameter.clone()),
                ErrorKind::Denied => types::ErrorKind::Denied,
                ErrorKind::NotFound => types::ErrorKind::NotFound,
                ErrorKind::Conflict => types::ErrorKind::Conflict,
                ErrorKind::Unavailable => types::ErrorKind::Unavailable,
                ErrorKind::Timeout => types::ErrorKind::Timeout,
                ErrorKind::Transport => types::ErrorKind::Transport,
                ErrorKind::Tls => types::ErrorKind::Tls,
                ErrorKind::Protocol => types::ErrorKind::Protocol,
                ErrorKind::Unsupported => types::ErrorKind::Unsupported,
                _ => types::ErrorKind::Other,
            },
            message: error.message().to_owned(),
            exchange: error.exchange().map(|exchange| types::Exchange {
                method: exchange.method.clone(),
                path: exchange.path.clone(),
                status: exchange.status,
                text: exchange.text.clone(),
            }),
            maybe_applied: error.maybe_applied(),
        }
    }
}
