//! The endpoints: each file handles the part of the API it is named after, `/v1/kv/` in `kv` and so
//! on. They translate between HTTP and the state machine.

mod definitions;
mod lock_delay;

pub(crate) mod agent;
pub(crate) mod catalog;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod txn;
