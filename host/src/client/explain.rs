//! What the host adds to a component's messages, and what it takes out of them.

use super::Client;
use crate::bindings::types;
use crate::error::{Error, explained};
use crate::runtime::Journal;
use consul_session_guest::connection::Source;
use serde_json::Value;

/// Shorter tokens are no secret, and taking them out would garble every text.
const MIN_SECRET: usize = 4;
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
            Some(token) => without(token, &text),
            None => text,
        }
    }

    /// The same for each text in a JSON value.
    fn redact(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redacted(std::mem::take(text)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.redact(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.redact(value)),
            _ => {}
        }
    }

    /// The result of the action door as the caller sees it. What Consul stores is no message: a node may be named like a
    /// short token. Most results have no warning, and need not be read again; within a text the key's quotes are escaped.
    pub(super) fn explained_result(&self, result: String) -> String {
        if self.0.network.token().is_none() || !result.contains("\"warnings\":") {
            return result;
        }
        let Ok(mut object) = serde_json::from_str::<Value>(&result) else {
            return self.redacted(result);
        };
        if let Some(warnings) = object.get_mut("warnings") {
            self.redact(warnings);
        }
        object.to_string()
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

    /// The failure object of the action door as the caller sees it.
    pub(super) fn explained_failure(&self, failure: String, journal: &Journal) -> String {
        let Ok(mut object) = serde_json::from_str::<Value>(&failure) else {
            return self.redacted(failure);
        };
        let unanswered = object
            .get("error")
            .is_some_and(|error| error.get("method").is_some() && error["status"].is_null());
        if unanswered
            && let Some(detail) = self.known(journal)
            && let Some(Value::String(message)) = object.get_mut("msg")
        {
            *message = explained(message, &detail);
        }
        self.redact(&mut object);
        object.to_string()
    }
}

/// A text without a token, nor the beginning of one at which the component cut off what a server said.
pub(crate) fn without(token: &str, text: &str) -> String {
    if token.len() < MIN_SECRET {
        return text.to_owned();
    }
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
