//! Integration tests: the program `consul-session`, run as a process, and the library; one module per topic.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod absent;
mod acl;
mod agent;
mod bad_servers;
mod checks;
mod cli;
mod client;
mod command;
mod component;
mod connections;
mod ensure;
mod failures;
mod hosts;
mod lock_library;
mod locks;
mod newer_consul;
mod packages;
mod parameters;
mod present;
mod public_api;
mod race;
mod reads;
mod renew;
mod reproducible;
mod requests;
mod sandbox;
#[cfg(target_os = "linux")]
mod terminal;
mod tidy;
mod tls;
mod worlds;
