//! A minimal Consul client that shares no code with the program under test. The tests use it to set up and to check the
//! state of Consul.

use serde_json::{Value, json};
use std::time::Duration;

/// A client for Consul's HTTP API at one address.
#[derive(Clone, Debug)]
pub struct Api {
    address: String,
    token: Option<String>,
}

impl Api {
    /// Creates a client that sends no token.
    pub fn new(address: &str) -> Api {
        Api {
            address: address.to_owned(),
            token: None,
        }
    }

    /// Creates a client that sends a token with every request.
    pub fn with_token(address: &str, token: &str) -> Api {
        Api {
            address: address.to_owned(),
            token: Some(token.to_owned()),
        }
    }

    /// Sends a GET request and returns the response body.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let mut request = agent().get(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        read(request.call())
    }

    /// Sends a PUT request and returns the response body.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, String> {
        let mut request = agent().put(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        read(request.send(body.to_string()))
    }

    /// Sends a DELETE request and returns the response body.
    pub fn delete(&self, path: &str) -> Result<Value, String> {
        let mut request = agent().delete(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        read(request.call())
    }

    /// Returns an entry of the key-value store, if the key exists.
    pub fn key(&self, key: &str) -> Option<Value> {
        let found = self.below(&format!("{}?consistent", encoded(key)));
        found.first().cloned()
    }

    /// Returns the keys that begin with this prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let found = self.below(&format!("{}?keys&consistent", encoded(prefix)));
        let keys = found.iter().map(|key| key.as_str().unwrap().to_owned());
        keys.collect()
    }

    fn below(&self, path: &str) -> Vec<Value> {
        match self.get(&format!("/v1/kv/{path}")) {
            Ok(found) => found.as_array().unwrap().clone(),
            // There is no such key.
            Err(why) if why.starts_with("404") => Vec::new(),
            Err(why) => panic!("{why}"),
        }
    }

    /// Acquires a key for a session, as a lock if the flags are those of a lock. Returns whether it succeeded.
    pub fn acquire(&self, key: &str, session: &str, flags: u64) -> bool {
        let path = format!("/v1/kv/{}?acquire={session}&flags={flags}", encoded(key));
        self.put(&path, &Value::Null).unwrap() == true
    }

    /// Destroys a session.
    pub fn destroy(&self, session: &str) {
        let path = format!("/v1/session/destroy/{session}");
        self.put(&path, &Value::Null).unwrap();
    }

    /// Returns all sessions.
    pub fn sessions(&self) -> Vec<Value> {
        let listed = self.get("/v1/session/list?consistent").unwrap();
        listed.as_array().unwrap().clone()
    }

    /// Returns the sessions with this name, oldest first.
    pub fn named(&self, name: &str) -> Vec<Value> {
        let mut sessions = self.sessions();
        sessions.retain(|session| session["Name"] == name);
        sessions.sort_by_key(|session| session["CreateIndex"].as_u64());
        sessions
    }

    /// Returns the session with this ID, if it exists.
    pub fn session(&self, id: &str) -> Option<Value> {
        let found = self
            .get(&format!("/v1/session/info/{id}?consistent"))
            .unwrap();
        found.as_array().unwrap().first().cloned()
    }

    /// Returns the sessions of a node.
    pub fn of_node(&self, node: &str) -> Vec<Value> {
        let found = self
            .get(&format!("/v1/session/node/{node}?consistent"))
            .unwrap();
        found.as_array().unwrap().clone()
    }

    /// Creates a session and returns its ID.
    pub fn create(&self, session: &Value) -> String {
        let created = self.put("/v1/session/create", session).unwrap();
        created["ID"].as_str().unwrap().to_owned()
    }

    /// Registers a node without an agent, for use by a single test. The node has no `serfHealth` check and no sessions.
    pub fn register_node(&self, node: &str) {
        let node = json!({"Node": node, "Address": "127.0.0.1"});
        self.put("/v1/catalog/register", &node).unwrap();
    }
}

/// Returns a key as it is written in a URL.
pub fn encoded(key: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    key.bytes()
        .map(|byte| match byte {
            byte if plain(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Returns a new HTTP agent for each request, so that no pooled connection outlives the Consul agent of a test.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into()
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
    let mut answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer
        .body_mut()
        .read_to_string()
        .map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{status}: {text}"));
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}
