//! Sessions of HashiCorp Consul through a WebAssembly component that can reach nothing but HTTP, and that only as far as
//! the host's policy goes.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! use consul_session::{Client, NewSession, OnDifference, Runtime, SECOND, Token};
//!
//! # let agent = consul_session_dev_agent::DevAgent::builder().acl_token("a-token").start().await?;
//! # let address = agent.address();
//! let runtime = Runtime::new()?; // once per program: the component, compiled when this crate was built
//! let consul = Client::builder() // once per tenant
//!     .address(address) // "https://consul.example:8501"; nothing else can be reached
//!     .token(Token::new("a-token")?) // added by the host; the component never sees it
//!     .build(&runtime)?;
//!
//! let wanted = NewSession {
//!     name: Some("deploy".into()),
//!     ttl: Some(30 * SECOND),
//!     ..NewSession::default()
//! };
//! let ensured = consul.ensure(&wanted, OnDifference::Refuse).await?; // idempotent
//! assert!(ensured.created);
//! consul.renew(&ensured.session.id).await?;
//!
//! // The same in the words of the automation module, as a tenant's task would come in.
//! let again = consul.action(r#"{"state": "present", "name": "deploy", "ttl": "30s"}"#).await;
//! assert!(again.unwrap().contains(r#""changed":false"#));
//! consul.destroy(&ensured.session.id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A call flows top to bottom:
//!
//! | file | what happens there |
//! |---|---|
//! | `client/mod.rs` | the typed client: the component's operations |
//! | `client/builder.rs` | a tenant's settings |
//! | `client/grant.rs` | what a tenant's parameters may say about the connection |
//! | `client/call.rs` | one call: its deadline, and how it ends if not by itself |
//! | `client/explain.rs` | what is added to the component's messages, and the token taken out |
//! | `runtime/mod.rs` | the sandbox: engine and component |
//! | `runtime/store.rs` | a fresh store per call, and its limits |
//! | `runtime/hooks.rs` | where the component's requests come out |
//! | `runtime/journal.rs` | what the host saw of a call |
//! | `runtime/ticker.rs` | the clock by which running components are looked at |
//! | `engine.rs`, `bindings.rs` | how components are compiled, and the contract in Rust |
//! | `network/mod.rs` | every request of a component: policy, token, waits |
//! | `policy.rs` | **what may be reached: where a request is refused** |
//! | `network/connector.rs` | **where a connection is made or refused** |
//! | `network/body.rs` | an answer's body, bounded in size and time |
//! | `network/fault.rs` | why a request failed, for the component and for people |
//! | `trust.rs` | TLS: whom a tenant trusts |
//! | `token.rs`, `files.rs` | a token that does not show itself; files that are read with a bound |
//! | `error.rs` | how a call fails |
//! | `cli/` | the program |

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bindings;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod engine;
mod error;
mod files;
mod network;
mod policy;
mod runtime;
mod token;
mod trust;

pub use bindings::sessions::{Ensured, OnDifference};
pub use bindings::types::{Behavior, Listing, NewSession, ServiceCheck, Session};
pub use client::{Client, ClientBuilder};
pub use error::{Error, ErrorKind, Exchange, Result};
pub use network::Report;
pub use policy::Policy;
pub use runtime::Runtime;
pub use token::Token;
pub use trust::Trust;

/// A second in the contract's unit of time, nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
