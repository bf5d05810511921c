//! What a tenant's parameters may say about the connection, and what only the host decides.

use super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::raw_object::{RawObject, Unreadable};
use consul_session_core::settings::{ConnectionOptions, ConnectionSettings, Environment};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::time::Duration;

/// Maximum length of a connection parameter. No address, token, path or time is longer.
const MAX_SETTING: usize = 64 << 10;

const TOO_MANY: &str = "there are more than 100 parameters, or one with a name of more than 1 KiB";

/// A tenant's parameters after the client's decisions.
pub(super) struct TenantParameters {
    /// The parameters for the component, a JSON object.
    pub(super) parameters: String,
    /// The timeout of the call.
    pub(super) timeout: Duration,
}

impl TenantParameters {
    /// Checks the connection parameters of a call, and replaces them by the client's own. Only these are decoded outside the
    /// sandbox.
    pub(super) fn check(client: &Client, parameters: &str) -> Result<TenantParameters> {
        let inner = &client.0;
        let mut parameters = RawObject::parse(parameters).map_err(|why| match why {
            Unreadable::Json(error) => malformed(error),
            Unreadable::TooManyMembers => Error::invalid("params", TOO_MANY),
        })?;
        let mut connection = Map::new();
        for name in ConnectionSettings::PARAMETERS {
            let Some(value) = parameters.shift_remove(name) else {
                continue;
            };
            if value.get().len() > MAX_SETTING {
                let message = format!("`{name}` is longer than {} KiB", MAX_SETTING >> 10);
                return Err(Error::invalid(name, message));
            }
            let value = serde_json::from_str(value.get()).map_err(malformed)?;
            connection.insert(name.to_owned(), value);
        }
        for name in ["ca_path", "client_cert", "client_key"] {
            if ConnectionSettings::is_given(&connection, name) {
                return Err(denied(name, "the host decides on certificates"));
            }
        }
        let elsewhere = ConnectionSettings::ADDRESS_PARAMETERS
            .into_iter()
            .any(|name| ConnectionSettings::is_given(&connection, name));
        // The client's own address fills the gaps of a partial one.
        let own = ConnectionOptions {
            address: Some(inner.address.clone()),
            ..ConnectionOptions::default()
        };
        let settings = ConnectionSettings::take(&mut connection, &own, Environment::EMPTY)?;
        if settings
            .validate_certs
            .is_some_and(|verify| verify != inner.verifies)
        {
            let why = "the host decides whether to verify certificates";
            return Err(denied("validate_certs", why));
        }
        if let Some(token) = &settings.token {
            if inner.network.injects_token() {
                return Err(denied("token", "the host sends its own"));
            }
            parameters.insert("token".to_owned(), written(token)?);
        }
        if elsewhere {
            parameters.insert("url".to_owned(), written(&settings.address.to_string())?);
        }
        let timeout = settings
            .timeout
            .map_or(inner.timeout, |timeout| timeout.min(inner.timeout));
        for (name, value) in defaults(client, timeout) {
            let open = parameters
                .get(name)
                .is_none_or(|value| matches!(value.get(), "null" | "\"\""));
            if open {
                parameters.insert(name.to_owned(), written(&value)?);
            }
        }
        Ok(TenantParameters {
            parameters: serde_json::to_string(&parameters).map_err(malformed)?,
            timeout,
        })
    }

    /// The parameters of a call by the host itself, with the client's connection settings.
    pub(super) fn trusted(client: &Client, mut parameters: Map<String, Value>) -> Result<String> {
        for (name, value) in defaults(client, client.0.timeout) {
            if !ConnectionSettings::is_given(&parameters, name) {
                parameters.insert(name.to_owned(), value.into());
            }
        }
        serde_json::to_string(&parameters).map_err(malformed)
    }
}

/// The client's settings, for parameters that leave them open.
fn defaults(client: &Client, timeout: Duration) -> impl Iterator<Item = (&'static str, String)> {
    let agent = &client.0.agent;
    [
        ("url", Some(agent.address.clone())),
        ("datacenter", agent.datacenter.clone()),
        ("namespace", agent.namespace.clone()),
        ("partition", agent.partition.clone()),
        ("timeout", Some(format!("{}ns", timeout.as_nanos()))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

fn denied(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!("`{name}` cannot be set here: {why}"),
    )
}

fn written(text: &str) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(text).map_err(malformed)
}

fn malformed(error: serde_json::Error) -> Error {
    let message = if error.is_data() {
        "the parameters must be a JSON object, as in {\"state\": \"list\"}".to_owned()
    } else {
        format!("the parameters are not valid JSON: {error}")
    };
    Error::invalid("params", message)
}
