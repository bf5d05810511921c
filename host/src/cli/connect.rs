//! From arguments and `CONSUL_*` variables to a client. Arguments win.

use super::args::ConnectionArgs;
use crate::{Client, Error, ErrorKind, Runtime, Token, Trust};
use anyhow::Result;
use consul_session_guest::connection::{Environment, Settings};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// Takes the connection settings off the parameters, and makes a client of them.
pub(super) fn client(
    arguments: &ConnectionArgs,
    parameters: &mut Map<String, Value>,
    runtime: &Runtime,
) -> Result<Client, Error> {
    let filled = fill_in(arguments, parameters)?;
    // Somebody may have given it a second time, in the wrong place.
    let token = parameters.get("token").and_then(Value::as_str);
    let token = token.map(str::to_owned);
    resolve(arguments, parameters, runtime).map_err(|error| {
        let error = in_words_of_options(error, &filled);
        match token {
            Some(token) => error.without(&token),
            None => error,
        }
    })
}

fn resolve(
    arguments: &ConnectionArgs,
    parameters: &mut Map<String, Value>,
    runtime: &Runtime,
) -> Result<Client, Error> {
    // The agent of `--dev` is this process's own: what is set for another one is not meant for it.
    let ambient = !arguments.dev;
    if let Some(name) = VARIABLES.into_iter().find(|name| {
        ambient && std::env::var_os(name).is_some_and(|value| value.to_str().is_none())
    }) {
        return Err(Error::invalid(name, format!("{name} is not UTF-8 text")));
    }
    let variable = |name: &str| {
        let value = std::env::var(name).ok().filter(|_| ambient);
        value.filter(|value| !value.is_empty())
    };
    let token_file = variable("CONSUL_HTTP_TOKEN_FILE");
    let settings = Settings::take(
        parameters,
        // Consul's tools let the file win over the variable with the token itself.
        Environment(&|name| match name {
            "CONSUL_HTTP_TOKEN" if token_file.is_some() => None,
            name => variable(name),
        }),
    )?;
    let mut builder = Client::builder();
    match (&settings.token, token_file) {
        (Some(token), _) => builder = builder.token(Token::new(token.as_str())?),
        (None, Some(path)) => builder = builder.token(read_token(Path::new(&path))?),
        (None, None) => {}
    }
    if let Some(timeout) = settings.timeout {
        builder = builder.timeout(Duration::from_nanos(timeout));
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
        .map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::invalid("url", format!("{error:#}")),
        })
}

/// A parameter, and the option that it was filled from.
type Filled = Vec<(&'static str, &'static str)>;

/// Puts the arguments where the action's own parameters leave a gap.
fn fill_in(
    arguments: &ConnectionArgs,
    parameters: &mut Map<String, Value>,
) -> Result<Filled, Error> {
    let path = |option: &'static str, path: &Option<PathBuf>| match path {
        None => Ok(None),
        Some(path) => match path.to_str() {
            Some(text) => Ok(Some(Value::from(text))),
            None => Err(Error::invalid(
                option,
                format!("the path of {option} is not UTF-8 text"),
            )),
        },
    };
    let token = match &arguments.token_file {
        Some(file) => Some(read_token(file)?.reveal().into()),
        None => None,
    };
    let mut filled = Vec::new();
    for (name, option, value) in [
        ("token", "--token-file", token),
        (
            "url",
            "--address",
            arguments.address.clone().map(Value::from),
        ),
        (
            "ca_path",
            "--ca-file",
            path("--ca-file", &arguments.ca_file)?,
        ),
        (
            "client_cert",
            "--client-cert",
            path("--client-cert", &arguments.client_cert)?,
        ),
        (
            "client_key",
            "--client-key",
            path("--client-key", &arguments.client_key)?,
        ),
        (
            "timeout",
            "--timeout",
            arguments.timeout.clone().map(Value::from),
        ),
        (
            "validate_certs",
            "--insecure",
            arguments.insecure.then_some(false.into()),
        ),
    ] {
        if let Some(value) = value
            && !Settings::given(parameters, name)
        {
            parameters.insert(name.to_owned(), value);
            filled.push((name, option));
        }
    }
    Ok(filled)
}

/// A message about a parameter speaks of the option that somebody typed.
fn in_words_of_options(error: Error, filled: &Filled) -> Error {
    let ErrorKind::Invalid(parameter) = error.kind() else {
        return error;
    };
    match filled.iter().find(|(name, _)| name == parameter) {
        Some((name, option)) => {
            let message = error.message().replace(&format!("`{name}`"), option);
            Error::invalid(name, message)
        }
        None => error,
    }
}

fn read_token(path: &Path) -> Result<Token, Error> {
    Token::from_file(path).map_err(|error| Error::invalid("token", format!("{error:#}")))
}

fn trust(settings: &Settings, server_name: Option<String>) -> Result<Trust, Error> {
    let wrong =
        |parameter: &str, error: anyhow::Error| Error::invalid(parameter, format!("{error:#}"));
    let mut trust = match &settings.ca_path {
        _ if settings.validate_certs == Some(false) => Trust::insecure(),
        Some(path) => Trust::only_file(path).map_err(|error| wrong("ca_path", error))?,
        None => Trust::system(),
    };
    match (&settings.client_cert, &settings.client_key) {
        (Some(certificate), key) => {
            trust = trust
                .identity_files(certificate, key.as_deref().map(Path::new))
                .map_err(|error| wrong("client_cert", error))?;
        }
        (None, Some(_)) => {
            return Err(Error::invalid(
                "client_key",
                "`client_key` needs `client_cert` beside it",
            ));
        }
        (None, None) => {}
    }
    match server_name {
        Some(name) => trust
            .server_name(name)
            .map_err(|error| wrong("tls_server_name", error)),
        None => Ok(trust),
    }
}
