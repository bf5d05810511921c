//! What the host adds to a component's messages, and what it takes out of them.

use super::Client;
use crate::bindings::types;
use crate::error::{Error, explained};
use crate::runtime::Journal;
use consul_session_guest::connection::Source;
use serde_json::Value;

/// Shorter tokens are no secret, and taking them out would garble every text.
pub(crate) const MIN_SECRET: usize = 4;
/// Where the component cuts a text.
const CUT: char = '…';

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
            Some(token) if token.len() >= MIN_SECRET => without(token, &text),
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
        let beginning = token.get(..MIN_SECRET).unwrap_or(token);
        if !json.contains(beginning) && !token.contains(['"', '\\']) {
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

/// A text without a token, nor the beginning of one at which the component cut off what a server said.
fn without(token: &str, text: &str) -> String {
    let text = text.replace(token, "<token>");
    let mut clean = String::new();
    for (place, part) in text.split(CUT).enumerate() {
        if place > 0 {
            clean.push(CUT);
        }
        clean.push_str(part);
        let beginning = (MIN_SECRET..token.len())
            .rev()
            .filter_map(|end| token.get(..end))
            .find(|beginning| clean.ends_with(beginning));
        if let Some(beginning) = beginning {
            clean.truncate(clean.len() - beginning.len());
            clean.push_str("<token>");
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_token_is_left() {
        for (text, clean) in [
            ("said s3cret-token, s3cret-token", "said <token>, <token>"),
            ("said s3cret-to… (500)", "said <token>… (500)"),
            ("s3cret-token … s3cr…", "<token> … <token>…"),
            ("said s3cret-tok", "said <token>"),
            ("a s3c…", "a s3c…"),
            ("nothing…", "nothing…"),
        ] {
            assert_eq!(without("s3cret-token", text), clean);
        }
    }
}
