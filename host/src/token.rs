//! An ACL token that is never printed.

use crate::error::{Error, Result};
use consul_session_core::settings::check_token;
use std::fmt;
use std::path::Path;

/// An ACL token. Neither `Debug` nor any error prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Checks and stores a token.
    ///
    /// # Errors
    ///
    /// Fails if the token is empty or contains a character that cannot be part of one, such as a line break.
    pub fn new(token: impl Into<String>) -> Result<Token> {
        let token = token.into();
        if token.is_empty() {
            return Err(Error::invalid("token", "`token` is empty"));
        }
        check_token(&token)?;
        Ok(Token(token))
    }

    /// Reads a token from a file and trims white space, such as the line ending that editors add.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or does not contain a token.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Token> {
        let path = path.as_ref();
        let fail = |why: &str| {
            Error::invalid(
                "token",
                format!("cannot use the token file {}: {why}", path.display()),
            )
        };
        let bytes = crate::files::read(path).map_err(|error| fail(&error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8 text"))?;
        match text.trim() {
            "" => Err(fail("it is empty")),
            token => Token::new(token),
        }
    }

    /// The token itself, for the request header and for redaction. Do not print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
