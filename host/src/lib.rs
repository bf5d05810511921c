//! Sessions of HashiCorp Consul through a WebAssembly component that can reach nothing but HTTP, under a policy of the host.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! use consul_session::{Client, NewSession, OnDifference, Runtime, Token};
//! use std::time::Duration;
//!
//! # let agent = consul_session_dev_agent::DevAgent::builder().acl_token("a-token").start().await?;
//! # let address = agent.address();
//! let runtime = Runtime::new()?; // once per program: the component, compiled when this crate was built
//! let consul = Client::builder() // once per tenant
//!     .address(address) // "https://consul.example:8501"; nothing else can be reached
//!     .token(Token::new("a-token")?) // added by the host; the component never sees it
//!     .build(&runtime)?;
//!
//! let wanted = NewSession::named("deploy").ttl(Duration::from_secs(30));
//! let ensured = consul.ensure(&wanted, OnDifference::Refuse).await?; // idempotent
//! assert!(ensured.created);
//! consul.renew(&ensured.session.id).await?;
//!
//! // The same with the parameters of the automation module, as a tenant's task would arrive.
//! let outcome = consul.action(r#"{"state": "present", "name": "deploy", "ttl": "30s"}"#).await?;
//! assert!(!outcome.changed());
//! consul.destroy(&ensured.session.id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A call flows from top to bottom:
//!
//! | file | what happens there |
//! |---|---|
//! | `client/mod.rs` | the typed client: the component's operations |
//! | `client/builder.rs` | the settings of a client |
//! | `client/tenant_parameters.rs` | what a tenant's parameters may say about the connection |
//! | `client/call.rs` | one call: its deadline, and the error if it is cut short |
//! | `client/hints.rs` | what is added to a component's errors, and what is removed |
//! | `client/lanes.rs` | places for calls, for the upkeep of locks, and for those who wait |
//! | `client/locks.rs` | the steps of locks |
//! | `locks/mod.rs` | locks, semaphores and sessions that are kept alive |
//! | `locks/contender.rs` | **the protocol of a lock**, without network and clock |
//! | `locks/driver.rs` | its requests, replies and timers |
//! | `locks/simulation.rs`, `locks/linearizable.rs`, `locks/contender/every_order.rs` | tests of the protocol over a simulated Consul |
//! | `locks/clock.rs` | a clock that counts while the machine sleeps |
//! | `runtime/mod.rs` | the sandbox: engine and component |
//! | `runtime/embedded/mod.rs` | runs a component that imports nothing, in a fresh instance per call |
//! | `runtime/embedded/sandbox.rs` | an instance in a store of its own, and its steps |
//! | `runtime/embedded/exchange.rs` | **a component's request becomes an HTTP request** |
//! | `runtime/embedded/kept.rs` | instances that a client uses again, if it asks for that |
//! | `runtime/wasi_http/mod.rs` | runs a component that imports `wasi:http`, in a fresh instance per call |
//! | `runtime/wasi_http/hooks.rs` | its requests |
//! | `runtime/computing.rs` | which components compute at the same time, and for how long |
//! | `runtime/limits.rs` | the limits of a store |
//! | `runtime/journal.rs` | what the host observed of a call |
//! | `runtime/ticker.rs` | the clock that interrupts running components |
//! | `component/mod.rs` | the component's exports |
//! | `component/types.rs`, `component/locks.rs`, `component/steps.rs` | their types: values of operations; requests and responses |
//! | `network/mod.rs` | every request of a component: policy, token, timeouts |
//! | `policy/mod.rs` | **what may be reached: where a request is refused** |
//! | `policy/origin.rs` | origins, parsed once |
//! | `policy/addresses.rs` | private networks, loopback, metadata services |
//! | `policy/keys.rs` | **which keys a request reads or changes** |
//! | `policy/operation.rs` | **which operation of Consul's API a request is** |
//! | `network/connector.rs` | **where a connection is made or refused** |
//! | `network/connections.rs` | how many connections are open and idle |
//! | `network/body.rs` | a response body, limited in size and time |
//! | `network/error.rs`, `network/tls_error.rs` | why a request failed, for the component and for people |
//! | `trust.rs` | TLS: trusted certificates, and the client's own |
//! | `token.rs`, `files.rs` | a token that is never printed; files that are read with a limit |
//! | `session.rs`, `outcome.rs`, `error.rs` | what calls take and return |
//! | `raw_object.rs` | a JSON object that others wrote, with bounds |

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod component;
mod error;
mod files;
mod locks;
mod network;
mod outcome;
mod policy;
mod raw_object;
mod runtime;
mod session;
mod token;
mod trust;

pub use client::{Client, ClientBuilder};
pub use error::{Error, ErrorKind, Exchange, Result};
pub use locks::{Contending, HeldBy, Holder, Lock, LockBuilder, Loss, Progress};
pub use network::Report;
pub use outcome::Outcome;
pub use policy::{Operation, Policy};
pub use runtime::Runtime;
pub use session::{Behavior, Ensured, Listing, NewSession, OnDifference, ServiceCheck, Session};
pub use token::Token;
pub use trust::Trust;
