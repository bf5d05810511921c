//! Results for people: tables and sentences. What Consul stores can hold any character; none that steers a terminal gets
//! through.

use consul_session_guest::words::steers;
use serde_json::Value;
use std::fmt::Write as _;

/// A result of the action door, told to a person. After a dry run it tells what would be.
pub(super) fn tell(result: &Value, dry_run: bool) -> String {
    let mut text = String::new();
    let would_be = if dry_run { "would be " } else { "" };
    let changed = result["changed"] == true;
    if let Some(sessions) = result["sessions"].as_array() {
        text.push_str(&table(sessions));
    } else if result.get("session_ids").is_some() {
        let ids = result["session_ids"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for id in ids {
            let _ = writeln!(text, "{would_be}destroyed {}", plain(id));
        }
        if ids.is_empty() {
            text.push_str("nothing to destroy\n");
        }
    } else if result.get("session").is_some() {
        let word = match (result.get("behavior").is_some(), changed) {
            (false, _) => "renewed",
            (true, true) => "created",
            (true, false) => "unchanged",
        };
        match result["session_id"].as_str() {
            Some(_) => {
                let would_be = if changed { would_be } else { "" };
                let _ = writeln!(text, "{would_be}{word} {}", plain(&result["session_id"]));
            }
            None => text.push_str("would be created\n"),
        }
        for id in result["replaced"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "{would_be}replaced {}", plain(id));
        }
        if result["session"].is_object() {
            text.push_str(&table(std::slice::from_ref(&result["session"])));
        }
    }
    for warning in result["warnings"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "warning: {}", plain(warning));
    }
    text
}

fn table(sessions: &[Value]) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["ID", "NAME", "NODE", "TTL", "DELAY", "BEHAVIOR", "CHECKS"]);
    for session in sessions {
        let checks: Vec<String> = ["NodeChecks", "ServiceChecks", "Checks"]
            .into_iter()
            .filter_map(|key| session[key].as_array())
            .flatten()
            .map(|check| plain(check.get("ID").unwrap_or(check)))
            .collect();
        table.add_row([
            plain(&session["ID"]),
            cell(&plain(&session["Name"])),
            cell(&plain(&session["Node"])),
            dash(plain(&session["TTL"])),
            seconds(&session["LockDelay"]),
            plain(&session["Behavior"]),
            cell(&dash(checks.join(", "))),
        ]);
    }
    // Without borders every cell is padded; nothing stands right of the last.
    table
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}

/// How wide a column of names gets: every row is as wide as the widest name, and that may be 4 MiB. JSON has all of it.
const MAX_CELL: usize = 60;

fn cell(text: &str) -> String {
    match text.char_indices().nth(MAX_CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn seconds(nanoseconds: &Value) -> String {
    match nanoseconds.as_i64() {
        #[expect(clippy::cast_precision_loss, reason = "for reading, not for computing")]
        Some(nanoseconds) => format!("{}s", nanoseconds as f64 / 1e9),
        None => "-".to_owned(),
    }
}

fn dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => sanitize(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A text without characters that a terminal acts on.
pub(super) fn sanitize(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if steers(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dry_run_claims_nothing() {
        let destroyed = json!({"changed": true, "session_id": "x", "session_ids": ["x"]});
        assert_eq!(tell(&destroyed, true), "would be destroyed x\n");
        assert_eq!(tell(&destroyed, false), "destroyed x\n");
    }

    #[test]
    fn tells_results() {
        let session = json!({"ID": "id-1", "Name": "a\u{1b}[31mb", "Node": "n", "TTL": "", "LockDelay": 1_500_000_000_i64, "Behavior": "release", "NodeChecks": ["serfHealth"]});
        let told = tell(&json!({"changed": false, "sessions": [session]}), false);
        assert!(told.starts_with("ID"), "{told}");
        assert!(
            told.contains("a\\u{1b}[31mb") && told.contains("1.5s") && told.contains("serfHealth"),
            "{told}"
        );
        let long = json!({"changed": false, "sessions": [{"ID": "id-1", "Name": "ü".repeat(100)}]});
        let told = tell(&long, false);
        assert!(told.contains(&format!("{}…", "ü".repeat(60))), "{told}");
        assert!(
            told.lines().all(|line| line.chars().count() < 120),
            "{told}"
        );
        assert_eq!(
            tell(&json!({"changed": false, "sessions": []}), false),
            "no sessions\n"
        );
        assert_eq!(
            tell(
                &json!({"changed": false, "session_id": "x", "session_ids": []}),
                false
            ),
            "nothing to destroy\n"
        );
        let created = tell(
            &json!({"changed": true, "session_id": "id-1", "behavior": "release", "session": session, "warnings": ["w"]}),
            false,
        );
        assert!(
            created.starts_with("created id-1\n") && created.ends_with("warning: w\n"),
            "{created}"
        );
    }
}
