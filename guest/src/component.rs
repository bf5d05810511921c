//! The exports of the component: each takes the contract's values to the operation of the same name.

use crate::bindings::exports::consul::session::{action, sessions};
use crate::by_name;
use crate::connection::Environment;
use crate::consul::{Consul, Listed};
use crate::error::{Fault, invalid};
use crate::http::WasiHttp;
use crate::request::Consistency;
use crate::sessions::{Ensured, OnDifference};
use crate::types::{Agent, Error, Listing, NewSession, Session};
use crate::words;

/// What the exports are implemented on.
pub(crate) struct Component;

crate::bindings::export!(Component with_types_in crate::bindings);

impl action::Guest for Component {
    fn run(params: String) -> Result<String, String> {
        match words::object(&params)
            .and_then(|map| crate::action::run(map, Environment::EMPTY, WasiHttp))
        {
            Ok(result) => Ok(result.to_string()),
            Err(fault) => Err(fault.to_json().to_string()),
        }
    }
}

impl sessions::Guest for Component {
    fn create(agent: Agent, session: NewSession) -> Result<String, Error> {
        Ok(consul(&agent)?.create(&session)?)
    }

    fn destroy(agent: Agent, id: String) -> Result<(), Error> {
        Ok(consul(&agent)?.destroy(&id)?)
    }

    fn info(agent: Agent, id: String) -> Result<Option<Session>, Error> {
        let listed = consul(&agent)?.info(&id, Consistency::Default)?;
        Ok(listed
            .sessions
            .into_iter()
            .next()
            .map(|stored| stored.session))
    }

    fn node(agent: Agent, name: String) -> Result<Listing, Error> {
        Ok(listing(consul(&agent)?.node(&name, Consistency::Default)?))
    }

    fn list(agent: Agent) -> Result<Listing, Error> {
        Ok(listing(consul(&agent)?.list(Consistency::Default)?))
    }

    fn renew(agent: Agent, id: String) -> Result<Session, Error> {
        Ok(consul(&agent)?.renew(&id)?.session)
    }

    fn ensure(
        agent: Agent,
        session: NewSession,
        on_difference: OnDifference,
    ) -> Result<Ensured, Error> {
        let name = match &session.name {
            Some(name) if !name.is_empty() => name,
            _ => {
                return Err(*invalid(
                    "name",
                    "`ensure` needs a name: it makes sure that one session bears it",
                ));
            }
        };
        let consul = consul(&agent)?;
        let plan = by_name::plan(&consul, name, &session, on_difference)?;
        let ensured = by_name::ensure(&consul, name, &session, on_difference, plan)?;
        Ok(Ensured {
            session: ensured.session.session,
            created: ensured.created,
            replaced: ensured.replaced,
            warnings: ensured.warnings,
        })
    }

    fn remove(agent: Agent, name: String, node: Option<String>) -> Result<Vec<String>, Error> {
        if name.is_empty() {
            return Err(*invalid("name", "`remove` needs a name"));
        }
        let removed = by_name::remove(&consul(&agent)?, &name, node.as_deref())?;
        Ok(removed
            .into_iter()
            .map(|stored| stored.session.id)
            .collect())
    }
}

fn consul(agent: &Agent) -> Result<Consul<'_, WasiHttp>, Fault> {
    Consul::new(agent, WasiHttp)
}

fn listing(listed: Listed) -> Listing {
    Listing {
        sessions: listed
            .sessions
            .into_iter()
            .map(|stored| stored.session)
            .collect(),
        filtered: listed.filtered,
    }
}
