//! Where Consul is and with what a call may present itself: the connection parameters of the action door and the
//! `CONSUL_*` variables, resolved by one rule. The host uses this too, to take the settings that are its own (trust,
//! token) off a call before the call reaches the component.

use crate::error::{Fault, invalid};
use crate::values::{Parameters, boolean};
use serde_json::{Map, Value};
use std::fmt;

/// The documented defaults of `host` and `port`.
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 8500;

/// The scheme of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL means if it names none.
    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    fn parse(parameter: &str, text: &str) -> Result<Scheme, Fault> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Scheme::Http),
            "https" => Ok(Scheme::Https),
            "unix" => Err(invalid(
                parameter,
                format!(
                    "`{parameter}` names a Unix socket, which HTTP in a sandbox cannot reach; give http://host:port or https://host:port"
                ),
            )),
            // Not repeated: what stands before `://` may hold credentials.
            _ => Err(invalid(
                parameter,
                format!("the scheme in `{parameter}` must be http or https"),
            )),
        }
    }
}

/// Which setting decided on the host of an address, for messages about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The parameter `url`, or the address given by the caller of the typed interface.
    Url,
    /// The parameters `host`, `port` and `scheme`.
    Host,
    /// The variable `CONSUL_HTTP_ADDR`.
    Environment,
    /// Nothing was set.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Url => "the one given",
            Source::Host => "from `host`, `port` and `scheme`",
            Source::Environment => "from CONSUL_HTTP_ADDR",
            Source::Default => {
                "the default, as no `url`, `host`, `port` or CONSUL_HTTP_ADDR is set"
            }
        })
    }
}

/// The address of a Consul agent: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// http or https.
    pub scheme: Scheme,
    /// A host name, an IPv4 address, or an IPv6 address in brackets; in lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where it comes from.
    pub source: Source,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl Address {
    /// Reads `http(s)://host:port`, or `host:port` for plain HTTP; the port may be left out. `parameter` is the name used in messages.
    pub fn parse(parameter: &str, text: &str) -> Result<Address, Fault> {
        let url = Url::parse(parameter, text)?;
        Ok(Address {
            scheme: url.scheme.unwrap_or(Scheme::Http),
            port: url.port.unwrap_or(DEFAULT_PORT),
            host: url.host,
            source: Source::Url,
        })
    }

    /// `host:port`, as it stands in a URL.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn resolve(
        parameters: &mut Parameters<'_>,
        environment: Environment<'_>,
    ) -> Result<Address, Fault> {
        let url = parameters.filled_text("url")?;
        let host = match parameters.filled_text("host")? {
            Some(text) => Some(host("host", &text)?),
            None => None,
        };
        let port = match parameters.integer("port")? {
            Some(number) => Some(
                u16::try_from(number)
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| {
                        invalid("port", format!("`port` must be 1 to 65535, not {number}"))
                    })?,
            ),
            None => None,
        };
        let scheme = match parameters.filled_text("scheme")? {
            Some(text) => Some(Scheme::parse("scheme", &text)?),
            None => environment
                .boolean("CONSUL_HTTP_SSL")?
                .unwrap_or(false)
                .then_some(Scheme::Https),
        };
        // What is not asked for part by part.
        let open = host.is_none() || port.is_none() || scheme.is_none();
        let url = match url {
            Some(text) => Some((Url::parse("url", &text)?, Source::Url)),
            None => match environment.get("CONSUL_HTTP_ADDR").filter(|_| open) {
                Some(text) => Some((Url::parse("CONSUL_HTTP_ADDR", &text)?, Source::Environment)),
                None => None,
            },
        };
        let source = match &url {
            Some((_, Source::Url)) if host.is_none() => Source::Url,
            _ if host.is_some() || port.is_some() => Source::Host,
            Some((_, source)) => *source,
            None => Source::Default,
        };
        // Consul's own tools dial the scheme's port if the variable names none.
        let ambient = matches!(url, Some((_, Source::Environment)));
        let url = url.map(|(url, _)| url);
        let scheme = scheme
            .or(url.as_ref().and_then(|url| url.scheme))
            .unwrap_or(Scheme::Http);
        Ok(Address {
            scheme,
            port: port
                .or(url.as_ref().and_then(|url| url.port))
                .or(ambient.then(|| scheme.port()))
                .unwrap_or(DEFAULT_PORT),
            host: host
                .or(url.map(|url| url.host))
                .unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            source,
        })
    }
}

