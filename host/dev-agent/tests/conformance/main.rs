//! The same expectations of the development agent and of a real Consul.
//!
//! They were recorded from Consul 1.8.7. The tests know the servers only by their address. `agent_only`
//! and `newer` test the agent alone.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "the modules of one program")]

mod acl;
mod agent_only;
mod blocking;
mod catalog;
mod cli;
mod differential;
mod kv;
mod newer;
mod odd_requests;
mod protocol;
mod random;
mod server;
mod sessions;
mod through_component;
mod timing;
mod txn;
mod unicode;
