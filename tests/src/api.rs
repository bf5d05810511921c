//! What Consul itself says. A second, independent client: the tests compare the program's words with this.

use serde_json::{Value, json};
use std::time::Duration;

/// Consul's HTTP API at one address.
#[derive(Clone, Debug)]
pub struct Api {
    address: String,
    token: Option<String>,
}

impl Api {
    /// Without a token.
    pub fn new(address: &str) -> Api {
        Api {
            address: address.to_owned(),
            token: None,
        }
    }

    /// With a token.
    pub fn with_token(address: &str, token: &str) -> Api {
        Api {
            address: address.to_owned(),
            token: Some(token.to_owned()),
        }
    }

    /// Reads a path.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let mut request = agent().get(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        read(request.call())
    }

    /// Writes to a path.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, String> {
        let mut request = agent().put(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        read(request.send(body.to_string()))
    }

    /// All sessions.
    pub fn sessions(&self) -> Vec<Value> {
        let listed = self.get("/v1/session/list?consistent").unwrap();
        listed.as_array().unwrap().clone()
    }

    /// The sessions of a name, oldest first.
    pub fn named(&self, name: &str) -> Vec<Value> {
        let mut sessions = self.sessions();
        sessions.retain(|session| session["Name"] == name);
        sessions.sort_by_key(|session| session["CreateIndex"].as_u64());
        sessions
    }

    /// The session of an id, if it is there.
    pub fn session(&self, id: &str) -> Option<Value> {
        let found = self
            .get(&format!("/v1/session/info/{id}?consistent"))
            .unwrap();
        found.as_array().unwrap().first().cloned()
    }

    /// The sessions of a node.
    pub fn of_node(&self, node: &str) -> Vec<Value> {
        let found = self
            .get(&format!("/v1/session/node/{node}?consistent"))
            .unwrap();
        found.as_array().unwrap().clone()
    }

    /// Creates a session and returns its id.
    pub fn create(&self, session: &Value) -> String {
        let created = self.put("/v1/session/create", session).unwrap();
        created["ID"].as_str().unwrap().to_owned()
    }

    /// Registers a node that no agent runs on, for a test of its own: it has no `serfHealth` and no sessions.
    pub fn register_node(&self, node: &str) {
        let node = json!({"Node": node, "Address": "127.0.0.1"});
        self.put("/v1/catalog/register", &node).unwrap();
    }
}

/// Short-lived, so that no connection outlives a test's agent.
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
