//! Those parts of Go's standard library whose exact behavior a client of Consul can observe.

pub(crate) mod base64;
pub(crate) mod duration;
pub(crate) mod json;
pub(crate) mod url;
pub(crate) mod utf8;
