//! Results for people: sentences and a table.

use comfy_table::{Table, presets};
use consul_session::{Error, ErrorKind, Outcome};
use consul_session_core::terminal::escape;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Maximum width of a cell without a terminal. Names can be 4 MiB long, and JSON contains them in full.
const MAX_CELL: usize = 60;
/// Minimum width of a name.
const MIN_CELL: usize = 8;
/// The space between two columns.
const GAP: usize = 2;

/// Describes an outcome. After a dry run, describes what would happen.
pub(crate) fn describe(outcome: &Outcome, dry_run: bool) -> Result<String, Error> {
    let result: Map<String, Value> = serde_json::from_str(outcome.as_json()).map_err(|error| {
        Error::new(ErrorKind::Other, format!("cannot show the result: {error}"))
    })?;
    let width = terminal_size::terminal_size_of(std::io::stdout())
        .map(|(terminal_size::Width(width), _)| usize::from(width));
    Ok(text(&result, dry_run, width))
}

fn text(result: &Map<String, Value>, dry_run: bool, width: Option<usize>) -> String {
    let mut text = String::new();
    let changed = result.get("changed") == Some(&Value::Bool(true));
    let would_be = if dry_run && changed { "would be " } else { "" };
    let list = |key: &str| result.get(key).and_then(Value::as_array);
    if let Some(sessions) = list("sessions") {
        text.push_str(&table(sessions, width));
    } else if let Some(ids) = list("session_ids") {
        for id in ids {
            let _ = writeln!(text, "{would_be}destroyed {}", plain(id));
        }
        if ids.is_empty() {
            text.push_str("nothing to destroy\n");
        }
    } else if let Some(session) = result.get("session") {
        let replaced = list("replaced").is_some_and(|ids| !ids.is_empty());
        let what = match (result.contains_key("behavior"), changed) {
            (false, _) => "renewed",
            // The one that stays may have existed before.
            (true, true) if replaced => "ensured",
            (true, true) => "created",
            (true, false) => "unchanged",
        };
        match result.get("session_id") {
            Some(id @ Value::String(_)) => {
                let _ = writeln!(text, "{would_be}{what} {}", plain(id));
            }
            _ => text.push_str("would be created\n"),
        }
        for id in list("replaced").into_iter().flatten() {
            let _ = writeln!(text, "{would_be}replaced {}", plain(id));
        }
        if session.is_object() {
            text.push_str(&table(std::slice::from_ref(session), width));
        }
    }
    for warning in list("warnings").into_iter().flatten() {
        let _ = writeln!(text, "warning: {}", plain(warning));
    }
    text
}

/// A column: its header, its cells, and whether its cells may be cut.
struct Column {
    header: &'static str,
    cells: Vec<String>,
    flexible: bool,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| display_width(cell));
        cells.chain([self.header.len()]).max().unwrap_or(0)
    }

    fn cut(&mut self, width: usize) {
        for cell in &mut self.cells {
            *cell = cut(cell, width);
        }
    }
}

fn table(sessions: &[Value], width: Option<usize>) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let column = |header, flexible, cell: fn(&Value) -> String| Column {
        header,
        cells: sessions.iter().map(cell).collect(),
        flexible,
    };
    let mut columns = vec![
        column("ID", false, |session| plain(&session["ID"])),
        column("NAME", true, |session| plain(&session["Name"])),
        column("NODE", true, |session| plain(&session["Node"])),
        column("TTL", false, |session| dash(plain(&session["TTL"]))),
        column("DELAY", false, |session| seconds(&session["LockDelay"])),
        column("BEHAVIOR", false, |session| plain(&session["Behavior"])),
        column("CHECKS", true, |session| dash(checks(session))),
    ];
    for column in &mut columns {
        column.cut(MAX_CELL);
    }
    if let Some(width) = width {
        fit(&mut columns, width);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.header));
    for row in 0..sessions.len() {
        table.add_row(columns.iter().map(|column| &column.cells[row]));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, u16::try_from(GAP).unwrap_or(0)));
    }
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Makes every row fit on one line: first omits columns from the right, then cuts names. Ids are never cut.
fn fit(columns: &mut Vec<Column>, width: usize) {
    let total = |columns: &[Column], flexible_limit: usize| -> usize {
        let widths = columns.iter().map(|column| match column.flexible {
            true => column.width().min(flexible_limit),
            false => column.width(),
        });
        widths.sum::<usize>() + GAP * columns.len().saturating_sub(1)
    };
    // ID, NAME, NODE and TTL stay.
    while columns.len() > 4 && total(columns, 2 * MIN_CELL) > width {
        columns.pop();
    }
    let limit = (MIN_CELL..MAX_CELL)
        .rev()
        .find(|limit| total(columns, *limit) <= width)
        .unwrap_or(MIN_CELL);
    for column in columns.iter_mut().filter(|column| column.flexible) {
        column.cut(limit);
    }
}

