//! The component of `consul-session`: session operations of HashiCorp Consul over `wasi:http`.
//!
//! A call flows top to bottom:
//!
//! | file | what happens there |
//! |---|---|
//! | `component` | the exports of the component (WebAssembly only) |
//! | `command` | the component as a command, `wasi:cli/run` (WebAssembly only) |
//! | [`words`] | the words of a command line and of standard input |
//! | [`action`] | the action door: the words of the automation module, JSON in and out |
//! | [`parameters`], [`values`] | its parameters, read and coerced |
//! | [`connection`] | where Consul is: `url`, `host`, `port`, `scheme`, `CONSUL_*` |
//! | [`by_name`] | idempotent operations: look up by name, create, give way in a race |
//! | [`difference`] | in what a session differs from what is asked for |
//! | [`consul`] | the API's operations, one request each |
//! | [`request`] | **a parameter becomes a request** |
//! | [`transport`] | what that needs of HTTP |
//! | `http` | the one file that touches `wasi:http` (WebAssembly only) |
//! | [`answer`] | an answer becomes a value or an error |
//! | [`session`], [`duration`] | Consul's JSON of a session, and its lengths of time |
//! | [`error`] | how an operation fails |
//!
//! Everything but `command`, `component` and `http` is pure and tested natively. The types are those that `wit/` defines.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
pub mod answer;
mod bindings;
pub mod by_name;
#[cfg(all(target_arch = "wasm32", feature = "command"))]
mod command;
#[cfg(target_arch = "wasm32")]
mod component;
pub mod connection;
pub mod consul;
pub mod difference;
pub mod duration;
pub mod error;
#[cfg(target_arch = "wasm32")]
mod http;
pub mod parameters;
pub mod request;
pub mod session;
pub mod transport;
pub mod values;
pub mod words;

pub use bindings::{sessions, types};
