//! Escaping of characters that a terminal would act on. What Consul stores can contain any character.

use std::borrow::Cow;
use std::fmt::Write as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Whether a character must not reach a terminal: control characters, marks that hide text or change its direction, and
/// what is blank or has no meaning, so that two names look the same.
pub fn is_unsafe(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match c.general_category() {
        // With U+200D, which also joins emoji.
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::SpaceSeparator
        | GeneralCategory::Unassigned => true,
        // Letters, marks and symbols without a glyph: the Hangul fillers, the empty Braille pattern, two Khmer vowels, and
        // selectors of variants but the one of emoji.
        _ => matches!(
            c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0e}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}'
        ),
    }
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
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
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
        let json = json!({"a": "\u{9b}31m\u{7f}\u{202e}ü\n👩\u{200d}🚒\u{e0001}\u{3164}"});
        let printed = escape_json(format!("{json:#}\n"));
        assert!(
            !printed.contains(|c: char| is_unsafe(c) && c != '\n'),
            "{printed}"
        );
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json);
        assert!(printed.contains("ü\\n👩\\u200d🚒"), "{printed}");
        assert_eq!(escape("a\u{1b}[31mü"), "a\\u{1b}[31mü");
    }

    #[test]
    fn names_that_look_the_same_are_told_apart() {
        for c in "\u{61c}\u{ad}\u{180e}\u{fff9}\u{fffb}\u{e0001}\u{e007f}\u{3164}\u{2800}\u{200b}\u{2060}\u{feff}\u{2066}\u{a0}\u{3000}\u{fe01}\u{e0100}\u{2065}\u{17b4}".chars() {
            assert!(is_unsafe(c), "U+{:04X}", u32::from(c));
        }
        for c in "aé한あ🚒 -_.\u{301}\u{fe0f}".chars() {
            assert!(!is_unsafe(c), "U+{:04X}", u32::from(c));
        }
    }
}
