//! The exports of the world `plugin`. Each runs the operation of the same name over `wasi:http`, which blocks.

use crate::bindings::exports::consul::session::{action, sessions};
use crate::http::WasiHttp;
use crate::operations;
use crate::perform;
use crate::transport::block_on;
use crate::types::{Agent, Ensured, Error, Listing, NewSession, OnDifference, Session};

/// The type that implements the exports.
pub(crate) struct Component;

crate::bindings::export!(Component with_types_in crate::bindings);

impl action::Guest for Component {
    fn run(params: String) -> Result<String, String> {
        block_on(perform::run_json(&params, WasiHttp))
    }
}

impl sessions::Guest for Component {
    fn create(agent: Agent, session: NewSession) -> Result<String, Error> {
        block_on(operations::create(&agent, &session, WasiHttp))
    }

    fn destroy(agent: Agent, id: String) -> Result<(), Error> {
        block_on(operations::destroy(&agent, &id, WasiHttp))
    }

    fn info(agent: Agent, id: String) -> Result<Option<Session>, Error> {
        block_on(operations::info(&agent, &id, WasiHttp))
    }

    fn node(agent: Agent, name: String) -> Result<Listing, Error> {
        block_on(operations::node(&agent, &name, WasiHttp))
    }

    fn list(agent: Agent) -> Result<Listing, Error> {
        block_on(operations::list(&agent, WasiHttp))
    }

    fn renew(agent: Agent, id: String) -> Result<Session, Error> {
        block_on(operations::renew(&agent, &id, WasiHttp))
    }

    fn ensure(
        agent: Agent,
        session: NewSession,
        on_difference: OnDifference,
    ) -> Result<Ensured, Error> {
        block_on(operations::ensure(
            &agent,
            &session,
            on_difference,
            WasiHttp,
        ))
    }

    fn remove(agent: Agent, name: String, node: Option<String>) -> Result<Vec<String>, Error> {
        block_on(operations::remove(&agent, &name, node.as_deref(), WasiHttp))
    }
}
