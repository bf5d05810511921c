//! Escaping of characters that a terminal would act on. What Consul stores can contain any character.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal acts on a character: control characters, and marks that hide text or change its direction.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text with every unsafe character written as `\u{…}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// JSON with every unsafe character written as `\uXXXX`. JSON itself requires this only for the first 32.
///
/// Line breaks between values are kept.
pub fn escape_json(json: String) -> String {
    let is_unsafe = |c: char| is_unsafe(c) && c != '\n';
    if !json.contains(is_unsafe) {
        return json;
    }
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn terminals_get_no_commands() {
        let json = json!({"a": "\u{9b}31m\u{7f}\u{202e}ü\n👩\u{200d}🚒"});
        let printed = escape_json(format!("{json:#}\n"));
        assert!(
            !printed.contains(|c: char| is_unsafe(c) && c != '\n'),
            "{printed}"
        );
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json);
        assert!(printed.contains("ü\\n👩\u{200d}🚒"), "{printed}");
        assert_eq!(escape("a\u{1b}[31mü"), "a\\u{1b}[31mü");
    }
}
