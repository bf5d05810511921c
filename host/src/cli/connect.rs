//! From arguments and `CONSUL_*` variables to a client. Arguments win.

use super::args::ConnectionArgs;
use crate::{Client, Error, Runtime, Token, Trust};
use anyhow::Result;
use consul_session_guest::connection::{Environment, Settings};
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;

/// Takes the connection settings off the parameters, and makes a client of them.
pub(super) fn client(
    arguments: &ConnectionArgs,
    parameters: &mut Map<String, Value>,
    runtime: &Runtime,
) -> Result<Client, Error> {
    fill_in(arguments, parameters)?;
    // The agent of `--dev` is this process's own: what is set for another one is not meant for it.
    let variable = |name: &str| {
        let value = std::env::var(name).ok().filter(|_| !arguments.dev);
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

/// Puts the arguments where the action's own parameters leave a gap.
fn fill_in(arguments: &ConnectionArgs, parameters: &mut Map<String, Value>) -> Result<(), Error> {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned().into())
    };
    let mut fill = |name: &str, value: Option<Value>| {
        if let Some(value) = value
            && parameters.get(name).is_none_or(Value::is_null)
        {
            parameters.insert(name.to_owned(), value);
        }
    };
    if let Some(file) = &arguments.token_file {
        fill("token", Some(read_token(file)?.reveal().into()));
    }
    fill("url", arguments.address.clone().map(Value::from));
    fill("ca_path", path(&arguments.ca_file));
    fill("client_cert", path(&arguments.client_cert));
    fill("client_key", path(&arguments.client_key));
    fill("timeout", arguments.timeout.clone().map(Value::from));
    fill("validate_certs", arguments.insecure.then_some(false.into()));
    Ok(())
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
    Ok(match server_name {
        Some(name) => trust.server_name(name),
        None => trust,
    })
}