fn display_width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        let so_far = display_width(&short);
        if so_far + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) >= width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

fn checks(session: &Value) -> String {
    let names: Vec<String> = ["NodeChecks", "ServiceChecks", "Checks"]
        .into_iter()
        .filter_map(|key| session[key].as_array())
        .flatten()
        .map(|check| plain(check.get("ID").unwrap_or(check)))
        .collect();
    names.join(", ")
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
        Value::String(text) => escape(text).into_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn describe(result: Value, dry_run: bool, width: Option<usize>) -> String {
        let Value::Object(result) = result else {
            panic!("not an object")
        };
        text(&result, dry_run, width)
    }

    fn session(name: &str, node: &str) -> Value {
        json!({"ID": "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11", "Name": name, "Node": node, "TTL": "30s",
            "LockDelay": 1_500_000_000_i64, "Behavior": "release", "NodeChecks": ["serfHealth"]})
    }

    #[test]
    fn a_dry_run_claims_nothing() {
        let destroyed = json!({"changed": true, "session_id": "x", "session_ids": ["x"]});
        assert_eq!(
            describe(destroyed.clone(), true, None),
            "would be destroyed x\n"
        );
        assert_eq!(describe(destroyed, false, None), "destroyed x\n");
    }

    #[test]
    fn describes_results() {
        let listed = json!({"changed": false, "sessions": [session("a\u{1b}[31mb", "n")]});
        let text = describe(listed, false, None);
        assert!(text.starts_with("ID"), "{text}");
        assert!(
            text.contains("a\\u{1b}[31mb") && text.contains("1.5s") && text.contains("serfHealth"),
            "{text}"
        );
        let none = json!({"changed": false, "sessions": []});
        assert_eq!(describe(none, false, None), "no sessions\n");
        let nothing = json!({"changed": false, "session_id": "x", "session_ids": []});
        assert_eq!(describe(nothing, false, None), "nothing to destroy\n");
        let created = json!({"changed": true, "session_id": "id-1", "behavior": "release", "session": session("a", "n"), "warnings": ["w"]});
        let text = describe(created, false, None);
        assert!(
            text.starts_with("created id-1\n") && text.ends_with("warning: w\n"),
            "{text}"
        );
    }

    #[test]
    fn rows_fit_on_a_terminal() {
        let sessions = json!({"changed": false, "sessions": [
            session("deploy", "consul-server-1.example"),
            session(&"宽".repeat(100), "n"),
            session("a-rather-long-name-of-a-session", &"node".repeat(20)),
        ]});
        for width in [72, 80, 100, 132, 200] {
            let text = describe(sessions.clone(), false, Some(width));
            assert_eq!(text.lines().count(), 4, "{width}:\n{text}");
            for line in text.lines() {
                assert!(display_width(line) <= width, "{width}:\n{text}");
            }
            assert!(text.contains("deploy") && text.contains("30s"), "{text}");
            assert!(text.contains("2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"));
        }
        let wide = describe(sessions, false, Some(200));
        assert!(wide.contains("serfHealth"), "{wide}");
    }
}
