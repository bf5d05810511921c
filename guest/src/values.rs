//! JSON values as automation users write them: `"20"` is 20, `yes` is true, `a,b` is a list. Every function takes the
//! parameter's name for its message and never repeats the value of a secret.

use crate::duration::parse_go;
use crate::error::{Fault, invalid, shown};
use crate::types::ServiceCheck;
use serde_json::{Map, Value};

/// The parameters not yet read. Taking one by name reads and removes it.
pub struct Parameters<'a>(pub &'a mut Map<String, Value>);

impl Parameters<'_> {
    /// The value of a parameter; null counts as not given.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    /// A text; numbers are taken as they are written, booleans as Ansible writes them.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        self.take(name).map(|value| text(name, value)).transpose()
    }

    /// A text for which the empty one means not given, as where a template had nothing to fill in.
    pub fn filled_text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A text that must say something if it is there.
    pub fn naming_text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.text(name)? {
            Some(text) if text.trim().is_empty() => Err(invalid(
                name,
                format!("`{name}` is empty; leave it out if it is not meant"),
            )),
            text => Ok(text),
        }
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        self.take(name)
            .map(|value| {
                let said = match &value {
                    Value::Bool(value) => return Ok(*value),
                    Value::Number(number) => number.to_string(),
                    Value::String(text) => text.clone(),
                    other => return Err(wrong_type(name, "a boolean", other)),
                };
                boolean(name, &said)
            })
            .transpose()
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        self.take(name)
            .map(|value| integer(&value).ok_or_else(|| wrong_type(name, "a whole number", &value)))
            .transpose()
    }

    /// A list of texts; a single one may stand without a list, and several in one text, separated by commas.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let mut texts = Vec::new();
        match value {
            Value::Array(values) => {
                for value in values {
                    texts.push(text(name, value)?);
                }
            }
            Value::String(list) => texts = split(&list),
            other @ Value::Object(_) => return Err(wrong_type(name, "a list of texts", &other)),
            other => texts.push(text(name, other)?),
        }
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err(empty_entry(name));
        }
        Ok(Some(texts))
    }

    /// Service checks: names, or objects `{"id": …, "namespace": …}`.
    pub fn service_checks(&mut self, name: &str) -> Result<Option<Vec<ServiceCheck>>, Fault> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let values = match value {
            Value::Array(values) => values,
            Value::String(list) => split(&list).into_iter().map(Value::String).collect(),
            single => vec![single],
        };
        let mut checks = Vec::new();
        for value in values {
            checks.push(service_check(name, value)?);
        }
        Ok(Some(checks))
    }

    /// A length of time in nanoseconds: a whole number of seconds, or a text with units.
    pub fn duration(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        self.take(name)
            .map(|value| duration(name, &value))
            .transpose()
    }
}

/// A boolean in any of the spellings of automation files.
pub fn boolean(name: &str, said: &str) -> Result<bool, Fault> {
    match said.trim().to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" | "t" | "1" | "1.0" => Ok(true),
        "no" | "n" | "off" | "false" | "f" | "0" | "0.0" => Ok(false),
        _ => Err(invalid(
            name,
            format!("`{name}` must be true or false, not `{}`", shown(said)),
        )),
    }
}

fn service_check(name: &str, value: Value) -> Result<ServiceCheck, Fault> {
    let Value::Object(mut object) = value else {
        let id = text(name, value)?;
        if id.trim().is_empty() {
            return Err(empty_entry(name));
        }
        return Ok(ServiceCheck {
            id,
            namespace: None,
        });
    };
    let mut fields = Parameters(&mut object);
    let id = fields.naming_text("id")?;
    let namespace = fields.filled_text("namespace")?;
    if let Some(unknown) = object.keys().next() {
        let message = format!(
            "a check in `{name}` has an unknown key `{}`; it takes `id` and `namespace`",
            shown(unknown)
        );
        return Err(invalid(name, message));
    }
    match id {
        Some(id) => Ok(ServiceCheck { id, namespace }),
        None => Err(invalid(name, format!("a check in `{name}` has no `id`"))),
    }
}

