//! What a tenant's parameters may say about the connection, and what is the host's to decide.

use super::Client;
use super::builder::nanoseconds;
use crate::error::{Error, ErrorKind, Result};
use consul_session_guest::connection::{Environment, Settings};
use indexmap::IndexMap;
use serde_json::Map;
use serde_json::value::RawValue;
use std::time::Duration;

/// No address, token, path or time is longer than this.
const MAX_SETTING: usize = 64 << 10;

/// Parameters in their order, each as it was written.
type Written = IndexMap<String, Box<RawValue>>;

impl Client {
    /// Takes the connection parameters off a tenant's call and puts the client's own in their place. What is not about the
    /// connection stays as it was written: read here, outside the sandbox, 6 MiB of small lists were 860 MB of memory.
    pub(super) fn grant(&self, parameters: &str) -> Result<(String, Duration)> {
        let inner = &self.0;
        let Ok(mut map) = serde_json::from_str::<Written>(parameters) else {
            // The component says what is wrong with it.
            return Ok((parameters.to_owned(), inner.timeout));
        };
        let mut connection = Map::new();
        for name in Settings::PARAMETERS {
            let Some(value) = map.shift_remove(name) else {
                continue;
            };
            if value.get().len() > MAX_SETTING {
                let message = format!("`{name}` is longer than {} KiB", MAX_SETTING >> 10);
                return Err(Error::invalid(name, message));
            }
            connection.insert(
                name.to_owned(),
                serde_json::from_str(value.get()).map_err(unreadable)?,
            );
        }
        let given = Settings::PARAMETERS.map(|name| (name, Settings::given(&connection, name)));
        let given = |asked: &str| given.contains(&(asked, true));
        let elsewhere = ["url", "host", "port", "scheme"].into_iter().any(given);
        // What a tenant leaves out of an address is as in the client's own.
        let own = |name: &str| (name == "CONSUL_HTTP_ADDR").then(|| inner.address.to_string());
        let settings = Settings::take(&mut connection, Environment(&own))?;
        let denied = |name: &str, why: &str| {
            Err(Error::new(
                ErrorKind::Denied,
                format!("`{name}` is not yours to set here: {why}"),
            ))
        };
        for name in ["ca_path", "client_cert", "client_key"] {
            if given(name) {
                return denied(name, "the host decides what is trusted and presented");
            }
        }
        if settings
            .validate_certs
            .is_some_and(|verify| verify != inner.verifies)
        {
            return denied(
                "validate_certs",
                "the host decides whether certificates are verified",
            );
        }
        if let Some(token) = settings.token {
            if inner.network.injects_token() {
                return denied("token", "the host sends its own");
            }
            map.insert("token".to_owned(), written(&token)?);
        }
        let address = if elsewhere {
            &settings.address
        } else {
            &inner.address
        };
        map.insert("url".to_owned(), written(&address.to_string())?);
        let timeout = settings.timeout.map_or(inner.timeout, |asked| {
            inner.timeout.min(Duration::from_nanos(asked))
        });
        let timeout_text = format!("{}ns", nanoseconds(timeout));
        map.insert("timeout".to_owned(), written(&timeout_text)?);
        for (name, default) in [
            ("datacenter", &inner.agent.datacenter),
            ("namespace", &inner.agent.namespace),
            ("partition", &inner.agent.partition),
        ] {
            let open = map
                .get(name)
                .is_none_or(|value| matches!(value.get(), "null" | "\"\""));
            if let (Some(default), true) = (default, open) {
                map.insert(name.to_owned(), written(default)?);
            }
        }
        Ok((serde_json::to_string(&map).map_err(unreadable)?, timeout))
    }
}

fn written(text: &str) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(text).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::invalid("params", format!("the parameters are not JSON: {error}"))
}
