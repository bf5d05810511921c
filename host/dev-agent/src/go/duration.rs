//! Durations as Go's `time.ParseDuration` reads them.

const NANOSECOND: u128 = 1;
const MICROSECOND: u128 = 1_000 * NANOSECOND;
const MILLISECOND: u128 = 1_000 * MICROSECOND;
const SECOND: u128 = 1_000 * MILLISECOND;

/// Parses a duration such as `1h30m`, `-1.5s`, `.5m` or `0` to nanoseconds. The error is Go's text,
/// which reaches the client.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
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
            // The micro sign and the Greek letter mu.
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

/// Returns `whole.fraction` units in nanoseconds, rounded down; `None` on overflow.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
