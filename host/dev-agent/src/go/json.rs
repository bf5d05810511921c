//! JSON as Go's `encoding/json` reads and writes it.
//!
//! Go accepts more than serde_json and serde expect: field names match in any case, the last
//! duplicate wins, invalid Unicode is replaced, and data after the first value is ignored. Error
//! texts are Go's, as they reach the client.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::Number;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::utf8;

/// A JSON value that keeps the order of fields and their duplicates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses the first JSON value of `body`.
    pub(crate) fn parse(body: &[u8]) -> Result<Json, String> {
        let text = replace_lone_surrogates(&utf8::decode_lossy(body));
        let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Json>();
        match values.next() {
            None => Err("EOF".into()),
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) if error.is_eof() => Err("unexpected EOF".into()),
            Some(Err(error)) => Err(syntax_error(&text, &error)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// Returns the fields of an object; `null` has none. `target` is Go's name of the type that the
    /// value is decoded into.
    pub(crate) fn fields(&self, target: &str) -> Result<&[(String, Json)], String> {
        match self {
            Json::Object(fields) => Ok(fields),
            Json::Null => Ok(&[]),
            other => Err(other.mismatch(target)),
        }
    }

    /// Returns the items of an array, or `None` for `null`.
    pub(crate) fn items(&self, target: &str) -> Result<Option<&[Json]>, String> {
        match self {
            Json::Array(items) => Ok(Some(items)),
            Json::Null => Ok(None),
            other => Err(other.mismatch(target)),
        }
    }

    fn mismatch(&self, target: &str) -> String {
        format!("json: cannot unmarshal {} into Go {target}", self.kind())
    }

    /// Sets `target` to a string; `null` leaves it unchanged.
    pub(crate) fn string(&self, field: &str, target: &mut String) -> Result<(), String> {
        match self {
            Json::String(text) => target.clone_from(text),
            Json::Null => {}
            other => return Err(other.mismatch(&field_of(field, "string"))),
        }
        Ok(())
    }

    /// Sets `target` to an unsigned integer; `null` leaves it unchanged.
    pub(crate) fn integer(&self, field: &str, target: &mut u64) -> Result<(), String> {
        match self {
            Json::Number(number) => match number.as_u64() {
                Some(number) => *target = number,
                None => {
                    let target = field_of(field, "uint64");
                    return Err(format!(
                        "json: cannot unmarshal number {number} into Go {target}"
                    ));
                }
            },
            Json::Null => {}
            other => return Err(other.mismatch(&field_of(field, "uint64"))),
        }
        Ok(())
    }

    /// Sets `target` to a boolean; `null` leaves it unchanged.
    pub(crate) fn boolean(&self, field: &str, target: &mut bool) -> Result<(), String> {
        match self {
            Json::Bool(value) => *target = *value,
            Json::Null => {}
            other => return Err(other.mismatch(&field_of(field, "bool"))),
        }
        Ok(())
    }

    /// Sets `target` to a list of strings, whose type in Go is `kind`; `null` sets it to `None`. As
    /// Go decodes into the old list, a `null` item leaves the string at its position unchanged.
    pub(crate) fn strings(
        &self,
        field: &str,
        kind: &str,
        target: &mut Option<Vec<String>>,
    ) -> Result<(), String> {
        match self {
            Json::Array(items) => {
                let mut old = target.take().unwrap_or_default();
                old.resize(items.len(), String::new());
                for (item, text) in items.iter().zip(&mut old) {
                    match item {
                        Json::String(new) => text.clone_from(new),
                        Json::Null => {}
                        other => return Err(other.mismatch(&field_of(field, kind))),
                    }
                }
                *target = Some(old);
            }
            Json::Null => *target = None,
            other => return Err(other.mismatch(&field_of(field, &format!("[]{kind}")))),
        }
        Ok(())
    }
}

/// Replaces each `\u` escape of a lone surrogate by `\ufffd`, as Go does; serde_json rejects them.
///
/// Outside of strings a backslash is an error before and after. The text keeps its length, so the
/// position of an error stays valid.
fn replace_lone_surrogates(text: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        replaced.push_str(before);
        let low = escape.get(6..).and_then(escaped_code_unit);
        let length = match (escaped_code_unit(escape), low) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                replaced.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            // The backslash and the character after it, which may be another backslash.
            _ => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        replaced.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    replaced.push_str(rest);
    replaced
}

/// Returns the UTF-16 code unit of a `\uXXXX` escape at the start of `text`.
fn escaped_code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// Returns Go's text for a syntax error: the offending character and what Go expected there.
fn syntax_error(text: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let line = text.lines().nth(error.line().saturating_sub(1));
    let found = line.and_then(|line| line.get(error.column().checked_sub(1)?..)?.chars().next());
    let place = if message.starts_with("expected value") {
        "looking for beginning of value"
    } else if message.starts_with("key must be") || message.starts_with("trailing comma") {
        "looking for beginning of object key string"
    } else if message.starts_with("expected ident") {
        "in literal"
    } else if message.starts_with("expected `:`") {
        "after object key"
    } else if message.starts_with("expected `,`") {
        "after value"
    } else {
        return message;
    };
    match found {
        Some(found) => format!("invalid character {found:?} {place}"),
        None => message,
    }
}

/// Returns Go's name of a field. `field` is the name of the struct, if it has one, a dot, and the
/// name of the field.
fn field_of(field: &str, kind: &str) -> String {
    format!("struct field {field} of type {kind}")
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

/// Serializes a value as an agent in `-dev` mode does: indented, with a newline at the end.
pub(crate) fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    let printed = value.serialize(&mut Serializer::with_formatter(&mut text, formatter));
    debug_assert!(printed.is_ok(), "responses have string keys only");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_go() {
        assert_eq!(Json::parse(b" "), Err("EOF".into()));
        assert_eq!(Json::parse(b"{"), Err("unexpected EOF".into()));
        assert!(Json::parse(b"{'a'}").is_err());
        assert_eq!(
            Json::parse(b"\"a\xff\" trailing"),
            Ok(Json::String("a\u{fffd}".into()))
        );
        assert_eq!(
            Json::parse(b"\"\xe2\x82\xed\xa0\x80\""),
            Ok(Json::String("\u{fffd}".repeat(5)))
        );
        let twice = Json::parse(br#"{"a":1,"A":2}"#).unwrap();
        assert_eq!(twice.fields("value").unwrap().len(), 2);
    }

    #[test]
    fn a_lone_surrogate_becomes_one_replacement_character() {
        for (json, expected) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\uDFFFa""#, "\u{fffd}a"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\\ud800""#, r"\ud800"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
        ] {
            let parsed = Json::parse(json.as_bytes());
            assert_eq!(parsed, Ok(Json::String(expected.into())), "{json}");
        }
        assert_eq!(
            Json::parse(br#"{"\ud800":"\udc00"}"#),
            Ok(Json::Object(vec![(
                "\u{fffd}".into(),
                Json::String("\u{fffd}".into())
            )]))
        );
        for invalid in [
            r#""\ud8""#,
            r#""\ud8zz""#,
            r#""\ud800\q""#,
            "\"\\ud800\n\"",
            r"\ud800",
        ] {
            assert!(Json::parse(invalid.as_bytes()).is_err(), "{invalid}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(nested(127).as_bytes()).is_ok());
        assert!(Json::parse(nested(128).as_bytes()).is_err());
    }

    #[test]
    fn a_null_in_a_list_keeps_what_stood_there() {
        let mut checks = Some(vec!["serfHealth".to_owned()]);
        let sent = Json::parse(b"[null,\"x\"]").unwrap();
        sent.strings(".NodeChecks", "string", &mut checks).unwrap();
        assert_eq!(checks, Some(vec!["serfHealth".into(), "x".into()]));
    }
}
