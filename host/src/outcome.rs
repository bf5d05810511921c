//! The result of an action.

use crate::error::{Error, ErrorKind, Result};
use consul_session_core::redact::Redactor;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Maximum size of a failure object. The built-in component keeps its failures far below it.
const MAX_FAILURE: usize = 64 << 10;

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
        struct Fields {
            changed: bool,
            session_id: Option<String>,
            #[serde(default)]
            warnings: Vec<String>,
        }
        // The text of serde's error may quote the result.
        let malformed = |error: serde_json::Error| {
            let why = redactor.text(&error.to_string());
            let message = format!(
                "the component returned a malformed result: {}",
                beginning(&why)
            );
            Error::new(ErrorKind::Other, message)
        };
        let fields: Fields = serde_json::from_str(&json).map_err(malformed)?;
        let mut warnings = fields.warnings;
        // What Consul stores is not redacted: a node may be named like a short token.
        let json = if redactor.is_active() && !warnings.is_empty() {
            for warning in &mut warnings {
                *warning = redactor.text(warning);
            }
            let mut object: Map<String, Value> = serde_json::from_str(&json).map_err(malformed)?;
            object.insert("warnings".to_owned(), warnings.clone().into());
            serde_json::to_string(&object).map_err(malformed)?
        } else {
            json
        };
        Ok(Outcome {
            json: RawValue::from_string(json).map_err(malformed)?,
            changed: fields.changed,
            session_id: fields.session_id,
            warnings,
        })
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
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
