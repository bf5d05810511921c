//! The parameters of the action door: every word the documentation knows, read and checked.

use crate::connection::{Environment, Settings};
use crate::error::{Fault, failure, invalid, shown};
use crate::types::{Agent, Behavior, ErrorKind, NewSession};
use crate::values::Parameters;
use serde_json::{Map, Value};

/// What the action is to bring about or to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A session exists.
    Present,
    /// It does not.
    Absent,
    /// Look one up.
    Info,
    /// List a node's.
    Node,
    /// List all.
    List,
    /// Start a TTL anew.
    Renew,
}

const STATES: [(&str, State); 6] = [
    ("present", State::Present),
    ("absent", State::Absent),
    ("info", State::Info),
    ("node", State::Node),
    ("list", State::List),
    ("renew", State::Renew),
];

const BEHAVIORS: [(&str, Behavior); 2] =
    [("release", Behavior::Release), ("delete", Behavior::Delete)];

/// The parameters besides the settings of the connection.
const OPERATION: [&str; 17] = [
    "state",
    "name",
    "id",
    "node",
    "datacenter",
    "delay",
    "ttl",
    "checks",
    "node_checks",
    "service_checks",
    "behavior",
    "namespace",
    "partition",
    "check_mode",
    "diff",
    "unique",
    "recreate",
];

/// One call of the action door.
pub struct Action {
    /// What to do.
    pub state: State,
    /// The session's id.
    pub id: Option<String>,
    /// The session's name.
    pub name: Option<String>,
    /// A node's name.
    pub node: Option<String>,
    /// The session as asked for.
    pub wanted: NewSession,
    /// Predict, write nothing.
    pub check_mode: bool,
    /// Return before and after.
    pub diff: bool,
    /// One session of a name is enough.
    pub unique: bool,
    /// Replace sessions that differ.
    pub recreate: bool,
    /// Where Consul is.
    pub settings: Settings,
    /// The same, as the operations take it.
    pub agent: Agent,
}

impl Action {
    /// Reads the parameters of a call.
    pub fn read(
        mut map: Map<String, Value>,
        environment: Environment<'_>,
    ) -> Result<Action, Fault> {
        refuse_unknown(&map)?;
        let settings = Settings::take(&mut map, environment)?;
        let mut parameters = Parameters(&mut map);
        let state = match parameters.text("state")? {
            Some(text) => choice("state", &text, &STATES)?,
            None => State::Present,
        };
        let behavior = match parameters.text("behavior")? {
            Some(text) => Some(choice("behavior", &text, &BEHAVIORS)?),
            None => None,
        };
        let id = parameters.filled_text("id")?;
        // An empty name is none, as in Consul itself.
        let name = parameters.filled_text("name")?;
        let node = parameters.naming_text("node")?;
        let action = Action {
            state,
            wanted: NewSession {
                name: name.clone(),
                node: node.clone(),
                lock_delay: parameters.duration("delay")?,
                behavior,
                ttl: parameters.duration("ttl")?,
                node_checks: parameters.texts("node_checks")?,
                service_checks: parameters.service_checks("service_checks")?,
                checks: parameters.texts("checks")?,
            },
            id,
            name,
            node,
            check_mode: parameters.boolean("check_mode")?.unwrap_or(false),
            diff: parameters.boolean("diff")?.unwrap_or(false),
            unique: parameters.boolean("unique")?.unwrap_or(true),
            recreate: parameters.boolean("recreate")?.unwrap_or(false),
            agent: Agent {
                address: settings.address.to_string(),
                token: settings.token.clone(),
                datacenter: parameters.filled_text("datacenter")?,
                namespace: parameters
                    .filled_text("namespace")?
                    .or_else(|| environment.get("CONSUL_NAMESPACE")),
                partition: parameters
                    .filled_text("partition")?
                    .or_else(|| environment.get("CONSUL_PARTITION")),
                timeout: settings.timeout,
            },
            settings,
        };
        refuse_host_settings(&action.settings)?;
        action.refuse_contradictions()?;
        Ok(action)
    }

    fn refuse_contradictions(&self) -> Result<(), Fault> {
        let missing = |parameter: &str, message: &str| Err(invalid(parameter, message));
        match self.state {
            State::Present if self.id.is_some() => missing(
                "id",
                "`id` cannot be chosen: Consul gives a new session its id. Look up an existing one with state=info",
            ),
            State::Present if self.recreate && !self.unique => missing(
                "recreate",
                "`recreate: true` and `unique: false` contradict each other",
            ),
            State::Present if self.recreate && self.name.is_none() => missing(
                "recreate",
                "`recreate` needs a `name`: it replaces the session of that name",
            ),
            State::Absent if self.id.is_none() && self.name.is_none() => missing(
                "id",
                "state=absent needs the `id` or the `name` of a session",
            ),
            State::Info if self.id.is_none() && self.name.is_none() => {
                missing("id", "state=info needs the `id` or the `name` of a session")
            }
            State::Renew if self.id.is_none() && self.name.is_none() => missing(
                "id",
                "state=renew needs the `id` or the `name` of a session",
            ),
            State::Node if self.node.is_none() => {
                missing("node", "state=node needs `node`, the name of a node")
            }
            _ => Ok(()),
        }
    }
}

