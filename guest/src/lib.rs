//! The component of `consul-session`: sessions and locks of HashiCorp Consul. Without features, it imports nothing and
//! runs in steps (world `embedded`); with the feature `plugin`, it sends its requests over `wasi:http`.
//!
//! A call flows from top to bottom:
//!
//! | file | what happens there |
//! |---|---|
//! | `embedded` | the exports of the world `embedded` (WebAssembly only) |
//! | `component` | the exports of the world `plugin` (WebAssembly only) |
//! | `command` | the component as a command, `wasi:cli/run` (WebAssembly only) |
//! | [`operations`] | the operations of the interface `sessions` |
//! | [`action`] | the parameters of one action, parsed and checked |
//! | [`perform`] | carries out an action and builds its result |
//! | [`perform_locks`] | the same for the states about locks |
//! | [`ensure`] | idempotent operations by name, and convergence of racing callers |
//! | [`difference`] | how a stored session differs from the requested attributes |
//! | [`locks`] | the operations of the interface `locks` |
//! | [`consul`] | the operations of Consul's API, one request each |
//! | [`request`] | **a parameter becomes a request** |
//! | [`transport`] | what the operations need from HTTP |
//! | `steps` | operations that hand their requests to the host, one at a time |
//! | `http` | HTTP over `wasi:http` (WebAssembly only) |
//! | [`response`] | **a response becomes a value or an error** |
//! | [`session`] | Consul's JSON of a session |
//! | [`transaction`] | Consul's JSON of keys and transactions |
//! | `memory` | the allocator (WebAssembly without WASI only) |
//!
//! Everything except `embedded`, `command`, `component`, `http` and `memory` is pure and tested natively. The types are those of `wit/`;
//! addresses, durations, parameters and errors come from `consul-session-core`, which the host shares.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
mod bindings;
#[cfg(all(target_arch = "wasm32", feature = "command"))]
mod command;
#[cfg(all(target_arch = "wasm32", feature = "plugin"))]
mod component;
pub mod consul;
pub mod difference;
#[cfg(all(target_arch = "wasm32", not(feature = "plugin")))]
mod embedded;
pub mod ensure;
#[cfg(all(target_arch = "wasm32", feature = "plugin"))]
mod http;
pub mod locks;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod memory;
pub mod operations;
pub mod perform;
pub mod perform_locks;
pub mod request;
pub mod response;
pub mod session;
#[cfg(not(feature = "plugin"))]
pub mod steps;
pub mod transaction;
pub mod transport;

pub use bindings::{lock_types, types};
