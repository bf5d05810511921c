//! The result of an action.

use crate::error::{Error, ErrorKind, Result};
use crate::raw_object::{RawObject, Unreadable};
use consul_session_core::redact::Redactor;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// Maximum size of a failure object, and of the warnings of a result. The built-in component keeps far below it.
pub(crate) const MAX_FAILURE: usize = 64 << 10;

/// Maximum number of warnings of a result.
const MAX_WARNINGS: usize = 100;

/// What an action did, or in check mode would do.
///
/// An outcome serializes to the result object of the action interface: `changed`, the keys that the state returns, and if
/// there are any, `diff` and `warnings`. (The serializer must be serde_json's.)
#[derive(Clone, Debug)]
pub struct Outcome {
    json: Box<RawValue>,
    changed: bool,
    session_id: Option<String>,
    warnings: Vec<String>,
}

impl Outcome {
    /// Whether the action changed anything, or in check mode would change anything. Reads never do.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The id of the session that the action is about, if it is about a single one that exists.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Warnings for people.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The result object as JSON.
    pub fn as_json(&self) -> &str {
        self.json.get()
    }

    /// Checks a component's result. Only the fields with an accessor are decoded: a list may have tens of MiB.
    pub(crate) fn from_component(json: String, redactor: Redactor<'_>) -> Result<Outcome> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            changed: bool,
            session_id: Option<String>,
            #[serde(borrow)]
            warnings: Option<&'a RawValue>,
        }
        // The text of serde's error may quote the result.
        let malformed = |error: serde_json::Error| {
            let why = error.to_string();
            malformed_because(&redactor.text(beginning(&why)))
        };
        let fields: Fields<'_> = serde_json::from_str(&json).map_err(malformed)?;
        let (changed, session_id) = (fields.changed, fields.session_id);
        let warnings = match fields.warnings {
            None => Vec::new(),
            Some(warnings) if warnings.get().len() > MAX_FAILURE => return Err(too_many_warnings()),
            Some(warnings) => serde_json::from_str(warnings.get()).map_err(malformed)?,
        };
        let warnings = warnings_from_component(warnings, redactor)?;
        // What Consul stores is not redacted: a node may be named like a short token.
        let json = if redactor.is_active() && !warnings.is_empty() {
            let mut object = RawObject::parse(&json).map_err(|why| match why {
                Unreadable::Json(error) => malformed(error),
                Unreadable::TooManyMembers => malformed_because("it has more than 100 members"),
            })?;
            let redacted = serde_json::value::to_raw_value(&warnings).map_err(malformed)?;
            object.insert("warnings".to_owned(), redacted);
            serde_json::to_string(&object).map_err(malformed)?
        } else {
            json
        };
        Ok(Outcome {
            json: RawValue::from_string(json).map_err(malformed)?,
            changed,
            session_id,
            warnings,
        })
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Redacts a component's warnings, which may repeat what a server sent.
pub(crate) fn warnings_from_component(
    mut warnings: Vec<String>,
    redactor: Redactor<'_>,
) -> Result<Vec<String>> {
    let size: usize = warnings.iter().map(String::len).sum();
    if size > MAX_FAILURE || warnings.len() > MAX_WARNINGS {
        return Err(too_many_warnings());
    }
    redactor.texts(&mut warnings);
    Ok(warnings)
}

fn too_many_warnings() -> Error {
    malformed_because("its warnings are more than 100, or larger than 64 KiB")
}

fn malformed_because(why: &str) -> Error {
    let message = format!("the component returned a malformed result: {why}");
    Error::new(ErrorKind::Other, message)
}

/// At most 1 KiB of a text that a component chose.
fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(1024)).unwrap_or(text)
}

/// Decodes a component's failure object.
pub(crate) fn failure_from_component(json: &str) -> Error {
    let malformed = |why: &str| {
        let message = format!(
            "the component returned a malformed error: {why}: {}",
            beginning(json)
        );
        Error::new(ErrorKind::Other, message)
    };
    if json.len() > MAX_FAILURE {
        return malformed("it is larger than 64 KiB");
    }
    serde_json::from_str(json).unwrap_or_else(|error| malformed(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_are_redacted_and_no_tree_is_built() {
        let redactor = Redactor::new(Some("s3cret"));
        let outcome = |json: &str| Outcome::from_component(json.to_owned(), redactor);
        // The spaces show that the rest was not read.
        let json =
            r#"{"changed": true, "sessions": [ {"name": "s3cret"} ], "warnings": ["s3cret", "b"]}"#;
        let clean = outcome(json).unwrap();
        assert_eq!(clean.warnings(), ["<token>", "b"]);
        assert!(
            clean.as_json().contains(r#"[ {"name": "s3cret"} ]"#),
            "{}",
            clean.as_json()
        );
        assert!(
            clean.as_json().contains(r#""warnings":["<token>","b"]"#),
            "{}",
            clean.as_json()
        );
        // What only a hostile component returns.
        let many = format!(
            r#"{{"changed": true, "warnings": ["{}"]}}"#,
            "x".repeat(MAX_FAILURE)
        );
        assert!(outcome(&many).unwrap_err().message().contains("64 KiB"));
        let members: String = (0..200).map(|n| format!(r#""{n}": 1, "#)).collect();
        let members = format!(r#"{{{members}"changed": true, "warnings": ["a"]}}"#);
        assert!(
            outcome(&members)
                .unwrap_err()
                .message()
                .contains("100 members")
        );
        let wrong = outcome(r#"{"changed": "s3cret"}"#).unwrap_err();
        assert!(!wrong.message().contains("s3cret"), "{wrong}");
    }
}
