//! Typed access to JSON parameters, with the coercions automation users expect: `"20"` is 20, `yes` is true, `a,b` is a
//! list. Every getter takes the parameter's name for its message.

use crate::duration::parse_go;
use crate::error::{Error, Result, shown};
use serde_json::{Map, Value};

/// The parameters that have not been read yet. Each getter removes what it reads; `null` counts as not given.
pub struct Parameters<'a>(pub &'a mut Map<String, Value>);

impl Parameters<'_> {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    /// A string. Numbers are taken as written, booleans as Ansible writes them.
    pub fn string(&mut self, name: &str) -> Result<Option<String>> {
        self.take(name).map(|value| string(name, value)).transpose()
    }

    /// Like [`Parameters::string`], but an empty string counts as missing, because a template may expand to nothing.
    pub fn optional_string(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.string(name)?.filter(|text| !text.is_empty()))
    }

    /// A string that must not be blank if it is given.
    pub fn non_blank_string(&mut self, name: &str) -> Result<Option<String>> {
        match self.string(name)? {
            Some(text) if text.trim().is_empty() => Err(Error::invalid(
                name,
                format!("`{name}` is empty; omit it if you do not need it"),
            )),
            text => Ok(text),
        }
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>> {
        self.take(name)
            .map(|value| match &value {
                Value::Bool(value) => Ok(*value),
                Value::Number(number) => parse_boolean(name, &number.to_string()),
                Value::String(text) => parse_boolean(name, text),
                other => Err(wrong_type(name, "a boolean", other)),
            })
            .transpose()
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Result<Option<i64>> {
        self.take(name)
            .map(|value| integer(&value).ok_or_else(|| wrong_type(name, "a whole number", &value)))
            .transpose()
    }

    /// A duration in nanoseconds, given as a whole number of seconds or as text with units.
    pub fn duration(&mut self, name: &str) -> Result<Option<u64>> {
        self.take(name)
            .map(|value| duration(name, &value))
            .transpose()
    }

    /// A list of non-blank strings. See [`Parameters::list`].
    pub fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        self.list(name, non_blank_string)
    }

    /// A list whose entries `read` parses. A single entry needs no list, and one string may hold several, separated by
    /// commas.
    ///
    /// The empty string is a list of one blank entry, which the usual `read` refuses: if a template had nothing to fill
    /// in, an empty list would silently mean no checks at all.
    pub fn list<T>(
        &mut self,
        name: &str,
        read: fn(&str, Value) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let entries = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(entries)) => entries,
            Some(Value::String(list)) => list
                .split(',')
                .map(|entry| Value::from(entry.trim()))
                .collect(),
            Some(single) => vec![single],
        };
        let list: Result<Vec<T>> = entries.into_iter().map(|entry| read(name, entry)).collect();
        list.map(Some)
    }
}

/// Parses a boolean in any of the spellings used in automation files.
pub fn parse_boolean(name: &str, text: &str) -> Result<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" | "t" | "1" | "1.0" => Ok(true),
        "no" | "n" | "off" | "false" | "f" | "0" | "0.0" => Ok(false),
        _ => Err(Error::invalid(
            name,
            format!("`{name}` must be true or false, not `{}`", shown(text)),
        )),
    }
}

/// Parses an entry of a list that must not be blank.
pub fn non_blank_string(name: &str, value: Value) -> Result<String> {
    if let Value::Array(_) | Value::Object(_) | Value::Null = value {
        let message = format!(
            "each entry of `{name}` must be a string, not {}",
            type_of(&value)
        );
        return Err(Error::invalid(name, message));
    }
    let text = string(name, value)?;
    if text.trim().is_empty() {
        let message =
            format!("`{name}` has an empty entry; remove it, or write [] for the empty list");
        return Err(Error::invalid(name, message));
    }
    Ok(text)
}

fn string(name: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        // Beyond 64 bits the parser keeps only the nearest float, so two names could become one.
        Value::Number(number)
            if number.as_f64().is_some_and(|float| float.abs() >= 1e18) && number.is_f64() =>
        {
            Err(Error::invalid(
                name,
                format!("`{name}` is too large a number to be read exactly; put it in quotes"),
            ))
        }
        Value::Number(number) => Ok(number.to_string()),
        // As Ansible writes them.
        Value::Bool(true) => Ok("True".to_owned()),
        Value::Bool(false) => Ok("False".to_owned()),
        other => Err(wrong_type(name, "a string", &other)),
    }
}