/// The parts of a `url`, each of which a more explicit parameter may override.
struct Url {
    scheme: Option<Scheme>,
    host: String,
    port: Option<u16>,
}

impl Url {
    fn parse(parameter: &str, text: &str) -> Result<Url, Fault> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(Scheme::parse(parameter, scheme)?), rest),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let refuse = |what: &str| {
            // The text is not repeated: it may hold credentials.
            Err(invalid(
                parameter,
                format!(
                    "`{parameter}` must be http://host:port or https://host:port and nothing more: it {what}"
                ),
            ))
        };
        if rest.contains('@') {
            return refuse("holds credentials");
        }
        if rest.contains('?') || rest.contains('#') {
            return refuse("holds a query or a fragment");
        }
        if rest.contains('/') {
            return refuse("holds a path");
        }
        if rest.matches(':').count() > 1 && !rest.starts_with('[') {
            return refuse("holds an IPv6 address without [] around it, or two ports");
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
            host: host(parameter, name)?,
            port,
        })
    }
}

/// A host name or IP address in the form it has in a URL.
fn host(parameter: &str, text: &str) -> Result<String, Fault> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    // Not read by the library, which was 6 KB of the component: a name and a port hold one colon, such an address more.
    if bare.matches(':').count() > 1 && is_ipv6(bare) {
        return Ok(format!("[{}]", bare.to_ascii_lowercase()));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || text.len() > 253 || !text.chars().all(fits) {
        return Err(invalid(
            parameter,
            format!(
                "`{parameter}` has no valid host: a name or an IP address is needed, without scheme, port or path"
            ),
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn is_ipv6(text: &str) -> bool {
    let (groups, ipv4) = match text.rsplit_once(':') {
        Some((groups, last)) if last.contains('.') => (groups, Some(last)),
        _ => (text, None),
    };
    let is_ipv4 = |text: &str| {
        text.split('.').count() == 4 && text.split('.').all(|part| part.parse::<u8>().is_ok())
    };
    let fits = |group: &str| group.len() <= 4 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let filled = groups.split(':').filter(|group| !group.is_empty()).count()
        + 2 * usize::from(ipv4.is_some());
    let whole = if text.contains("::") {
        text.matches("::").count() == 1 && !text.contains(":::") && filled < 8
    } else {
        filled == 8
    };
    whole
        && groups.split(':').all(fits)
        && ipv4.is_none_or(is_ipv4)
        && (!text.starts_with(':') || text.starts_with("::"))
        && (!text.ends_with(':') || text.ends_with("::"))
}

/// The variables that a call may take settings from. A plugin has none.
#[derive(Clone, Copy)]
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// The environment in which nothing is set.
    pub const EMPTY: Environment<'static> = Environment(&|_| None);

    /// A variable; empty counts as not set.
    pub fn get(self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// A boolean variable.
    pub fn boolean(self, name: &str) -> Result<Option<bool>, Fault> {
        self.get(name).map(|said| boolean(name, &said)).transpose()
    }
}

/// The connection settings of one call.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Where Consul is.
    pub address: Address,
    /// The ACL token.
    pub token: Option<String>,
    /// Whether the server's certificate is verified.
    pub validate_certs: Option<bool>,
    /// A file with the certificates to trust.
    pub ca_path: Option<String>,
    /// A file with the client's certificate.
    pub client_cert: Option<String>,
    /// A file with the key of the client's certificate.
    pub client_key: Option<String>,
    /// How long the call may take, in nanoseconds.
    pub timeout: Option<u64>,
}

impl Settings {
    /// The parameters that are settings of the connection.
    pub const PARAMETERS: [&'static str; 10] = [
        "host",
        "port",
        "scheme",
        "url",
        "validate_certs",
        "ca_path",
        "client_cert",
        "client_key",
        "token",
        "timeout",
    ];

    /// Whether parameters say something about one of them. The empty text does not: it is what a template leaves that had
    /// nothing to fill in.
    pub fn given(parameters: &Map<String, Value>, name: &str) -> bool {
        parameters
            .get(name)
            .is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// Takes the connection settings off the parameters of a call, explicit ones before `url`, and that before the
    /// environment.
    pub fn take(
        parameters: &mut Map<String, Value>,
        environment: Environment<'_>,
    ) -> Result<Settings, Fault> {
        let mut parameters = Parameters(parameters);
        let mut text = |parameter: &str, variable: &str| -> Result<Option<String>, Fault> {
            Ok(parameters
                .filled_text(parameter)?
                .or_else(|| environment.get(variable)))
        };
        let token = text("token", "CONSUL_HTTP_TOKEN")?;
        let ca_path = text("ca_path", "CONSUL_CACERT")?;
        let client_cert = text("client_cert", "CONSUL_CLIENT_CERT")?;
        let client_key = text("client_key", "CONSUL_CLIENT_KEY")?;
        if let Some(token) = &token {
            check_token(token)?;
        }
        let validate_certs = match parameters.boolean("validate_certs")? {
            Some(given) => Some(given),
            None => environment.boolean("CONSUL_HTTP_SSL_VERIFY")?,
        };
        let timeout = parameters.duration("timeout")?;
        if timeout == Some(0) {
            return Err(invalid("timeout", "`timeout` must be more than 0"));
        }
        Ok(Settings {
            address: Address::resolve(&mut parameters, environment)?,
            token,
            validate_certs,
            ca_path,
            client_cert,
            client_key,
            timeout,
        })
    }
}

/// A token travels as a header: anything but visible ASCII in it is a mistake, most often a line break from a file.
pub fn check_token(token: &str) -> Result<(), Fault> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(invalid(
        "token",
        "`token` holds a line break, a space or another character that no token has; was it read from a file with its line end?",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ErrorKind;
    use serde_json::json;

    fn settings(parameters: Value, environment: &[(&str, &str)]) -> Result<Settings, Fault> {
        let Value::Object(mut map) = parameters else {
            panic!("not an object")
        };
        let settings = Settings::take(
            &mut map,
            Environment(&|name| {
                environment
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            }),
        );
        if settings.is_ok() {
            assert!(map.is_empty(), "left over: {map:?}");
        }
        settings
    }

    #[track_caller]
    fn address(parameters: Value, environment: &[(&str, &str)], expected: &str, source: Source) {
        let address = settings(parameters, environment).unwrap().address;
        assert_eq!(
            (address.to_string().as_str(), address.source),
            (expected, source)
        );
    }

    #[test]
    fn explicit_wins_over_url_and_that_over_the_environment() {
        let addr = ("CONSUL_HTTP_ADDR", "https://env:1");
        address(json!({}), &[], "http://localhost:8500", Source::Default);
        address(json!({}), &[addr], "https://env:1", Source::Environment);
        address(
            json!({"url": "url:2"}),
            &[addr],
            "http://url:2",
            Source::Url,
        );
        address(
            json!({"url": "https://url"}),
            &[],
            "https://url:8500",
            Source::Url,
        );
        for (variable, expected) in [
            ("https://env", "https://env:443"),
            ("http://env", "http://env:80"),
            ("env", "http://env:80"),
        ] {
            address(
                json!({}),
                &[("CONSUL_HTTP_ADDR", variable)],
                expected,
                Source::Environment,
            );
        }
        // What decides nothing is not read.
        address(
            json!({"host": "h", "port": 1, "scheme": "http"}),
            &[
                ("CONSUL_HTTP_ADDR", "unix:///run/x"),
                ("CONSUL_HTTP_SSL", "perhaps"),
            ],
            "http://h:1",
            Source::Host,
        );
        address(json!({"port": 2}), &[addr], "https://env:2", Source::Host);
        address(json!({"url": "url"}), &[], "http://url:8500", Source::Url);
        address(
            json!({"url": "https://url:2/", "port": 3}),
            &[addr],
            "https://url:3",
            Source::Url,
        );
        address(
            json!({"host": "H", "scheme": "HTTP"}),
            &[addr],
            "http://h:1",
            Source::Host,
        );
        address(
            json!({"port": "9"}),
            &[],
            "http://localhost:9",
            Source::Host,
        );
        address(
            json!({"host": "::1"}),
            &[],
            "http://[::1]:8500",
            Source::Host,
        );
        address(
            json!({"url": "http://[::1]:77"}),
            &[],
            "http://[::1]:77",
            Source::Url,
        );
        address(
            json!({"url": "", "host": null}),
            &[("CONSUL_HTTP_ADDR", "")],
            "http://localhost:8500",
            Source::Default,
        );
        let ssl = ("CONSUL_HTTP_SSL", "true");
        address(json!({}), &[ssl], "https://localhost:8500", Source::Default);
        address(
            json!({"scheme": "http"}),
            &[ssl],
            "http://localhost:8500",
            Source::Default,
        );
        address(
            json!({"url": "http://u:1"}),
            &[ssl],
            "https://u:1",
            Source::Url,
        );
        address(
            json!({"scheme": "https"}),
            &[("CONSUL_HTTP_SSL", "0")],
            "https://localhost:8500",
            Source::Default,
        );
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        for (parameters, parameter) in [
            (json!({"url": "http://user:pw@h:1"}), "url"),
            (json!({"url": "http://h:1/v1"}), "url"),
            (json!({"url": "http://h:1?x=y"}), "url"),
            (json!({"url": "unix:///run/consul.sock"}), "url"),
            (json!({"url": "ftp://h"}), "url"),
            (json!({"url": "http://[::::]:1"}), "url"),
            (json!({"url": "http://[1::2::3]:1"}), "url"),
            (json!({"host": "1:2:3"}), "host"),
            (json!({"url": "http://:1"}), "url"),
            (json!({"url": "http://h:99999"}), "url"),
            (json!({"host": "http://h"}), "host"),
            (json!({"host": "a b"}), "host"),
            (json!({"host": "h/../x"}), "host"),
            (json!({"port": 0}), "port"),
            (json!({"port": 99999}), "port"),
            (json!({"port": "http"}), "port"),
            (json!({"scheme": "gopher"}), "scheme"),
            (json!({"timeout": 0}), "timeout"),
            (json!({"token": "abc\n"}), "token"),
            (json!({"validate_certs": "maybe"}), "validate_certs"),
        ] {
            match settings(parameters.clone(), &[]) {
                Err(error) => assert_eq!(
                    error.kind,
                    ErrorKind::Invalid(parameter.into()),
                    "{parameters}"
                ),
                Ok(_) => panic!("{parameters}"),
            }
        }
        assert!(settings(json!({}), &[("CONSUL_HTTP_SSL", "perhaps")]).is_err());
        for secret in ["http://u:s3cret@h", "u:s3cret@h://x", "u:s3cret@h"] {
            assert!(
                settings(json!({}), &[("CONSUL_HTTP_ADDR", secret)])
                    .is_err_and(|error| !error.message.contains("s3cret"))
            );
        }
    }

    #[test]
    fn reads_ipv6_addresses_as_the_library_does() {
        for text in [
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "fe80::1:2",
            "::ffff:1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
            "64:ff9b::1.2.3.4",
            ":::",
            "::::",
            "1::2::3",
            "1:2:3",
            "1:2:3:4:5:6:7",
            ":1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:8::",
            "12345::",
            "g::",
            "::1.2.3",
            "::1.2.3.256",
            "1.2.3.4::",
            "::1.2.3.4:5",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1:",
            ":1",
            "::1:",
            ":1::",
        ] {
            assert_eq!(
                is_ipv6(text),
                text.parse::<std::net::Ipv6Addr>().is_ok(),
                "{text}"
            );
        }
    }
}
