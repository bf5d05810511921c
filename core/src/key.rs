//! Keys of Consul's key-value store.

use crate::error::{Error, Result};

/// Maximum length of a key in bytes.
pub const MAX: usize = 4 << 10;

/// Checks a key, or the prefix of several. Refuses keys that Consul would rewrite: it would redirect the request, and
/// whoever follows uses another key.
pub fn check(parameter: &str, key: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(parameter, format!("`{parameter}` {why}")));
    if key.is_empty() {
        return refuse("is empty");
    }
    if key.len() > MAX {
        return refuse("is longer than 4 KiB");
    }
    if key.chars().any(char::is_control) {
        return refuse("contains a control character");
    }
    if key.starts_with('/') {
        return refuse("begins with a slash, which Consul would remove");
    }
    if has_odd_segment(key) {
        return refuse(
            "would be rewritten by Consul: a segment between slashes is empty, `.` or `..`",
        );
    }
    // What a proxy would make of it that decodes once too often.
    let decoded = key
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "\\");
    if decoded.contains('\\') || has_odd_segment(&decoded) {
        return refuse(
            "has a backslash or an encoded `.` or `/`, which some servers would rewrite",
        );
    }
    Ok(())
}

/// Whether a segment between slashes is empty, `.` or `..`. A trailing slash is kept.
fn has_odd_segment(key: &str) -> bool {
    let mut segments = key.strip_suffix('/').unwrap_or(key).split('/');
    segments.any(|segment| matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_consul_would_rewrite() {
        for key in [
            "a",
            "a/b",
            "a/",
            "ü",
            "a b",
            "a+b:c;d=e,f",
            "...",
            "a/..b",
            "a%2Fb",
            "a?b#c",
        ] {
            assert!(check("key", key).is_ok(), "{key}");
        }
        let long = "a".repeat(4097);
        for key in [
            "", "/", "/a", "a//b", "//", "a//", ".", "..", "a/../b", "a/.", "a\nb", &long,
        ] {
            assert!(check("key", key).is_err(), "{key}");
        }
    }

    #[test]
    fn refuses_what_a_proxy_might_rewrite() {
        for key in [r"a\b", "a/%2e%2E/b", "%2F%2fa", "a%2F/b", "%5C"] {
            assert!(check("key", key).is_err(), "{key}");
        }
    }
}
