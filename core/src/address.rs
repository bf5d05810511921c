//! The address of a Consul agent.

use crate::error::{Error, Result};
use std::fmt;
use std::net::Ipv6Addr;

/// The documented defaults of `host` and `port`.
pub(crate) const DEFAULT_HOST: &str = "localhost";
pub(crate) const DEFAULT_PORT: u16 = 8500;

/// The scheme of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port of a URL that names none.
    pub(crate) fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    pub(crate) fn parse(parameter: &str, text: &str) -> Result<Scheme> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Scheme::Http),
            "https" => Ok(Scheme::Https),
            "unix" => Err(Error::invalid(
                parameter,
                format!(
                    "`{parameter}` names a Unix socket, which sandboxed HTTP cannot reach; use http://host:port or https://host:port"
                ),
            )),
            // The message does not repeat the text: credentials may come before `://`.
            _ => Err(Error::invalid(
                parameter,
                format!("the scheme in `{parameter}` must be http or https"),
            )),
        }
    }
}

/// The setting that an address comes from, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The parameter `url`, or an address passed by the caller.
    Given,
    /// The parameters `host`, `port` and `scheme`.
    Parts,
    /// The variable `CONSUL_HTTP_ADDR`.
    Environment,
    /// Nothing was set.
    Default,
}

impl Source {
    /// Describes where an address came from if the caller did not give a URL.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Source::Given => None,
            Source::Parts => Some("address taken from `host`, `port` and `scheme`"),
            Source::Environment => Some("address taken from CONSUL_HTTP_ADDR"),
            Source::Default => {
                Some("default address: no `url`, `host`, `port` or CONSUL_HTTP_ADDR is set")
            }
        }
    }
}

/// The address of a Consul agent: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The scheme.
    pub scheme: Scheme,
    /// A host name, an IPv4 address, or an IPv6 address in brackets; in lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The setting it comes from.
    pub source: Source,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl Address {
    /// Parses `http://host:port`, `https://host:port`, or `host:port` for plain HTTP. The port defaults to 8500.
    ///
    /// `parameter` is the name that error messages use.
    pub fn parse(parameter: &str, text: &str) -> Result<Address> {
        let url = Url::parse(parameter, text)?;
        Ok(Address {
            scheme: url.scheme.unwrap_or(Scheme::Http),
            port: url.port.unwrap_or(DEFAULT_PORT),
            host: url.host,
            source: Source::Given,
        })
    }

    /// `host:port`, as written in a URL.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The parts of a URL, each of which a more explicit parameter may override.
pub(crate) struct Url {
    pub(crate) scheme: Option<Scheme>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl From<Address> for Url {
    fn from(address: Address) -> Url {
        Url {
            scheme: Some(address.scheme),
            host: address.host,
            port: Some(address.port),
        }
    }
}

impl Url {
    pub(crate) fn parse(parameter: &str, text: &str) -> Result<Url> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(Scheme::parse(parameter, scheme)?), rest),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The message does not repeat the text, which may contain credentials.
        let refuse = |what: &str| {
            Err(Error::invalid(
                parameter,
                format!(
                    "`{parameter}` must be http://host:port or https://host:port and nothing more, but it {what}"
                ),
            ))
        };
        if rest.contains('@') {
            return refuse("contains credentials");
        }
        if rest.contains('?') || rest.contains('#') {
            return refuse("contains a query or a fragment");
        }
        if rest.contains('/') {
            return refuse("contains a path");
        }
        if rest.matches(':').count() > 1 && !rest.starts_with('[') {
            return refuse("contains two ports, or an IPv6 address without brackets");
        }
        let (name, port) = match rest.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (rest, None),
        };
        let port = match port {
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return refuse("has no valid port (1 to 65535)"),
            },
            None => None,
        };
        Ok(Url {
            scheme,
            host: parse_host(parameter, name)?,
            port,
        })
    }
}

/// Parses a host name or IP address and returns it as written in a URL.
pub(crate) fn parse_host(parameter: &str, text: &str) -> Result<String> {
    let text = text.trim();
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let bare = bracketed.unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{}]", bare.to_ascii_lowercase()));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || text.len() > 253 || !text.chars().all(valid) {
        return Err(Error::invalid(
            parameter,
            format!(
                "`{parameter}` has no valid host; write a name or an IP address without scheme, port or path"
            ),
        ));
    }
    Ok(text.to_ascii_lowercase())
}
