//! Conversions between nanoseconds (the WIT package), Go duration strings (Consul) and whole seconds (the Ansible module).

/// A second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// A millisecond in nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;

/// Parses a duration as Go does (`1m30s`, `500ms`, `-1.5h`, `0`) and returns nanoseconds.
pub fn parse_go(text: &str) -> Option<i64> {
    let (negative, mut rest) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(number_end)?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total = whole
                .parse::<i64>()
                .ok()?
                .checked_mul(unit)?
                .checked_add(total)?;
        }
        let mut place = unit;
        for digit in fraction.bytes() {
            // Integer division drops whatever is finer than a nanosecond.
            place /= 10;
            total = total.checked_add(i64::from(digit - b'0') * place)?;
        }
        rest = tail;
    }
    Some(if negative { -total } else { total })
}

/// Writes nanoseconds the way every Consul reads them correctly: with a unit, in whole seconds where possible.
///
/// Consul takes a bare number below 1000 as seconds and a larger one as nanoseconds, and treats text below 1 µs the
/// same way.
pub fn to_consul(duration: u64) -> String {
    if duration.is_multiple_of(SECOND) {
        format!("{}s", duration / SECOND)
    } else if duration.is_multiple_of(MILLISECOND) {
        format!("{}ms", duration / MILLISECOND)
    } else {
        format!("{duration}ns")
    }
}

/// The form of nanoseconds in results: a number if they are whole seconds, as documented, and text otherwise.
pub fn to_json(duration: u64) -> serde_json::Value {
    if duration.is_multiple_of(SECOND) {
        (duration / SECOND).into()
    } else {
        to_consul(duration).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let second = 1_000_000_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("20s", Some(20 * second)),
            ("1m30s", Some(90 * second)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("500ms", Some(500_000_000)),
            ("+10s", Some(10 * second)),
            ("-15s", Some(-15 * second)),
            ("500ns", Some(500)),
            ("1us", Some(1000)),
            ("24h", Some(86_400 * second)),
            ("600000ms", Some(600 * second)),
            ("", None),
            ("+", None),
            ("20", None),
            ("s", None),
            (".s", None),
            ("1..5s", None),
            ("20 s", None),
            ("1d", None),
            ("bogus", None),
            ("99999999999999999999s", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse_go(text), expected, "{text}");
        }
    }

    #[test]
    fn writes_with_a_unit() {
        assert_eq!(to_consul(0), "0s");
        assert_eq!(to_consul(20 * SECOND), "20s");
        assert_eq!(to_consul(10_500 * MILLISECOND), "10500ms");
        assert_eq!(to_json(90 * SECOND), 90);
        assert_eq!(to_json(500 * MILLISECOND), "500ms");
    }
}
