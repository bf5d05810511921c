//! The harness of the integration tests in `it/`.
//!
//! | module | contents |
//! |---|---|
//! | [`consul`] | real Consul agents: plain, with ACLs, with TLS |
//! | [`api`] | a Consul client that is independent of the program under test |
//! | [`bad_server`] | servers with wrong, late or missing responses, which record the requests they receive |
//! | [`ca`] | certificate authorities, certificates, and a TLS server |
//! | [`program`] | runs of `consul-session` and their results |
//! | [`background`] | the same and other processes in the background |
//! | `terminal` | the same on a terminal, on Linux |
//!
//! Everything that a test starts ends with the test or with the test process: servers are threads, and a guard kills
//! each agent when the test process exits, even if it is killed.
#![allow(
    clippy::unwrap_used,
    reason = "a panic in a test harness fails the test"
)]
#![allow(clippy::print_stderr, reason = "skipped tests must be reported")]

pub mod api;
pub mod background;
pub mod bad_server;
pub mod ca;
pub mod consul;
pub mod program;
#[cfg(target_os = "linux")]
pub mod terminal;
