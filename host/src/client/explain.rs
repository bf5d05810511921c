//! What the host adds to a component's messages, and what it takes out of them.

use super::Client;
use crate::bindings::types;
use crate::error::{Error, explained};
use crate::runtime::Journal;
use consul_session_guest::connection::Source;
use serde_json::Value;

/// Shorter tokens are no secret, and taking them out would garble every text.
const MIN_SECRET: usize = 4;

impl Client {
    /// The error of a typed function as the caller sees it.
    pub(super) fn explained(&self, mut error: types::Error, journal: &Journal) -> Error {
        error.message = self.redacted(error.message);
        if let Some(exchange) = &mut error.exchange {
            exchange.path = self.redacted(std::mem::take(&mut exchange.path));
            exchange.text = self.redacted(std::mem::take(&mut exchange.text));
        }
        let error = Error::from(error);
        let unanswered = error
            .exchange()
            .is_some_and(|exchange| exchange.status.is_none());
        match self.known(journal).filter(|_| unanswered) {
            Some(detail) => error.explain(&detail),
            None => error,
        }
    }

    /// A text without the token, which a server may have repeated: the component does not know the token and cannot
    /// take it out.
    pub(super) fn redacted(&self, text: String) -> String {
        match self.0.network.token() {
            Some(token) if token.len() >= MIN_SECRET => text.replace(token, "<token>"),
            _ => text,
        }
    }

    /// The same for each text in some fields of a JSON object.
    pub(super) fn redacted_json(&self, json: String, field: fn(&str) -> bool) -> String {
        fn each(value: &mut Value, redact: &dyn Fn(String) -> String) {
            match value {
                Value::String(text) => *text = redact(std::mem::take(text)),
                Value::Array(values) => values.iter_mut().for_each(|value| each(value, redact)),
                Value::Object(fields) => fields.values_mut().for_each(|value| each(value, redact)),
                _ => {}
            }
        }
        let Some(token) = self.0.network.token() else {
            return json;
        };
        // Most answers hold nothing like it, and need not be read again. JSON escapes quotes and backslashes.
        if !json.contains(token) && !token.contains(['"', '\\']) {
            return json;
        }
        match serde_json::from_str(&json) {
            Ok(Value::Object(mut object)) => {
                for (key, value) in &mut object {
                    if field(key) {
                        each(value, &|text| self.redacted(text));
                    }
                }
                Value::Object(object).to_string()
            }
            Ok(_) | Err(_) => self.redacted(json),
        }
    }

    /// What the host knows about a request without an answer and the component could not be told: details of TLS and of
    /// the policy, and where an address comes from that the caller did not give.
    fn known(&self, journal: &Journal) -> Option<String> {
        let source = match self.0.address.source {
            Source::Url => None,
            source => Some(format!("the address is {source}")),
        };
        match (journal.detail(), source) {
            (Some(detail), Some(source)) => Some(format!("{detail}; {source}")),
            (detail, source) => detail.or(source),
        }
    }

    /// The failure object of the action door as the caller sees it, but for the token.
    pub(super) fn explain_json(&self, failure: String, journal: &Journal) -> String {
        let Ok(Value::Object(mut object)) = serde_json::from_str(&failure) else {
            return failure;
        };
        let error = object.get("error");
        let answered =
            error.is_none_or(|error| error.get("method").is_none() || !error["status"].is_null());
        if answered {
            return failure;
        }
        if let (Some(detail), Some(Value::String(message))) =
            (self.known(journal), object.get_mut("msg"))
        {
            *message = explained(message, &detail);
        }
        Value::Object(object).to_string()
    }
}
