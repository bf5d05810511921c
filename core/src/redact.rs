//! Removal of tokens from text. Everything that may repeat what a server or a caller sent passes through here before it
//! is shown: messages, exchanges and warnings.

use crate::Error;

/// Shorter tokens are no secret, and removing them would garble every text.
const MIN_SECRET: usize = 4;
/// Marks truncated text.
pub const CUT: char = '…';

/// Removes one token from text, or nothing if there is no token.
#[derive(Clone, Copy)]
pub struct Redactor<'a> {
    token: Option<&'a str>,
}

impl<'a> Redactor<'a> {
    /// A redactor for this token. Tokens of fewer than 4 characters are not redacted.
    pub fn new(token: Option<&'a str>) -> Redactor<'a> {
        Redactor {
            token: token.filter(|token| token.len() >= MIN_SECRET),
        }
    }

    /// Whether there is anything to redact.
    pub fn is_active(self) -> bool {
        self.token.is_some()
    }

    /// Replaces the token with `<token>`, including a prefix left by truncation.
    pub fn text(self, text: &str) -> String {
        let Some(token) = self.token else {
            return text.to_owned();
        };
        let text = text.replace(token, "<token>");
        let mut clean = String::with_capacity(text.len());
        for (place, part) in text.split(CUT).enumerate() {
            if place > 0 {
                clean.push(CUT);
            }
            clean.push_str(part);
            let prefix = (MIN_SECRET..token.len())
                .rev()
                .filter_map(|end| token.get(..end))
                .find(|prefix| clean.ends_with(prefix));
            if let Some(prefix) = prefix {
                clean.truncate(clean.len() - prefix.len());
                clean.push_str("<token>");
            }
        }
        clean
    }

    /// Redacts every text of an error.
    pub fn error(self, error: Error) -> Error {
        if self.is_active() {
            error.map_texts(|text| self.text(text))
        } else {
            error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_token_is_left() {
        let redactor = Redactor::new(Some("s3cret-token"));
        for (text, clean) in [
            ("said s3cret-token, s3cret-token", "said <token>, <token>"),
            ("said s3cret-to… (500)", "said <token>… (500)"),
            ("s3cret-token … s3cr…", "<token> … <token>…"),
            ("said s3cret-tok", "said <token>"),
            ("a s3c…", "a s3c…"),
            ("nothing…", "nothing…"),
        ] {
            assert_eq!(redactor.text(text), clean);
        }
        assert_eq!(Redactor::new(Some("abc")).text("abc"), "abc");
        assert_eq!(Redactor::new(None).text("abc"), "abc");
    }
}
