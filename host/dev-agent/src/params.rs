//! The query parameters of a request.

use crate::error::ErrorResponse;
use crate::go::url;
use crate::version::Differences;

/// The decoded parameters of a query string, in order.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses a query string; returns `None` if it is invalid.
    pub(crate) fn parse(query: &str, version: &Differences) -> Option<Params> {
        url::parse_query(query, version.semicolon_separates).map(Params)
    }

    /// Returns the first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a parameter unless it is empty.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns whether a parameter is present, whatever its value: `recurse=false` recurses.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the value of a parameter that Consul reads with `strconv.ParseUint`.
    ///
    /// # Errors
    ///
    /// A value that is not an unsigned 64-bit decimal is a 500 with Go's message.
    pub(crate) fn uint(&self, name: &str) -> Result<Option<u64>, ErrorResponse> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        // Rust also accepts a plus sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => {
                let why = if digits {
                    "value out of range"
                } else {
                    "invalid syntax"
                };
                let text = format!("strconv.ParseUint: parsing {text:?}: {why}");
                Err(ErrorResponse::internal_server_error(text))
            }
        }
    }

    /// Rejects a query with more than one of the named parameters.
    pub(crate) fn at_most_one(&self, names: &[&str]) -> Result<(), ErrorResponse> {
        if names.iter().filter(|name| self.has(name)).count() > 1 {
            let text = format!("Conflicting flags: {}", url::encode_query(&self.0));
            return Err(ErrorResponse::bad_request(text));
        }
        Ok(())
    }
}
