//! What a tenant's parameters may say about the connection, and what is the host's to decide.

use super::Client;
use super::builder::nanoseconds;
use crate::error::{Error, ErrorKind, Result};
use consul_session_guest::connection::{Environment, Settings};
use serde_json::{Map, Value};
use std::time::Duration;

impl Client {
    /// Takes the connection parameters off a tenant's call and puts the client's own in their place.
    pub(super) fn grant(&self, parameters: &str) -> Result<(String, Duration)> {
        let inner = &self.0;
        let Ok(Value::Object(mut map)) = serde_json::from_str(parameters) else {
            // The component says what is wrong with it.
            return Ok((parameters.to_owned(), inner.timeout));
        };
        let given: Vec<&str> = Settings::PARAMETERS
            .into_iter()
            .filter(|name| map.get(*name).is_some_and(|value| !value.is_null()))
            .collect();
        let elsewhere = given
            .iter()
            .any(|name| matches!(*name, "url" | "host" | "port" | "scheme"));
        let settings = Settings::take(&mut map, Environment::EMPTY)?;
        let denied = |name: &str, why: &str| {
            Err(Error::new(
                ErrorKind::Denied,
                format!("`{name}` is not yours to set here: {why}"),
            ))
        };
        for name in ["ca_path", "client_cert", "client_key"] {
            if given.contains(&name) {
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
            map.insert("token".to_owned(), token.into());
        }
        let address = if elsewhere {
            &settings.address
        } else {
            &inner.address
        };
        map.insert("url".to_owned(), address.to_string().into());
        let timeout = settings.timeout.map_or(inner.timeout, |asked| {
            inner.timeout.min(Duration::from_nanos(asked))
        });
        map.insert(
            "timeout".to_owned(),
            format!("{}ns", nanoseconds(timeout)).into(),
        );
        default(&mut map, "datacenter", inner.agent.datacenter.as_deref());
        default(&mut map, "namespace", inner.agent.namespace.as_deref());
        default(&mut map, "partition", inner.agent.partition.as_deref());
        Ok((Value::Object(map).to_string(), timeout))
    }
}

fn default(map: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value
        && map.get(name).is_none_or(Value::is_null)
    {
        map.insert(name.to_owned(), value.into());
    }
}
