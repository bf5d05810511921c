//! Access control: off, or a default policy of "deny" with one token that grants everything, and
//! perhaps one that grants nothing.

/// The accessor ID of the token that grants nothing.
pub(crate) const POWERLESS_ACCESSOR: &str = "b3c6a4f0-5d1e-4f7a-9c2b-8e0d6f3a1b57";

/// The access control of an agent.
pub(crate) struct Acl {
    token: Option<String>,
    powerless: Option<String>,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Allowed,
    /// Nothing, because it has no token: its writes are denied, its reads filtered.
    Anonymous,
    /// The same, with a token that grants nothing.
    Powerless,
}

/// The error of a request with a token that the agent does not know.
#[derive(Debug)]
pub(crate) struct UnknownToken;

impl Access {
    pub(crate) fn is_allowed(self) -> bool {
        self == Access::Allowed
    }
}

impl Acl {
    /// Denies every request except those with `token`. The token `powerless` is known, but permits
    /// nothing. If `token` is `None`, access control is off.
    pub(crate) fn new(token: Option<String>, powerless: Option<String>) -> Acl {
        Acl { token, powerless }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.token.is_some()
    }

    /// Returns Consul's `default_policy`, which applies where a token has no rule.
    pub(crate) fn default_policy(&self) -> &'static str {
        if self.is_enabled() { "deny" } else { "allow" }
    }

    /// Returns what a request with this token may do.
    pub(crate) fn resolve(&self, token: Option<&str>) -> Result<Access, UnknownToken> {
        let Some(known) = &self.token else {
            return Ok(Access::Allowed);
        };
        match token {
            None => Ok(Access::Anonymous),
            Some(token) if token == known => Ok(Access::Allowed),
            Some(token) if Some(token) == self.powerless.as_deref() => Ok(Access::Powerless),
            Some(_) => Err(UnknownToken),
        }
    }
}
