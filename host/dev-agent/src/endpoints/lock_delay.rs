//! How Consul reads the `LockDelay` of a session.

use crate::go::duration;
use crate::go::json::Json;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;
/// Consul takes a LockDelay of less than this many nanoseconds for seconds.
const SECONDS_THRESHOLD: i64 = 1_000;

/// Returns a LockDelay in nanoseconds; `None` for `null`, which leaves the default.
///
/// A string is a Go duration, a number nanoseconds, any other value zero. A result below 1000 ns
/// counts as seconds: `"500ns"` is 500 s, 1000 is a microsecond, and `"-15s"` wraps around to a
/// century.
pub(super) fn decode(sent: &Json) -> Result<Option<i64>, String> {
    let nanoseconds = match sent {
        Json::Null => return Ok(None),
        Json::String(text) => duration::parse(text)?,
        Json::Number(number) => truncate(number.as_f64().unwrap_or(0.0)),
        Json::Bool(_) | Json::Array(_) | Json::Object(_) => 0,
    };
    Ok(Some(if nanoseconds < SECONDS_THRESHOLD {
        nanoseconds.wrapping_mul(SECOND)
    } else {
        nanoseconds
    }))
}

/// Converts a float as Go does on amd64: a value out of range becomes the smallest integer, where
/// Rust's `as` saturates.
fn truncate(number: f64) -> i64 {
    let smallest = i64::MIN as f64;
    if (smallest..-smallest).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(json: &str) -> Option<i64> {
        decode(&Json::parse(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn lock_delay_arithmetic() {
        const S: i64 = SECOND;
        for (sent, stored) in [
            ("15", 15 * S),
            ("\"15s\"", 15 * S),
            ("15000000000", 15 * S),
            ("0", 0),
            ("\"0s\"", 0),
            ("0.5", 0),
            ("true", 0),
            ("[]", 0),
            ("{}", 0),
            ("1.5", S),
            ("\"1.5s\"", 3 * S / 2),
            ("999", 999 * S),
            ("1000", 1_000),
            ("\"500ns\"", 500 * S),
            ("\"1us\"", 1_000),
            ("-5", -5 * S),
            ("9223372036854775807", 0),
            ("1e19", 0),
        ] {
            assert_eq!(delay(sent), Some(stored), "{sent}");
        }
        assert_eq!(delay("null"), None);
        assert!(delay("\"-15s\"").unwrap() > 3_000_000_000_000_000_000);
        assert!(decode(&Json::String("15".into())).is_err());
    }
}
