//! What a component may reach. Nothing, unless allowed: a policy is a list of origins, looked at for every request with
//! the URI that will really be dialled, and again for every address that a name resolves to.

use http::{Method, Uri};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The paths that sessions need. A component that is handed a token shall not use it for anything else.
const SESSION_PATHS: &str = "/v1/session/";

/// The rules for a tenant's requests.
#[derive(Clone, Debug)]
pub struct Policy {
    origins: Vec<Origin>,
    paths: Vec<String>,
}

impl Policy {
    /// Allows nothing.
    pub fn deny_all() -> Policy {
        Policy {
            origins: Vec::new(),
            paths: vec![SESSION_PATHS.to_owned()],
        }
    }

    /// Allows an origin: `https://consul.example:8501`, `http://*.consul.example:8500` (any name below, not the domain
    /// itself), `http://10.0.0.0/8:8500`, or with `*` for any port.
    pub fn allow(mut self, origin: &str) -> crate::Result<Policy> {
        self.origins.push(origin.parse()?);
        Ok(self)
    }

    /// Allows paths that begin like this, besides those of the session API. `/v1/kv/locks/` opens a part of the
    /// key-value store.
    pub fn allow_path(mut self, prefix: &str) -> crate::Result<Policy> {
        if !prefix.starts_with("/v1/") {
            return Err(refusal(
                "path",
                "an allowed path must begin with /v1/, for instance /v1/kv/locks/",
            ));
        }
        self.paths.push(prefix.to_owned());
        Ok(self)
    }

    /// Decides on a request; the error says why not.
    pub(crate) fn check(&self, method: &Method, uri: &Uri) -> Result<(), String> {
        if !matches!(*method, Method::GET | Method::PUT) {
            return Err(format!("the method {method} is not allowed"));
        }
        if !self.origins.iter().any(|origin| origin.matches(uri)) {
            let list: Vec<String> = self.origins.iter().map(Origin::to_string).collect();
            let list = if list.is_empty() {
                "none".to_owned()
            } else {
                list.join(", ")
            };
            return Err(format!(
                "{} is not an allowed origin; allowed: {list}",
                origin_of(uri)
            ));
        }
        if uri.query().is_some_and(names_a_token) {
            return Err(
                "the query holds a token, which would count instead of the host's".to_owned(),
            );
        }
        let path = uri.path();
        if !plain(path)
            || !self
                .paths
                .iter()
                .any(|prefix| path.starts_with(prefix.as_str()))
        {
            return Err(format!(
                "the path {path} is not allowed; allowed: {}",
                self.paths.join(", ")
            ));
        }
        Ok(())
    }

    /// Decides on an address that a name resolved to. A name in the list is no leave to reach what only this machine
    /// can: most metadata services of clouds live on link-local addresses. The others, and this machine's loopback, are
    /// reached by a name that the list holds as a whole, not by one that fits a pattern: whoever owns a domain can point
    /// a name in it anywhere.
    pub(crate) fn check_address(&self, host: &str, address: IpAddr) -> Result<(), String> {
        if host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok()
        {
            return Ok(());
        }
        let address = address.to_canonical();
        let special = match address {
            IpAddr::V4(v4) => {
                v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
            }
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()
            }
        };
        let named = || {
            self.origins
                .iter()
                .any(|origin| matches!(&origin.host, Host::Name(name) if name.eq_ignore_ascii_case(host)))
        };
        if special || is_local(address) && !named() {
            return Err(format!(
                "{host} resolves to {address}, which a name may not stand for"
            ));
        }
        Ok(())
    }
}

/// This machine, or what clouds answer their machines at.
fn is_local(address: IpAddr) -> bool {
    const METADATA: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    ];
    address.is_loopback() || METADATA.contains(&address)
}

/// An origin as it stands in an error.
pub(crate) fn origin_of(uri: &Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or_default(),
        host_and_port(uri)
    )
}

/// The host and port that a URI leads to, without credentials.
fn host_and_port(uri: &Uri) -> String {
    format!("{}:{}", uri.host().unwrap_or_default(), port(uri))
}

/// The port of a URI, with the scheme's own where it is left out.
pub(crate) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    })
}

/// Whether a query holds a token: Consul takes it from there before it looks at the header. Any encoding of the name counts,
/// and `;` also separates.
fn names_a_token(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let mut decoded = Vec::new();
        let mut rest = name.as_bytes();
        while let [first, after @ ..] = rest {
            let encoded = after.get(..2).filter(|_| *first == b'%');
            let byte = encoded
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            decoded.push(byte.unwrap_or(*first));
            rest = if byte.is_some() { &after[2..] } else { after };
        }
        decoded.eq_ignore_ascii_case(b"token")
    })
}

/// Whether a path is one that every server reads alike: no empty or dot segments, encoded or not.
fn plain(path: &str) -> bool {
    let decoded = path
        .replace("%2e", ".")
        .replace("%2E", ".")
        .replace("%2f", "/")
        .replace("%2F", "/");
    path.starts_with('/')
        && !decoded.contains('\\')
        && !decoded.contains("%5c")
        && !decoded.contains("%5C")
        && decoded
            .split('/')
            .skip(1)
            .all(|segment| !matches!(segment, "" | "." | ".."))
}

