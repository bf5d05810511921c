//! An ACL token that does not show itself.

use std::fmt;

/// An ACL token. Neither `Debug` nor any error prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token; a line break or other character that no token has is refused.
    pub fn new(token: impl Into<String>) -> crate::Result<Token> {
        let token = token.into();
        consul_session_guest::connection::check_token(&token)?;
        Ok(Token(token))
    }

    /// Reads a token from a file, less the line end that editors put behind it.
    pub fn from_file(path: impl AsRef<std::path::Path>) -> anyhow::Result<Token> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            anyhow::anyhow!("cannot read the token file {}: {error}", path.display())
        })?;
        Ok(Token::new(text.trim_end_matches(['\r', '\n']))?)
    }

    /// The token itself, for the one place where it goes into a request.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
