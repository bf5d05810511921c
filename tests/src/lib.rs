//! The harness of the integration tests in `it/`: what they run the program against, and with.
//!
//! | module | what it gives |
//! |---|---|
//! | [`consul`] | real Consul agents: plain, with ACLs, with TLS |
//! | [`api`] | what Consul itself says, read past the program under test |
//! | [`bad_server`] | servers that answer wrongly, late or never, and that record what they were asked |
//! | [`ca`] | certificate authorities, certificates, and a TLS server to show them |
//! | [`program`] | one run of `consul-session` and its outcome |
//!
//! Everything a test starts ends with the test, or with the test process: servers are threads, and agents stand under a
//! guard that ends them as soon as the process that started them is gone, however it went.
#![allow(
    clippy::unwrap_used,
    reason = "in a test harness a panic is the report"
)]
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

pub mod api;
pub mod bad_server;
pub mod ca;
pub mod consul;
pub mod program;
