//! Session ids.

use crate::error::{Error, Result};

/// Checks a session id and returns it in lower case. Consul finds a session by either case, but compares lock holders byte
/// by byte.
pub fn parse(id: &str) -> Result<String> {
    if is_well_formed(id) {
        return Ok(id.to_ascii_lowercase());
    }
    let shown: String = id
        .chars()
        .take(64)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    Err(Error::invalid(
        "id",
        format!(
            "`id` must be the UUID of a session, not `{shown}`; use `name` to find a session by its name"
        ),
    ))
}

/// Whether a text has the form of a session id.
pub fn is_well_formed(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
