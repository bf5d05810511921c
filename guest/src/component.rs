//! The exports of the world `plugin`. Each runs the operation of the same name over `wasi:http`, which blocks.

use crate::bindings::exports::consul::session::{action, locks, sessions};
use crate::http::WasiHttp;
use crate::lock_types::{Attempt, Holding, Lock, Membership, Place, Wait};
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

impl locks::Guest for Component {
    fn acquire(
        agent: Agent,
        lock: Lock,
        value: Vec<u8>,
        wait: Option<Wait>,
    ) -> Result<Attempt, Error> {
        block_on(operations::acquire(
            &agent,
            &lock,
            &value,
            wait.as_ref(),
            WasiHttp,
        ))
    }

    fn release(agent: Agent, lock: Lock, delete_key: bool) -> Result<bool, Error> {
        block_on(operations::release(&agent, &lock, delete_key, WasiHttp))
    }

    fn holder(agent: Agent, key: String, wait: Option<Wait>) -> Result<Holding, Error> {
        block_on(operations::holder(&agent, &key, wait.as_ref(), WasiHttp))
    }

    fn write(agent: Agent, lock: Lock, key: String, value: Vec<u8>) -> Result<u64, Error> {
        block_on(operations::write(&agent, &lock, &key, &value, WasiHttp))
    }

    fn delete(agent: Agent, lock: Lock, key: String) -> Result<(), Error> {
        block_on(operations::delete(&agent, &lock, &key, WasiHttp))
    }

    fn join(agent: Agent, place: Place, value: Vec<u8>) -> Result<(), Error> {
        block_on(operations::join(&agent, &place, &value, WasiHttp))
    }

    fn try_(agent: Agent, place: Place, limit: u32, wait: Option<Wait>) -> Result<Attempt, Error> {
        block_on(operations::take_place(
            &agent,
            &place,
            limit,
            wait.as_ref(),
            WasiHttp,
        ))
    }

    fn leave(agent: Agent, place: Place) -> Result<(), Error> {
        block_on(operations::leave(&agent, &place, WasiHttp))
    }

    fn places(agent: Agent, prefix: String, wait: Option<Wait>) -> Result<Membership, Error> {
        block_on(operations::places(&agent, &prefix, wait.as_ref(), WasiHttp))
    }
}
