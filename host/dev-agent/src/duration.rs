//! Durations the way Go reads them, and what Consul makes of a LockDelay.

use crate::json::Json;

const NANOSECOND: u128 = 1;
const MICROSECOND: u128 = 1_000 * NANOSECOND;
const MILLISECOND: u128 = 1_000 * MICROSECOND;
const SECOND: u128 = 1_000 * MILLISECOND;

/// Below this many nanoseconds Consul takes a LockDelay for seconds.
const LOCK_DELAY_THRESHOLD: i64 = 1_000;

/// Parses what Go's `time.ParseDuration` accepts (`1h30m`, `-1.5s`, `.5m`, `0`) to nanoseconds;
/// the error is Go's text, which reaches the client.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let unit = match name {
            "" => return Err(format!("time: missing unit in duration \"{text}\"")),
            "ns" => NANOSECOND,
            // Both spellings of the micro sign are in use.
            "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            name => {
                return Err(format!(
                    "time: unknown unit \"{name}\" in duration \"{text}\""
                ));
            }
        };
        total = scaled(whole, fraction, unit)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= i64::MAX as u128)
            .ok_or_else(invalid)?;
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -total } else { total })
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `whole.fraction` units; digits too fine to matter are cut off, too large a number is `None`.
fn scaled(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fine = &fraction[..fraction.len().min(18)];
    let part = if fine.is_empty() {
        0
    } else {
        fine.parse::<u128>().ok()? * unit / 10u128.pow(fine.len() as u32)
    };
    whole.checked_mul(unit)?.checked_add(part)
}

/// Consul's reading of `LockDelay`; `None` leaves the default.
///
/// A string is a Go duration, a number nanoseconds, anything else zero - and whatever is below
/// 1000 ns after that is taken for seconds. So `"500ns"` are 500 seconds, 1000 is a microsecond,
/// and `"-15s"` overflows to a hundred years.
pub(super) fn lock_delay(sent: &Json) -> Result<Option<i64>, String> {
    let nanoseconds = match sent {
        Json::Null => return Ok(None),
        Json::String(text) => parse(text)?,
        Json::Number(number) => truncated(number.as_f64().unwrap_or(0.0)),
        Json::Bool(_) | Json::Array(_) | Json::Object(_) => 0,
    };
    Ok(Some(if nanoseconds < LOCK_DELAY_THRESHOLD {
        nanoseconds.wrapping_mul(SECOND as i64)
    } else {
        nanoseconds
    }))
}

/// Go's float to integer conversion on amd64: what does not fit becomes the smallest integer,
/// where Rust's `as` would saturate.
fn truncated(number: f64) -> i64 {
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
        lock_delay(&Json::parse(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn go_durations() {
        for (text, expected) in [
            ("0", 0),
            ("+10s", 10_000_000_000),
            ("-1.5s", -1_500_000_000),
            (".5m", 30_000_000_000),
            ("1h1h", 7_200_000_000_000),
            ("600000ms", 600_000_000_000),
            ("1\u{b5}s", 1_000),
            ("1.0000000000000000000000001s", 1_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            (".", "time: invalid duration \".\""),
            ("-", "time: invalid duration \"-\""),
            ("10", "time: missing unit in duration \"10\""),
            ("10d", "time: unknown unit \"d\" in duration \"10d\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(parse(text), Err(expected.into()), "{text}");
        }
    }

    #[test]
    fn lock_delay_arithmetic() {
        const S: i64 = 1_000_000_000;
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
        assert!(lock_delay(&Json::String("15".into())).is_err());
    }
}
