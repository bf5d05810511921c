//! Connection settings, resolved by one rule: parameters win over the options of the caller, and those win over the
//! environment. Explicit `host`, `port` and `scheme` win over a URL, wherever it comes from.

use crate::address::{Address, DEFAULT_HOST, DEFAULT_PORT, Scheme, Source, Url, parse_host};
use crate::error::{Error, Result};
use crate::parameters::{Parameters, parse_boolean};
use serde_json::{Map, Value};
use std::time::Duration;

/// The variables that a call may take settings from. A plugin has none.
#[derive(Clone, Copy)]
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// An environment in which nothing is set.
    pub const EMPTY: Environment<'static> = Environment(&|_| None);

    /// A variable; an empty one counts as not set.
    pub fn get(self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// A boolean variable.
    pub fn boolean(self, name: &str) -> Result<Option<bool>> {
        self.get(name)
            .map(|text| parse_boolean(name, &text))
            .transpose()
    }
}

/// Defaults for connection parameters that are not given, for example from command-line options. A plugin has none.
#[derive(Clone, Default)]
pub struct ConnectionOptions {
    /// Where Consul is.
    pub address: Option<Address>,
    /// The ACL token.
    pub token: Option<String>,
    /// Whether to verify the server's certificate.
    pub validate_certs: Option<bool>,
    /// A file with the certificates to trust.
    pub ca_path: Option<String>,
    /// A file with the client's certificate.
    pub client_cert: Option<String>,
    /// A file with the key of the client's certificate.
    pub client_key: Option<String>,
    /// The timeout of the call.
    pub timeout: Option<Duration>,
}

/// The connection settings of one call.
#[derive(Clone, PartialEq)]
pub struct ConnectionSettings {
    /// Where Consul is.
    pub address: Address,
    /// The ACL token.
    pub token: Option<String>,
    /// Whether to verify the server's certificate.
    pub validate_certs: Option<bool>,
    /// A file with the certificates to trust.
    pub ca_path: Option<String>,
    /// A file with the client's certificate.
    pub client_cert: Option<String>,
    /// A file with the key of the client's certificate.
    pub client_key: Option<String>,
    /// The timeout of the call.
    pub timeout: Option<Duration>,
}

impl ConnectionSettings {
    /// The parameters that are connection settings.
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

