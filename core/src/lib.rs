//! What the component and the host of `consul-session` share, free of any WebAssembly bindings.
//!
//! | module | contents |
//! |---|---|
//! | [`address`] | the address of a Consul agent |
//! | [`settings`] | connection parameters and `CONSUL_*` variables, resolved by one rule |
//! | [`parameters`] | typed access to JSON parameters, with the coercions automation users expect |
//! | [`arguments`] | `KEY=VALUE` arguments and JSON on standard input |
//! | [`session_id`] | the form of session ids |
//! | [`key`] | which keys are refused |
//! | [`duration`] | durations as Go, JSON and the WIT package write them |
//! | [`error`] | the error of every operation, and its JSON form |
//! | [`descriptors`] | whether the process may open more files and connections |
//! | [`redact`] | removal of tokens from text |
//! | [`terminal`] | escaping of characters that a terminal would act on |
//!
//! This crate is an implementation detail of `consul-session`; its API may change in any release.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod arguments;
pub mod descriptors;
pub mod duration;
pub mod error;
pub mod key;
pub mod parameters;
pub mod redact;
pub mod session_id;
pub mod settings;
pub mod terminal;

pub use address::{Address, Scheme};
pub use error::{Error, ErrorKind, Exchange, Result};
