//! Access control: off, or a default policy of "deny" with one token that grants everything.

/// The access control of an agent.
pub(crate) struct Acl {
    token: Option<String>,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Allowed,
    /// Nothing: its writes are denied, its reads filtered.
    Anonymous,
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
    /// Denies everything without `token`; `None` switches access control off.
    pub(crate) fn new(token: Option<String>) -> Acl {
        Acl { token }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.token.is_some()
    }

    /// Returns what a request with this token may do.
    pub(crate) fn resolve(&self, token: Option<&str>) -> Result<Access, UnknownToken> {
        let Some(known) = &self.token else {
            return Ok(Access::Allowed);
        };
        match token {
            None => Ok(Access::Anonymous),
            Some(token) if token == known => Ok(Access::Allowed),
            Some(_) => Err(UnknownToken),
        }
    }
}
