//! The component of `consul-session`: session operations of HashiCorp Consul over `wasi:http`.
//!
//! A call flows from top to bottom:
//!
//! | file | what happens there |
//! |---|---|
//! | `component` | the exports of the component (WebAssembly only) |
//! | `command` | the component as a command, `wasi:cli/run` (WebAssembly only) |
//! | [`action`] | the parameters of one action, parsed and checked |
//! | [`perform`] | carries out an action and builds its result |
//! | [`ensure`] | idempotent operations by name, and convergence of racing callers |
//! | [`difference`] | how a stored session differs from the requested attributes |
//! | [`consul`] | the operations of the session API, one request each |
//! | [`request`] | **a parameter becomes a request** |
//! | [`transport`] | what the operations need from HTTP |
//! | `http` | HTTP over `wasi:http` (WebAssembly only) |
//! | [`response`] | **a response becomes a value or an error** |
//! | [`session`] | Consul's JSON of a session |
//!
//! Everything except `command`, `component` and `http` is pure and tested natively. The types are those of `wit/`;
//! addresses, durations, parameters and errors come from `consul-session-core`, which the host shares.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
mod bindings;
#[cfg(all(target_arch = "wasm32", feature = "command"))]
mod command;
#[cfg(target_arch = "wasm32")]
mod component;
pub mod consul;
pub mod difference;
pub mod ensure;
#[cfg(target_arch = "wasm32")]
mod http;
pub mod perform;
pub mod request;
pub mod response;
pub mod session;
pub mod transport;

pub use bindings::{sessions, types};