/// A whole number, also as text or as a float without a fraction.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // Beyond 2^53 a float no longer identifies one whole number.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
        }),
        // A template that divides produces 20.0.
        Value::String(text) => {
            let text = text.trim();
            text.strip_suffix(".0").unwrap_or(text).parse().ok()
        }
        _ => None,
    }
}

fn duration(name: &str, value: &Value) -> Result<u64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(wrong_type(name, "a duration", other)),
    };
    let nanoseconds = match integer(value) {
        Some(seconds) => Some(seconds.saturating_mul(1_000_000_000)),
        None => value.as_str().and_then(|text| parse_go(text.trim())),
    };
    match nanoseconds {
        Some(nanoseconds) => u64::try_from(nanoseconds).map_err(|_| {
            Error::invalid(
                name,
                format!("`{name}` must not be negative: `{}`", shown(&text)),
            )
        }),
        None => Err(Error::invalid(
            name,
            format!(
                "`{name}` is not a duration: `{}`; write whole seconds (20) or text with units (\"20s\", \"1m30s\", \"500ms\")",
                shown(&text)
            ),
        )),
    }
}

/// Parses a duration written on a command line: whole seconds, or text with units.
pub fn parse_duration(name: &str, text: &str) -> Result<u64> {
    duration(name, &Value::from(text))
}

/// The error for a value of the wrong type. It does not repeat the value, which may be a token given as a list.
fn wrong_type(name: &str, expected: &str, value: &Value) -> Error {
    let actual = type_of(value);
    Error::invalid(name, format!("`{name}` must be {expected}, not {actual}"))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::SECOND;
    use serde_json::json;

    fn parameters(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("not an object"),
        }
    }

    fn parameters_of(text: &str) -> Map<String, Value> {
        parameters(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn coerces_as_automation_users_expect() {
        let mut map = parameters(json!({
            "text": 5, "flag": "Yes", "off": 0, "port": " 8501 ", "whole": 20.0, "divided": "20.0", "list": "a, b", "single": "a",
            "number": 7, "nothing": null, "none": "",
        }));
        let mut parameters = Parameters(&mut map);
        assert_eq!(parameters.string("text").unwrap().as_deref(), Some("5"));
        assert_eq!(parameters.boolean("flag").unwrap(), Some(true));
        assert_eq!(parameters.boolean("off").unwrap(), Some(false));
        assert_eq!(parameters.integer("port").unwrap(), Some(8501));
        assert_eq!(parameters.integer("whole").unwrap(), Some(20));
        assert_eq!(parameters.integer("divided").unwrap(), Some(20));
        assert_eq!(
            parameters.strings("list").unwrap().unwrap(),
            vec!["a".to_owned(), "b".to_owned()]
        );
        assert_eq!(parameters.strings("single").unwrap().unwrap(), vec!["a"]);
        assert_eq!(parameters.strings("number").unwrap().unwrap(), vec!["7"]);
        assert_eq!(parameters.strings("nothing").unwrap(), None);
        assert!(parameters.strings("none").is_err());
        assert!(map.is_empty());
        let mut map = parameters_of(
            r#"{"yes": true, "stamp": 20261121101500123456, "id": 18446744073709551615}"#,
        );
        let mut parameters = Parameters(&mut map);
        assert_eq!(parameters.string("yes").unwrap().as_deref(), Some("True"));
        assert_eq!(
            parameters.string("id").unwrap().as_deref(),
            Some("18446744073709551615")
        );
        assert!(parameters.string("stamp").is_err());
    }

    #[test]
    fn reads_durations() {
        let read = |value: Value| {
            let mut map = parameters(json!({ "ttl": value }));
            Parameters(&mut map).duration("ttl")
        };
        assert_eq!(read(json!(20)).unwrap(), Some(20 * SECOND));
        assert_eq!(read(json!("20")).unwrap(), Some(20 * SECOND));
        assert_eq!(read(json!("20s")).unwrap(), Some(20 * SECOND));
        assert_eq!(read(json!("1m30s")).unwrap(), Some(90 * SECOND));
        assert_eq!(read(json!(0)).unwrap(), Some(0));
        for wrong in [
            json!(-1),
            json!("-5s"),
            json!(1.5),
            json!("1.5"),
            json!("soon"),
            json!([1]),
            json!(true),
        ] {
            assert_eq!(
                read(wrong.clone()).unwrap_err().kind().as_str(),
                "invalid",
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_repeated() {
        let mut map = parameters(json!({ "token": ["s3cret"] }));
        let error = Parameters(&mut map).string("token").unwrap_err();
        assert!(!error.message().contains("s3cret"), "{error}");
    }
}