/// One allowed origin.
#[derive(Clone, Debug, PartialEq)]
struct Origin {
    tls: bool,
    host: Host,
    /// None: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
enum Host {
    Name(String),
    /// The domain with its leading dot.
    Below(String),
    Net(IpNet),
}

impl Origin {
    fn matches(&self, uri: &Uri) -> bool {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return false,
        };
        // The authority could smuggle credentials along: a URI that holds any is none that was allowed.
        let Some(authority) = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'))
        else {
            return false;
        };
        let host = authority.host().to_ascii_lowercase();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok();
        let host_fits = match (&self.host, address) {
            (Host::Name(name), None) => *name == host,
            (Host::Below(domain), None) => host.len() > domain.len() && host.ends_with(domain),
            (Host::Net(net), Some(address)) => net.contains(&address.to_canonical()),
            _ => false,
        };
        tls == self.tls && host_fits && self.port.is_none_or(|allowed| allowed == port(uri))
    }
}

impl FromStr for Origin {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Origin, crate::Error> {
        let wrong = |why: &str| {
            refusal(
                "origin",
                &format!(
                    "`{text}` is not an origin: {why}. Write http://host:port or https://host:port; the host may be *.domain or a network like 10.0.0.0/8, the port *"
                ),
            )
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("the scheme is neither http nor https")),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => return Err(wrong("it has no port")),
        };
        let port = match port {
            "*" => None,
            port => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(wrong("the port is not 1 to 65535")),
            },
        };
        let host = host.to_ascii_lowercase();
        let bare = host.replace(['[', ']'], "");
        let name = |name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !name.is_empty() && name.chars().all(fits)
        };
        let host = if let Ok(address) = bare.parse::<IpAddr>() {
            Host::Net(IpNet::from(address.to_canonical()))
        } else if let Ok(net) = bare.parse::<IpNet>() {
            Host::Net(net.trunc())
        } else if let Some(domain) = host.strip_prefix('*') {
            if !domain.starts_with('.') || !name(&domain[1..]) {
                return Err(wrong("a * must stand for everything before a dot"));
            }
            Host::Below(domain.to_owned())
        } else if name(&host) {
            Host::Name(host)
        } else {
            return Err(wrong("the host is not a name or an address"));
        };
        Ok(Origin { tls, host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", if self.tls { "https" } else { "http" })?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Below(domain) => write!(f, "*{domain}")?,
            Host::Net(net) if net.prefix_len() == net.max_prefix_len() => match net.addr() {
                IpAddr::V4(address) => write!(f, "{address}")?,
                IpAddr::V6(address) => write!(f, "[{address}]")?,
            },
            Host::Net(net) => write!(f, "{net}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

fn refusal(parameter: &str, message: &str) -> crate::Error {
    crate::Error::invalid(parameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(origin: &str, uri: &str) -> bool {
        let policy = Policy::deny_all().allow(origin).unwrap();
        policy.check(&Method::GET, &uri.parse().unwrap()).is_ok()
    }

    #[test]
    fn denies_by_default() {
        let uri = "http://localhost:8500/v1/session/list".parse().unwrap();
        let error = Policy::deny_all().check(&Method::GET, &uri).unwrap_err();
        assert!(
            error.contains("http://localhost:8500") && error.contains("none"),
            "{error}"
        );
    }

    #[test]
    fn matches_the_origin_that_is_dialled() {
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
    fn keeps_to_the_session_api() {
        for (path, expected) in [
            ("/v1/session/list", true),
            ("/v1/session/node/a%2Fb?dc=x", true),
            ("/v1/session/list?x=../..", true),
            ("/v1/session/list?x=token", true),
            ("/v1/session/list?dc=x&token=y", false),
            ("/v1/session/list?%74oke%6e=y", false),
            ("/v1/session/list?a;token", false),
            ("/v1/session/list?%7&%", true),
            ("/v1/agent/self", false),
            ("/v1/acl/tokens", false),
            ("/v1/session", false),
            ("/v1/session/../agent/self", false),
            ("/v1/session/%2e%2E/agent/self", false),
            ("/v1/session/..%2fagent/self", false),
            ("/v1/session//info", false),
            ("/v1/session/..\\x", false),
        ] {
            let Ok(uri) = format!("http://h:1{path}").parse::<Uri>() else {
                continue;
            };
            let policy = Policy::deny_all().allow("http://h:1").unwrap();
            assert_eq!(policy.check(&Method::GET, &uri).is_ok(), expected, "{path}");
            assert!(policy.check(&Method::DELETE, &uri).is_err());
        }
        let kv = Policy::deny_all()
            .allow("http://h:1")
            .unwrap()
            .allow_path("/v1/kv/locks/")
            .unwrap();
        assert!(
            kv.check(&Method::PUT, &"http://h:1/v1/kv/locks/a".parse().unwrap())
                .is_ok()
        );
        assert!(
            kv.check(&Method::PUT, &"http://h:1/v1/kv/other".parse().unwrap())
                .is_err()
        );
    }

    #[test]
    fn a_name_is_no_leave_to_reach_this_machines_neighbours() {
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
            .unwrap();
        for (host, address, expected) in [
            ("localhost", "127.0.0.1", true),
            ("LOCALHOST", "::1", true),
            ("a.example", "127.0.0.1", false),
            ("a.example", "::ffff:127.0.0.1", false),
            ("a.example", "10.0.0.1", true),
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

    #[test]
    fn refuses_what_is_no_origin() {
        for origin in [
            "h:1",
            "ftp://h:1",
            "http://h",
            "http://h:0",
            "http://h:1/x",
            "http://*:1",
            "http://*x:1",
            "http://:1",
            "http://u@h:1",
        ] {
            let error = Policy::deny_all().allow(origin).unwrap_err();
            assert!(
                error.message().contains("Write http://host:port"),
                "{origin}"
            );
        }
    }
}
