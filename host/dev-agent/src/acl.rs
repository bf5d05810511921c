//! Who may do what: one token may do everything, everybody else nothing.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::http::Params;

/// The agent's access control: off, or a default of "deny" with one all-powerful token.
pub(super) struct Acl {
    token: Option<String>,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Allowed,
    /// Nothing; what it reads is filtered, not refused.
    Anonymous,
}

/// The token of a request is not one the agent knows.
#[derive(Debug)]
pub(super) struct AclNotFound;

impl Access {
    pub(super) fn is_allowed(self) -> bool {
        self == Access::Allowed
    }
}

impl Acl {
    pub(super) fn new(token: Option<String>) -> Acl {
        Acl { token }
    }

    pub(super) fn is_on(&self) -> bool {
        self.token.is_some()
    }

    /// Finds out what the token of a request may do.
    pub(super) fn resolve(
        &self,
        params: &Params,
        headers: &HeaderMap,
    ) -> Result<Access, AclNotFound> {
        let Some(known) = &self.token else {
            return Ok(Access::Allowed);
        };
        match token(params, headers) {
            None => Ok(Access::Anonymous),
            Some(token) if token == known => Ok(Access::Allowed),
            Some(_) => Err(AclNotFound),
        }
    }
}

/// A request's token: the query's, then X-Consul-Token, then the bearer. Empty ones do not count.
fn token<'a>(params: &'a Params, headers: &'a HeaderMap) -> Option<&'a str> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = || {
        let (scheme, token) = header(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    let given = |token: &&str| !token.is_empty();
    params
        .get("token")
        .filter(given)
        .or_else(|| header("X-Consul-Token").filter(given))
        .or_else(|| bearer().filter(given))
}
