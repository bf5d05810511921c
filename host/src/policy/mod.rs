//! What a component may reach and do. Everything is denied unless allowed: a policy is a list of origins and a set of
//! operations, checked on every request against the URI that is really dialed, and again on every address that a name
//! resolves to.

mod addresses;
mod keys;
mod operation;
mod origin;

pub(crate) use keys::{MAX_TRANSACTION, TRANSACTIONS};
pub use operation::Operation;
pub(crate) use origin::{host_of, origin_of, port_of};

use crate::error::{Error, Result};
use http::{Method, Uri};
use ipnet::IpNet;
use keys::{KeyRequest, Keys};
use operation::{SESSION_OPERATIONS, classify};
use origin::{Host, Origin};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The rules for a tenant's requests: which origins may be reached, and which operations of Consul's API are allowed
/// there.
///
/// ```
/// # use consul_session::{Operation, Policy};
/// let policy = Policy::deny_all()
///     .allow("https://*.consul.example:8501")?
///     .only([Operation::Read, Operation::Renew]);
/// # Ok::<(), consul_session::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    origins: Vec<Origin>,
    operations: BTreeSet<Operation>,
    keys: Keys,
    /// Where names may resolve to besides.
    addresses: Vec<IpNet>,
}

impl Policy {
    /// Denies every origin. On origins that are allowed later, every operation on sessions is allowed; [`Policy::only`]
    /// restricts them.
    pub fn deny_all() -> Policy {
        Policy {
            origins: Vec::new(),
            operations: SESSION_OPERATIONS.into_iter().collect(),
            keys: Keys::default(),
            addresses: Vec::new(),
        }
    }

    /// Allows an origin: `https://consul.example:8501`, `http://*.consul.example:8500` (any name below the domain, but not
    /// the domain itself), `http://10.0.0.0/8:8500`, or any of these with `*` for any port.
    ///
    /// # Errors
    ///
    /// Fails if the origin is malformed.
    pub fn allow(mut self, origin: &str) -> Result<Policy> {
        self.origins.push(origin.parse()?);
        Ok(self)
    }

    /// Lets allowed names resolve to addresses of a network: `10.20.0.0/16`, `fd12:3456::/32`, or a single address.
    ///
    /// Without it, a name that only a pattern allows must resolve to an address of the public internet; private networks,
    /// loopback and the metadata services of clouds are refused. A name that is allowed as a whole may resolve to any
    /// address that is not link-local, unspecified, multicast or broadcast.
    ///
    /// # Errors
    ///
    /// Fails if the network is malformed.
    pub fn allow_addresses(mut self, network: &str) -> Result<Policy> {
        let parsed = addresses::parse(network).ok_or_else(|| {
            let message =
                format!("`{network}` is not a network; write 10.20.0.0/16 or a single address");
            Error::invalid("network", message)
        })?;
        self.addresses.push(parsed);
        Ok(self)
    }

    /// Allows locks and semaphores on keys that begin with one of these prefixes: to acquire and release them, and to read
    /// who holds them. The empty prefix allows every key. Without this, no key can be reached.
    #[must_use]
    pub fn locks<S: Into<String>>(mut self, prefixes: impl IntoIterator<Item = S>) -> Policy {
        self.keys.locks.extend(prefixes.into_iter().map(Into::into));
        self
    }

    /// Allows to read keys that begin with one of these prefixes, and to write and delete them while a lock is held that
    /// [`Policy::locks`] allows.
    #[must_use]
    pub fn guarded_writes<S: Into<String>>(
        mut self,
        prefixes: impl IntoIterator<Item = S>,
    ) -> Policy {
        self.keys
            .writes
            .extend(prefixes.into_iter().map(Into::into));
        self
    }

    /// Allows these operations on sessions and no others.
    #[must_use]
    pub fn only(mut self, operations: impl IntoIterator<Item = Operation>) -> Policy {
        self.operations = operations.into_iter().collect();
        self
    }

