//! How a call fails. The type is shared with the component, and lives in `consul-session-core`.

pub use consul_session_core::{Error, ErrorKind, Exchange, Result};
