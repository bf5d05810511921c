//! How the component of `consul-session` is built, and the wasmtime configuration it is compiled under.
//!
//! The build script of `consul-session` compiles the component ahead of time, and its runtime loads the result. wasmtime
//! refuses code that was compiled under another configuration, so both take it from [`engine_config`].
//!
//! This crate is an implementation detail of `consul-session`; its API may change in any release.

#![forbid(unsafe_code)]

#[cfg(feature = "build")]
mod build;
mod engine;

#[cfg(feature = "build")]
pub use build::{Artifact, COMMAND, EMBEDDED, PLUGIN, remove_outer_variables};
pub use engine::{MAX_MEMORY, engine_config};