    /// Checks a request. The body matters for transactions only. The error says why it is denied.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        body: Option<&[u8]>,
    ) -> Result<(), String> {
        if !self.origins.iter().any(|origin| origin.matches(uri)) {
            // The allowed ones are not listed: whoever asks may be a tenant.
            return Err(format!("{} is not an allowed origin", origin_of(uri)));
        }
        if let Some(request) = KeyRequest::of(method, uri, body)? {
            return self.keys.check(&request);
        }
        let operation = classify(method, uri)?;
        if !self.operations.contains(&operation) {
            let allowed: Vec<&str> = self
                .operations
                .iter()
                .map(|operation| operation.as_str())
                .collect();
            return Err(format!(
                "the operation `{operation}` is not allowed; allowed: {}",
                allowed.join(", ")
            ));
        }
        Ok(())
    }

    /// Checks an address that a name resolved to. Allowing a name does not allow every address it resolves to.
    ///
    /// The owner of a domain can point any of its names at any address. So a name that only a pattern allows reaches the
    /// public internet and nothing else, and a name that the policy lists as a whole also private networks and loopback.
    pub(crate) fn check_address(&self, host: &str, address: IpAddr) -> Result<(), String> {
        if host_of(host).parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let address = address.to_canonical();
        if self.addresses.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let listed = || {
            self.origins.iter().any(
                |origin| matches!(&origin.host, Host::Name(name) if name.eq_ignore_ascii_case(host)),
            )
        };
        if addresses::is_nobodys(address) {
            return Err(format!(
                "{host} resolves to {address}, a link-local or other address that names must not resolve to"
            ));
        }
        if addresses::is_special(address) && !listed() {
            return Err(format!(
                "{host} resolves to {address}, a private or special address; the policy allows the name by a pattern only"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(origin: &str, uri: &str) -> bool {
        let policy = Policy::deny_all().allow(origin).unwrap();
        policy
            .check(&Method::GET, &uri.parse().unwrap(), None)
            .is_ok()
    }

    #[test]
    fn denies_by_default() {
        let uri = "http://localhost:8500/v1/session/list".parse().unwrap();
        let error = Policy::deny_all()
            .check(&Method::GET, &uri, None)
            .unwrap_err();
        assert!(
            error.contains("http://localhost:8500 is not an allowed origin"),
            "{error}"
        );
    }

    #[test]
    fn matches_the_origin_that_is_dialed() {
        let list = "/v1/session/list";
        for (origin, base, expected) in [
            ("http://h:8500", "http://h:8500", true),
            ("http://h:8500", "http://H:8500", true),
            ("http://h:8500", "https://h:8500", false),
            ("http://h:8500", "http://h:8501", false),
            ("http://h:8500", "http://h", false),
            ("http://h:80", "http://h", true),
            ("https://h:443", "https://h", true),
            ("http://h:*", "http://h:1", true),
            ("http://h:8500", "http://h.evil:8500", false),
            ("http://h:8500", "http://h:8500@evil:8500", false),
            ("http://h:8500", "http://x@h:8500", false),
            ("http://*.d.example:1", "http://a.b.d.example:1", true),
            ("http://*.d.example:1", "http://d.example:1", false),
            ("http://*.d.example:1", "http://evild.example:1", false),
            ("http://10.0.0.0/8:1", "http://10.255.0.1:1", true),
            ("http://10.0.0.0/8:1", "http://11.0.0.1:1", false),
            ("http://10.0.0.0/8:1", "http://10.evil.example:1", false),
            ("http://127.0.0.1:1", "http://[::ffff:127.0.0.1]:1", true),
            ("http://[::1]:1", "http://[::1]:1", true),
            ("http://127.0.0.1:1", "http://localhost:1", false),
        ] {
            assert_eq!(
                allows(origin, &format!("{base}{list}")),
                expected,
                "{origin} {base}"
            );
        }
    }

    #[test]
    fn allows_only_the_given_operations() {
        let policy = Policy::deny_all().allow("http://h:1").unwrap();
        let read_only = policy.clone().only([Operation::Read]);
        let list = "http://h:1/v1/session/list".parse().unwrap();
        let create = "http://h:1/v1/session/create".parse().unwrap();
        assert!(policy.check(&Method::PUT, &create, None).is_ok());
        assert!(read_only.check(&Method::GET, &list, None).is_ok());
        let denied = read_only.check(&Method::PUT, &create, None).unwrap_err();
        assert_eq!(
            denied,
            "the operation `create` is not allowed; allowed: read"
        );
    }

    #[test]
    fn allowing_a_name_does_not_allow_every_address() {
        let policy = Policy::deny_all();
        for address in [
            "169.254.169.254",
            "0.0.0.0",
            "fe80::1",
            "::",
            "::ffff:169.254.1.1",
            "224.0.0.1",
        ] {
            assert!(
                policy
                    .check_address("innocent.example", address.parse().unwrap())
                    .is_err(),
                "{address}"
            );
        }
        let policy = policy
            .allow("http://localhost:1")
            .unwrap()
            .allow("http://*.example:1")
            .unwrap()
            .allow_addresses("172.16.0.0/12")
            .unwrap();
        assert!(Policy::deny_all().allow_addresses("10.0.0.0/99").is_err());
        for (host, address, expected) in [
            ("localhost", "127.0.0.1", true),
            ("LOCALHOST", "::1", true),
            ("a.example", "127.0.0.1", false),
            ("a.example", "::ffff:127.0.0.1", false),
            ("a.example", "93.184.216.34", true),
            ("a.example", "10.0.0.1", false),
            ("a.example", "172.16.5.4", true),
            ("localhost", "10.0.0.1", true),
            ("a.example", "100.100.100.200", false),
            ("a.example", "fd00:ec2::254", false),
        ] {
            assert_eq!(
                policy.check_address(host, address.parse().unwrap()).is_ok(),
                expected,
                "{host} {address}"
            );
        }
        assert!(
            policy
                .check_address("169.254.1.1", "169.254.1.1".parse().unwrap())
                .is_ok()
        );
    }
}