fn text(name: &str, value: Value) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text),
        // Beyond 64 bits a number is read as the nearest float: two names could become one.
        Value::Number(number)
            if number.as_f64().is_some_and(|float| float.abs() >= 1e18) && number.is_f64() =>
        {
            Err(invalid(
                name,
                format!("`{name}` is a number too large to be a text as it is: put it in quotes"),
            ))
        }
        Value::Number(number) => Ok(number.to_string()),
        // As Ansible writes them.
        Value::Bool(true) => Ok("True".to_owned()),
        Value::Bool(false) => Ok("False".to_owned()),
        other => Err(wrong_type(name, "a text", &other)),
    }
}

fn empty_entry(name: &str) -> Fault {
    let message = format!(
        "`{name}` has an empty entry; leave it out if it is not meant, or give the empty list []"
    );
    invalid(name, message)
}

/// The empty text is a list of one empty entry, which is refused: where a template had nothing to fill in, no check at all
/// would be a surprise.
fn split(list: &str) -> Vec<String> {
    list.split(',').map(|text| text.trim().to_owned()).collect()
}

/// A whole number, also as text or as a float without a fraction.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // 2^53: beyond it a float does not say which whole number was meant.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
        }),
        // Templates divide, and write 20.0.
        Value::String(text) => {
            let text = text.trim();
            text.strip_suffix(".0").unwrap_or(text).parse().ok()
        }
        _ => None,
    }
}

fn duration(name: &str, value: &Value) -> Result<u64, Fault> {
    let nanoseconds = match value {
        Value::Number(_) | Value::String(_) => integer(value)
            .map(|seconds| seconds.saturating_mul(1_000_000_000))
            .or_else(|| parse_go(value.as_str()?.trim())),
        other => return Err(wrong_type(name, "a duration", other)),
    };
    let said = || match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match nanoseconds {
        Some(nanoseconds) if nanoseconds < 0 => Err(invalid(
            name,
            format!("`{name}` must not be negative: `{}`", shown(&said())),
        )),
        Some(nanoseconds) => Ok(nanoseconds.unsigned_abs()),
        None => Err(invalid(
            name,
            format!(
                "`{name}` is not a duration: `{}`. Write whole seconds (20) or a text with units (\"20s\", \"1m30s\", \"500ms\")",
                shown(&said())
            ),
        )),
    }
}

fn wrong_type(name: &str, wanted: &str, value: &Value) -> Fault {
    let given = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    // The value itself is not repeated: this is also the path of a token given as a list.
    invalid(
        name,
        format!("`{name}` must be {wanted}, and what was given is {given}"),
    )
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
        assert_eq!(parameters.text("text").unwrap().as_deref(), Some("5"));
        assert_eq!(parameters.boolean("flag").unwrap(), Some(true));
        assert_eq!(parameters.boolean("off").unwrap(), Some(false));
        assert_eq!(parameters.integer("port").unwrap(), Some(8501));
        assert_eq!(parameters.integer("whole").unwrap(), Some(20));
        assert_eq!(parameters.integer("divided").unwrap(), Some(20));
        assert_eq!(
            parameters.texts("list").unwrap().unwrap(),
            vec!["a".to_owned(), "b".to_owned()]
        );
        assert_eq!(parameters.texts("single").unwrap().unwrap(), vec!["a"]);
        assert_eq!(parameters.texts("number").unwrap().unwrap(), vec!["7"]);
        assert_eq!(parameters.texts("nothing").unwrap(), None);
        assert!(parameters.texts("none").is_err());
        assert!(map.is_empty());
        let mut map = parameters_of(
            r#"{"yes": true, "stamp": 20261121101500123456, "id": 18446744073709551615}"#,
        );
        let mut parameters = Parameters(&mut map);
        assert_eq!(parameters.text("yes").unwrap().as_deref(), Some("True"));
        assert_eq!(
            parameters.text("id").unwrap().as_deref(),
            Some("18446744073709551615")
        );
        assert!(parameters.text("stamp").is_err());
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
                read(wrong.clone()).unwrap_err().kind.as_str(),
                "invalid",
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_repeated() {
        let mut map = parameters(json!({ "token": ["s3cret"] }));
        let error = Parameters(&mut map).text("token").unwrap_err();
        assert!(!error.message.contains("s3cret"), "{}", error.message);
    }
}
