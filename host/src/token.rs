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

    /// Reads a token from a file, less white space around it, such as the line end that editors put there.
    pub fn from_file(path: impl AsRef<std::path::Path>) -> anyhow::Result<Token> {
        let path = path.as_ref();
        let wrong = |why: String| anyhow::anyhow!("token file {}: {why}", path.display());
        let bytes = crate::files::read(path).map_err(|error| wrong(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not a text".to_owned()))?;
        match text.trim() {
            "" => Err(wrong("it is empty".to_owned())),
            token => Ok(Token::new(token)?),
        }
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
