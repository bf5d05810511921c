//! Origins: scheme, host and port.

use super::addresses;
use crate::error::{Error, Result};
use http::Uri;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A URI's origin, as shown in errors.
pub(crate) fn origin_of(uri: &Uri) -> String {
    format!(
        "{}://{}:{}",
        uri.scheme_str().unwrap_or_default(),
        uri.host().unwrap_or_default(),
        port_of(uri)
    )
}

/// A URI's port, or its scheme's default.
pub(crate) fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    })
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn host_of(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// An allowed origin, parsed once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    tls: bool,
    pub(super) host: Host,
    /// The port, or none for any.
    port: Option<u16>,
}

/// The host of an allowed origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Host {
    /// A name, in lower case.
    Name(String),
    /// Any name below a domain, which is stored with its leading dot.
    Below(String),
    /// A network, or a single address.
    Net(IpNet),
}

impl Origin {
    /// Whether a URI has this origin.
    pub(super) fn matches(&self, uri: &Uri) -> bool {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return false,
        };
        // A URI with credentials does not match any origin.
        let Some(authority) = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'))
        else {
            return false;
        };
        let host = authority.host().to_ascii_lowercase();
        let address = host_of(&host).parse::<IpAddr>().ok();
        let host_matches = match (&self.host, address) {
            (Host::Name(name), None) => *name == host,
            (Host::Below(domain), None) => host.len() > domain.len() && host.ends_with(domain),
            (Host::Net(net), Some(address)) => net.contains(&address.to_canonical()),
            _ => false,
        };
        tls == self.tls && host_matches && self.port.is_none_or(|allowed| allowed == port_of(uri))
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Origin> {
        let wrong = |why: &str| {
            Error::invalid(
                "origin",
                format!(
                    "`{text}` is not an origin: {why}; write http://host:port or https://host:port, where the host may be *.domain or a network like 10.0.0.0/8, and the port may be *"
                ),
            )
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => return Err(wrong("it has no port")),
        };
        let port = match port {
            "*" => None,
            port => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(wrong("its port is not 1 to 65535")),
            },
        };
        let host = host.to_ascii_lowercase();
        let name = |name: &str| {
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !name.is_empty() && name.chars().all(valid)
        };
        let host = if let Some(net) = addresses::parse(&host) {
            Host::Net(net)
        } else if let Some(domain) = host.strip_prefix('*') {
            if !domain.starts_with('.') || !name(&domain[1..]) {
                return Err(wrong("a * must be followed by a dot and a domain"));
            }
            Host::Below(domain.to_owned())
        } else if name(&host) {
            Host::Name(host)
        } else {
            return Err(wrong("its host is neither a name nor an address"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_malformed_origins() {
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
            let error = origin.parse::<Origin>().unwrap_err();
            assert!(
                error.message().contains("write http://host:port"),
                "{origin}"
            );
        }
    }
}