    /// The parameters that determine the address.
    pub const ADDRESS_PARAMETERS: [&'static str; 4] = ["url", "host", "port", "scheme"];

    /// Whether a parameter is given. The empty string is not: a template may have had nothing to fill in.
    pub fn is_given(parameters: &Map<String, Value>, name: &str) -> bool {
        parameters
            .get(name)
            .is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// Removes the connection settings from the parameters of a call and resolves them.
    pub fn take(
        parameters: &mut Map<String, Value>,
        options: &ConnectionOptions,
        environment: Environment<'_>,
    ) -> Result<ConnectionSettings> {
        let mut parameters = Parameters(parameters);
        let mut string = |parameter: &str, option: &Option<String>, variable: &str| {
            let given = parameters.optional_string(parameter)?;
            let given = given.or_else(|| option.clone());
            Ok::<_, Error>(given.or_else(|| environment.get(variable)))
        };
        let token = string("token", &options.token, "CONSUL_HTTP_TOKEN")?;
        let ca_path = string("ca_path", &options.ca_path, "CONSUL_CACERT")?;
        let client_cert = string("client_cert", &options.client_cert, "CONSUL_CLIENT_CERT")?;
        let client_key = string("client_key", &options.client_key, "CONSUL_CLIENT_KEY")?;
        if let Some(token) = &token {
            check_token(token)?;
        }
        let validate_certs = match parameters.boolean("validate_certs")? {
            Some(given) => Some(given),
            None if options.validate_certs.is_some() => options.validate_certs,
            None => environment.boolean("CONSUL_HTTP_SSL_VERIFY")?,
        };
        let timeout = match parameters.duration("timeout")? {
            Some(0) => return Err(Error::invalid("timeout", "`timeout` must be more than 0")),
            Some(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
            None => options.timeout,
        };
        Ok(ConnectionSettings {
            address: resolve_address(&mut parameters, options, environment)?,
            token,
            validate_certs,
            ca_path,
            client_cert,
            client_key,
            timeout,
        })
    }
}

fn resolve_address(
    parameters: &mut Parameters<'_>,
    options: &ConnectionOptions,
    environment: Environment<'_>,
) -> Result<Address> {
    let url = match parameters.optional_string("url")? {
        Some(text) => Some(Url::parse("url", &text)?),
        None => options.address.clone().map(Url::from),
    };
    let host = match parameters.optional_string("host")? {
        Some(text) => Some(parse_host("host", &text)?),
        None => None,
    };
    let port = match parameters.integer("port")? {
        Some(number) => match u16::try_from(number) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                let message = format!("`port` must be 1 to 65535, not {number}");
                return Err(Error::invalid("port", message));
            }
        },
        None => None,
    };
    let scheme = match parameters.optional_string("scheme")? {
        Some(text) => Some(Scheme::parse("scheme", &text)?),
        None => environment
            .boolean("CONSUL_HTTP_SSL")?
            .unwrap_or(false)
            .then_some(Scheme::Https),
    };
    // Do not parse an unused variable: its value must not cause an error.
    let incomplete = host.is_none() || port.is_none() || scheme.is_none();
    let url = match url {
        Some(url) => Some((url, Source::Given)),
        None => match environment.get("CONSUL_HTTP_ADDR").filter(|_| incomplete) {
            Some(text) => Some((Url::parse("CONSUL_HTTP_ADDR", &text)?, Source::Environment)),
            None => None,
        },
    };
    let source = match &url {
        Some((_, Source::Given)) if host.is_none() => Source::Given,
        _ if host.is_some() || port.is_some() => Source::Parts,
        Some((_, source)) => *source,
        None => Source::Default,
    };
    // If the variable names no port, Consul's own tools use the scheme's.
    let from_environment = matches!(url, Some((_, Source::Environment)));
    let url = url.map(|(url, _)| url);
    let scheme = scheme
        .or(url.as_ref().and_then(|url| url.scheme))
        .unwrap_or(Scheme::Http);
    Ok(Address {
        scheme,
        port: port
            .or(url.as_ref().and_then(|url| url.port))
            .or(from_environment.then(|| scheme.port()))
            .unwrap_or(DEFAULT_PORT),
        host: host
            .or(url.map(|url| url.host))
            .unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        source,
    })
}

/// Checks that a token can be sent as a header. Anything but visible ASCII is a mistake, most often a line break from a
/// file.
pub fn check_token(token: &str) -> Result<()> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::invalid(
        "token",
        "`token` contains a space, a line break or another character that cannot be part of a token; was it read from a file with its line ending?",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use serde_json::json;

    fn settings(parameters: Value, environment: &[(&str, &str)]) -> Result<ConnectionSettings> {
        let Value::Object(mut map) = parameters else {
            panic!("not an object")
        };
        let settings = ConnectionSettings::take(
            &mut map,
            &ConnectionOptions::default(),
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
            Source::Given,
        );
        address(
            json!({"url": "https://url"}),
            &[],
            "https://url:8500",
            Source::Given,
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
            Source::Parts,
        );
        address(json!({"port": 2}), &[addr], "https://env:2", Source::Parts);
        address(json!({"url": "url"}), &[], "http://url:8500", Source::Given);
        address(
            json!({"url": "https://url:2/", "port": 3}),
            &[addr],
            "https://url:3",
            Source::Given,
        );
        address(
            json!({"host": "H", "scheme": "HTTP"}),
            &[addr],
            "http://h:1",
            Source::Parts,
        );
        address(
            json!({"port": "9"}),
            &[],
            "http://localhost:9",
            Source::Parts,
        );
        address(
            json!({"host": "::1"}),
            &[],
            "http://[::1]:8500",
            Source::Parts,
        );
        address(
            json!({"url": "http://[::1]:77"}),
            &[],
            "http://[::1]:77",
            Source::Given,
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
            Source::Given,
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
                    *error.kind(),
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
                    .is_err_and(|error| !error.message().contains("s3cret"))
            );
        }
    }
}
