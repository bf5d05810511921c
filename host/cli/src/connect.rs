//! From options, parameters and `CONSUL_*` variables to a client. Parameters win over options, and options over variables.

use crate::args::ConnectionArgs;
use consul_session::{Client, Error, ErrorKind, Policy, Runtime, Token, Trust};
use consul_session_core::redact::Redactor;
use consul_session_core::settings::{ConnectionOptions, ConnectionSettings, Environment};
use consul_session_dev_agent::DevAgent;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variables that are read.
const VARIABLES: [&str; 11] = [
    "CONSUL_HTTP_ADDR",
    "CONSUL_HTTP_TOKEN",
    "CONSUL_HTTP_TOKEN_FILE",
    "CONSUL_HTTP_SSL",
    "CONSUL_HTTP_SSL_VERIFY",
    "CONSUL_CACERT",
    "CONSUL_CLIENT_CERT",
    "CONSUL_CLIENT_KEY",
    "CONSUL_TLS_SERVER_NAME",
    "CONSUL_NAMESPACE",
    "CONSUL_PARTITION",
];

/// Maximum length of a variable. No path, address or token is longer, and messages repeat it.
const MAX_VARIABLE: usize = 4 << 10;

/// Starts the agent of `--dev`.
pub(crate) async fn dev_agent(arguments: &ConnectionArgs) -> Result<Option<DevAgent>, Error> {
    if !arguments.dev {
        return Ok(None);
    }
    let agent = DevAgent::start().await.map_err(|error| {
        let message = format!("cannot start the development agent: {error}");
        Error::new(ErrorKind::Other, message)
    })?;
    Ok(Some(agent))
}