/// These belong to the host, which takes them off before the component is called. Where they still arrive, the host has
/// no such setting, and to go on would be to trust or present something else than asked for.
fn refuse_host_settings(settings: &Settings) -> Result<(), Fault> {
    let given = [
        ("validate_certs", settings.validate_certs == Some(false)),
        ("ca_path", settings.ca_path.is_some()),
        ("client_cert", settings.client_cert.is_some()),
        ("client_key", settings.client_key.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((parameter, _)) => Err(failure(
            ErrorKind::Unsupported,
            format!(
                "`{parameter}` cannot be set here: this host owns the trust store and lets a component choose nothing about TLS. Run the program `consul-session`, embed its host crate, or configure the host."
            ),
        )),
    }
}

fn choice<T: Copy>(parameter: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    Err(invalid(
        parameter,
        format!(
            "`{parameter}` must be one of {}, not `{}`{}",
            words.join(", "),
            shown(text),
            nearest(text, &words)
        ),
    ))
}

fn refuse_unknown(map: &Map<String, Value>) -> Result<(), Fault> {
    let known: Vec<&str> = OPERATION.into_iter().chain(Settings::PARAMETERS).collect();
    let Some(unknown) = map.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let hint = nearest(unknown, &known);
    let unknown = shown(unknown);
    let hint = if hint.is_empty() {
        format!(". Known: {}", known.join(", "))
    } else {
        hint
    };
    Err(invalid(
        unknown,
        format!("there is no parameter `{unknown}`{hint}"),
    ))
}

/// The known word that was probably meant.
fn nearest(text: &str, known: &[&str]) -> String {
    // The time it takes grows with the length; nobody misspells a word by so much.
    if text.len() > 40 {
        return String::new();
    }
    known
        .iter()
        .map(|word| (strsim::osa_distance(&text.to_ascii_lowercase(), word), word))
        .filter(|(distance, word)| *distance <= word.len().max(4) / 3 + 1 && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| format!("; did you mean `{word}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: Value) -> Result<Action, Fault> {
        Action::read(crate::words::object(&json.to_string())?, Environment::EMPTY)
    }

    #[test]
    fn refuses_with_the_parameters_name() {
        for (json, parameter, part) in [
            (json!({"nmae": "x"}), "nmae", "did you mean `name`?"),
            (json!({"tokn": "s3cret"}), "tokn", "`token`"),
            (json!({"xyzzyxyzzy": 1}), "xyzzyxyzzy", "Known: state"),
            (
                json!({"state": "remove"}),
                "state",
                "present, absent, info, node, list, renew",
            ),
            (
                json!({"state": "prsent"}),
                "state",
                "did you mean `present`?",
            ),
            (
                json!({"behavior": "explode"}),
                "behavior",
                "release, delete",
            ),
            (json!({"id": "x"}), "id", "state=info"),
            (json!({"node": ""}), "node", "empty"),
            (
                json!({"state": "absent", "name": "", "id": ""}),
                "id",
                "`id` or the `name`",
            ),
            (json!({"state": "absent"}), "id", "`id` or the `name`"),
            (json!({"state": "info"}), "id", "needs"),
            (json!({"state": "renew"}), "id", "needs"),
            (
                json!({"state": "node", "name": "n"}),
                "node",
                "needs `node`",
            ),
            (json!({"recreate": true}), "recreate", "needs a `name`"),
            (
                json!({"name": "n", "recreate": "yes", "unique": "no"}),
                "recreate",
                "contradict",
            ),
            (json!([]), "params", "JSON object"),
            (json!({"ttl": "soon"}), "ttl", "not a duration"),
        ] {
            match read(json.clone()) {
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Invalid(parameter.into()), "{json}");
                    assert!(error.message.contains(part), "{json}: {}", error.message);
                    assert!(!error.message.contains("s3cret"));
                }
                Ok(_) => panic!("{json}"),
            }
        }
    }

    #[test]
    fn trust_is_the_hosts_to_give() {
        for json in [
            json!({"state": "list", "validate_certs": "no"}),
            json!({"state": "list", "ca_path": "/x"}),
            json!({"state": "list", "client_cert": "/x"}),
            json!({"state": "list", "client_key": "/x"}),
        ] {
            assert_eq!(read(json).err().unwrap().kind, ErrorKind::Unsupported);
        }
        assert!(read(json!({"state": "list", "validate_certs": true})).is_ok());
    }

    #[test]
    fn the_documentations_examples() {
        assert_eq!(
            read(json!({"name": "session1"})).ok().unwrap().state,
            State::Present
        );
        let delayed = read(json!({"name": "session_with_delay", "delay": "20s"}))
            .ok()
            .unwrap();
        assert_eq!(delayed.wanted.lock_delay, Some(20_000_000_000));
        let checked =
            read(json!({"name": "session_with_check", "checks": ["existing_check_name"]}))
                .ok()
                .unwrap();
        assert_eq!(checked.wanted.checks.unwrap(), ["existing_check_name"]);
        assert_eq!(
            read(json!({"state": "list"})).ok().unwrap().agent.address,
            "http://localhost:8500"
        );
    }
}