/// The variables by which a command that this program runs finds the same Consul, as far as options say where it is. The
/// token is not among them.
pub(crate) fn variables(
    arguments: &ConnectionArgs,
    dev_agent: Option<&str>,
) -> Vec<(&'static str, OsString)> {
    let address = arguments.address.as_ref().map(ToString::to_string);
    let text = |text: &Option<String>| text.as_ref().map(OsString::from);
    let path = |path: &Option<PathBuf>| path.as_ref().map(OsString::from);
    [
        (
            "CONSUL_HTTP_ADDR",
            dev_agent
                .map(OsString::from)
                .or(address.map(OsString::from)),
        ),
        ("CONSUL_CACERT", path(&arguments.ca_file)),
        ("CONSUL_CLIENT_CERT", path(&arguments.client_cert)),
        ("CONSUL_CLIENT_KEY", path(&arguments.client_key)),
        ("CONSUL_TLS_SERVER_NAME", text(&arguments.tls_server_name)),
        (
            "CONSUL_HTTP_SSL_VERIFY",
            arguments.insecure.then(|| OsString::from("false")),
        ),
        ("CONSUL_NAMESPACE", text(&arguments.namespace)),
        ("CONSUL_PARTITION", text(&arguments.partition)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// Removes the connection settings from the parameters, and builds a client from them. `dev_agent` is the address of the
/// agent that `--dev` started.
pub(crate) fn client(
    arguments: &ConnectionArgs,
    dev_agent: Option<&str>,
    parameters: &mut Map<String, Value>,
    policy: Policy,
    runtime: &Runtime,
) -> Result<Client, Error> {
    let options = options(arguments, dev_agent)?;
    // An error may quote a token that was given in the wrong place.
    let token = parameters.get("token").and_then(Value::as_str);
    let token = token.or(options.token.as_deref()).map(str::to_owned);
    build(arguments, &options, parameters, policy, runtime)
        .map_err(|error| Redactor::new(token.as_deref()).error(error))
}

fn options(
    arguments: &ConnectionArgs,
    dev_agent: Option<&str>,
) -> Result<ConnectionOptions, Error> {
    let path = |option: &str, path: &Option<PathBuf>| match path {
        None => Ok(None),
        Some(path) => match path.to_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => {
                let message = format!("the path of {option} is not UTF-8 text");
                Err(Error::invalid(option, message))
            }
        },
    };
    let token = match &arguments.token_file {
        Some(file) => Some(read_token(file)?),
        None => None,
    };
    let address = match dev_agent {
        Some(address) => Some(consul_session_core::Address::parse("--dev", address)?),
        None => arguments.address.clone(),
    };
    Ok(ConnectionOptions {
        address,
        token,
        validate_certs: arguments.insecure.then_some(false),
        ca_path: path("--ca-file", &arguments.ca_file)?,
        client_cert: path("--client-cert", &arguments.client_cert)?,
        client_key: path("--client-key", &arguments.client_key)?,
        timeout: arguments.timeout,
    })
}

fn build(
    arguments: &ConnectionArgs,
    options: &ConnectionOptions,
    parameters: &mut Map<String, Value>,
    policy: Policy,
    runtime: &Runtime,
) -> Result<Client, Error> {
    // With --dev, ignore variables: they configure another agent.
    let variable = |name: &str| {
        let value = std::env::var_os(name).filter(|_| !arguments.dev)?;
        Some(value).filter(|value| !value.is_empty())
    };
    for name in VARIABLES {
        let Some(value) = variable(name) else {
            continue;
        };
        if value.to_str().is_none() {
            return Err(Error::invalid(name, format!("{name} is not UTF-8 text")));
        }
        if value.len() > MAX_VARIABLE {
            let message = format!("{name} is longer than {} KiB", MAX_VARIABLE >> 10);
            return Err(Error::invalid(name, message));
        }
    }
    let variable = |name: &str| variable(name)?.into_string().ok();
    let token_file = variable("CONSUL_HTTP_TOKEN_FILE");
    let lookup = |name: &str| match name {
        // Like Consul's own tools, prefer the file.
        "CONSUL_HTTP_TOKEN" if token_file.is_some() => None,
        name => variable(name),
    };
    let settings = ConnectionSettings::take(parameters, options, Environment(&lookup))?;
    let mut builder = Client::builder().policy(policy);
    let token = match (&settings.token, &token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => Some(read_token(Path::new(path))?),
        (None, None) => None,
    };
    if let Some(token) = token {
        builder = builder.token(Token::new(token)?);
    }
    if let Some(timeout) = settings.timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(datacenter) = &arguments.datacenter {
        builder = builder.datacenter(datacenter);
    }
    let or_variable = |argument: &Option<String>, name: &str| {
        let argument = argument.clone().filter(|value| !value.is_empty());
        argument.or_else(|| variable(name))
    };
    if let Some(namespace) = or_variable(&arguments.namespace, "CONSUL_NAMESPACE") {
        builder = builder.namespace(namespace);
    }
    if let Some(partition) = or_variable(&arguments.partition, "CONSUL_PARTITION") {
        builder = builder.partition(partition);
    }
    let server_name = or_variable(&arguments.tls_server_name, "CONSUL_TLS_SERVER_NAME");
    builder
        .trust(trust(&settings, server_name)?)
        .resolved_address(settings.address)
        .build(runtime)
}

fn read_token(path: &Path) -> Result<String, Error> {
    let token = Token::from_file(path)?;
    Ok(token.expose().to_owned())
}

fn trust(settings: &ConnectionSettings, server_name: Option<String>) -> Result<Trust, Error> {
    let mut trust = match &settings.ca_path {
        _ if settings.validate_certs == Some(false) => Trust::insecure(),
        Some(path) => Trust::only_file(path)?,
        None => Trust::system(),
    };
    match (&settings.client_cert, &settings.client_key) {
        (Some(certificate), key) => {
            trust = trust.identity_files(certificate, key.as_deref().map(Path::new))?;
        }
        (None, Some(_)) => {
            let message = "`client_key` needs `client_cert`";
            return Err(Error::invalid("client_key", message));
        }
        (None, None) => {}
    }
    match server_name {
        Some(name) => trust.server_name(name),
        None => Ok(trust),
    }
}
