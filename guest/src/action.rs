//! The parameters of one action, parsed and checked.

use crate::consul::DEFAULT_TIMEOUT;
use crate::types::{Agent, Behavior, NewSession, ServiceCheck};
use consul_session_core::error::shown;
use consul_session_core::parameters::{Parameters, non_blank_string};
use consul_session_core::settings::{ConnectionOptions, ConnectionSettings, Environment};
use consul_session_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// What the action does: the parameter `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Make sure that a session exists.
    Present,
    /// Make sure that no such session exists.
    Absent,
    /// Look up one session.
    Info,
    /// List the sessions of a node.
    Node,
    /// List all sessions.
    List,
    /// Renew a session.
    Renew,
    /// Make sure that a session holds a lock.
    Locked,
    /// Make sure that a session does not hold a lock.
    Unlocked,
    /// Look up who holds a lock.
    Holder,
    /// Make sure that a key has a value, while a lock is held.
    Written,
}

const STATES: [(&str, State); 10] = [
    ("present", State::Present),
    ("absent", State::Absent),
    ("info", State::Info),
    ("node", State::Node),
    ("list", State::List),
    ("renew", State::Renew),
    ("locked", State::Locked),
    ("unlocked", State::Unlocked),
    ("holder", State::Holder),
    ("written", State::Written),
];

const BEHAVIORS: [(&str, Behavior); 2] =
    [("release", Behavior::Release), ("delete", Behavior::Delete)];

/// The parameters other than connection settings.
pub const PARAMETERS: [&str; 22] = [
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
    "key",
    "value",
    "session",
    "lock",
    "wait",
];

/// One call of the action interface.
pub struct Action {
    /// What to do.
    pub state: State,
    /// The session's id.
    pub id: Option<String>,
    /// The session's name.
    pub name: Option<String>,
    /// A node's name.
    pub node: Option<String>,
    /// The requested attributes.
    pub wanted: NewSession,
    /// Predict the result and write nothing.
    pub check_mode: bool,
    /// Return the sessions before and after.
    pub diff: bool,
    /// Reuse an existing session of the same name.
    pub unique: bool,
    /// Replace sessions that differ.
    pub recreate: bool,
    /// A key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<String>,
    /// The key of the lock under which another is written.
    pub lock: Option<String>,
    /// How long to wait for a lock, in nanoseconds.
    pub wait: Option<u64>,
    /// The connection settings.
    pub settings: ConnectionSettings,
    /// The same settings, as the operations take them.
    pub agent: Agent,
}

impl Action {
    /// Parses the parameters of a call.
    pub fn parse(mut map: Map<String, Value>, environment: Environment<'_>) -> Result<Action> {
        refuse_unknown(&map)?;
        let settings =
            ConnectionSettings::take(&mut map, &ConnectionOptions::default(), environment)?;
        let mut parameters = Parameters(&mut map);
        let state = match parameters.string("state")? {
            Some(text) => choice("state", &text, &STATES)?,
            None => State::Present,
        };
        let behavior = match parameters.string("behavior")? {
            Some(text) => Some(choice("behavior", &text, &BEHAVIORS)?),
            None => None,
        };
        let id = parameters.optional_string("id")?;
        let session = parameters.optional_string("session")?;
        if id.is_some() && session.is_some() {
            return Err(Error::invalid(
                "session",
                "`session` and `id` mean the same; give one of them",
            ));
        }
        let id = id.or(session);
        // An empty name is no name, as in Consul itself.
        let name = parameters.optional_string("name")?;
        let node = parameters.non_blank_string("node")?;
        let timeout = settings
            .timeout
            .map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let action = Action {
            state,
            wanted: NewSession {
                name: name.clone(),
                node: node.clone(),
                lock_delay: parameters.duration("delay")?,
                behavior,
                ttl: parameters.duration("ttl")?,
                node_checks: parameters.strings("node_checks")?,
                service_checks: parameters.list("service_checks", service_check)?,
                checks: parameters.strings("checks")?,
            },
            id,
            name,
            node,
            check_mode: parameters.boolean("check_mode")?.unwrap_or(false),
            diff: parameters.boolean("diff")?.unwrap_or(false),
            unique: parameters.boolean("unique")?.unwrap_or(true),
            recreate: parameters.boolean("recreate")?.unwrap_or(false),
            key: parameters.non_blank_string("key")?,
            value: parameters.string("value")?,
            lock: parameters.non_blank_string("lock")?,
            wait: parameters.duration("wait")?,
            agent: Agent {
                address: settings.address.to_string(),
                token: settings.token.clone(),
                datacenter: parameters.optional_string("datacenter")?,
                namespace: parameters
                    .optional_string("namespace")?
                    .or_else(|| environment.get("CONSUL_NAMESPACE")),
                partition: parameters
                    .optional_string("partition")?
                    .or_else(|| environment.get("CONSUL_PARTITION")),
                timeout,
            },
            settings,
        };
        refuse_host_settings(&action.settings)?;
        action.refuse_contradictions()?;
        Ok(action)
    }

    /// The time limit of the call in nanoseconds.
    fn time_limit(&self) -> u64 {
        self.agent.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    fn refuse_contradictions(&self) -> Result<()> {
        let refuse = |parameter: &str, message: &str| Err(Error::invalid(parameter, message));
        let unidentified = self.id.is_none() && self.name.is_none();
        match self.state {
            State::Present if self.id.is_some() => refuse(
                "id",
                "`id` cannot be chosen, because Consul assigns it; use state=info to look up an existing session",
            ),
            State::Present if self.recreate && !self.unique => refuse(
                "recreate",
                "`recreate: true` and `unique: false` contradict each other",
            ),
            State::Present if self.recreate && self.name.is_none() => refuse(
                "recreate",
                "`recreate` needs a `name`: it replaces the session of that name",
            ),
            State::Absent if unidentified => refuse(
                "id",
                "state=absent needs the `id` or the `name` of a session",
            ),
            State::Info if unidentified => {
                refuse("id", "state=info needs the `id` or the `name` of a session")
            }
            State::Renew if unidentified => refuse(
                "id",
                "state=renew needs the `id` or the `name` of a session",
            ),
            State::Locked | State::Unlocked | State::Written if unidentified => refuse(
                "session",
                "this state needs the `session` that holds the lock, or its `name`",
            ),
            State::Locked | State::Unlocked | State::Holder if self.key.is_none() => {
                refuse("key", "this state needs the `key` of a lock")
            }
            State::Written if self.key.is_none() || self.value.is_none() => {
                refuse("key", "state=written needs `key` and `value`")
            }
            State::Written if self.lock.is_none() => refuse(
                "lock",
                "state=written needs `lock`, the key of the lock that must be held",
            ),
            State::Locked if self.wait.unwrap_or(0) >= self.time_limit() => refuse(
                "wait",
                "`wait` must be less than `timeout`, the time limit of the call (10 s unless set)",
            ),
            State::Node if self.node.is_none() => {
                refuse("node", "state=node needs `node`, the name of a node")
            }
            _ => Ok(()),
        }
    }
}

/// Refuses TLS settings. A host that supports them removes them before it calls the component; on any other host,
/// ignoring them would trust or present something other than requested.
fn refuse_host_settings(settings: &ConnectionSettings) -> Result<()> {
    let given = [
        ("validate_certs", settings.validate_certs == Some(false)),
        ("ca_path", settings.ca_path.is_some()),
        ("client_cert", settings.client_cert.is_some()),
        ("client_key", settings.client_key.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((parameter, _)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{parameter}` cannot be set here, because this host does not let a component choose TLS settings; use the program `consul-session`, embed its library, or configure the host"
            ),
        )),
    }
}

fn service_check(name: &str, value: Value) -> Result<ServiceCheck> {
    let Value::Object(mut object) = value else {
        let id = non_blank_string(name, value)?;
        return Ok(ServiceCheck {
            id,
            namespace: None,
        });
    };
    let mut fields = Parameters(&mut object);
    let id = fields.non_blank_string("id")?;
    let namespace = fields.optional_string("namespace")?;
    if let Some(unknown) = object.keys().next() {
        let message = format!(
            "a check in `{name}` has an unknown key `{}`; the keys are `id` and `namespace`",
            shown(unknown)
        );
        return Err(Error::invalid(name, message));
    }
    match id {
        Some(id) => Ok(ServiceCheck { id, namespace }),
        None => Err(Error::invalid(
            name,
            format!("a check in `{name}` has no `id`"),
        )),
    }
}

fn choice<T: Copy>(parameter: &str, text: &str, choices: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let mut message = format!(
        "`{parameter}` must be one of {}, not `{}`",
        names.join(", "),
        shown(text)
    );
    if let Some(similar) = most_similar(text, &names) {
        message.push_str(&format!("; did you mean `{similar}`?"));
    }
    Err(Error::invalid(parameter, message))
}

fn refuse_unknown(map: &Map<String, Value>) -> Result<()> {
    let known: Vec<&str> = PARAMETERS
        .into_iter()
        .chain(ConnectionSettings::PARAMETERS)
        .collect();
    let Some(unknown) = map.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let hint = match most_similar(unknown, &known) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!("known parameters: {}", known.join(", ")),
    };
    let unknown = shown(unknown);
    Err(Error::invalid(
        unknown,
        format!("unknown parameter `{unknown}`; {hint}"),
    ))
}

/// The known name that is most similar.
fn most_similar<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    // The distance takes quadratic time, and no known word is nearly as long.
    if text.len() > 40 {
        return None;
    }
    let text = text.to_ascii_lowercase();
    known
        .iter()
        .map(|word| (strsim::osa_distance(&text, word), *word))
        .filter(|(distance, word)| *distance <= word.len().max(4) / 3 + 1 && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(json: Value) -> Result<Action> {
        let map = consul_session_core::arguments::from_json(&json.to_string())?;
        Action::parse(map, Environment::EMPTY)
    }

    #[test]
    fn refuses_with_the_parameters_name() {
        for (json, parameter, part) in [
            (json!({"nmae": "x"}), "nmae", "did you mean `name`?"),
            (json!({"tokn": "s3cret"}), "tokn", "`token`"),
            (
                json!({"xyzzyxyzzy": 1}),
                "xyzzyxyzzy",
                "known parameters: state",
            ),
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
            match parse(json.clone()) {
                Err(error) => {
                    assert_eq!(
                        *error.kind(),
                        ErrorKind::Invalid(parameter.into()),
                        "{json}"
                    );
                    assert!(error.message().contains(part), "{json}: {error}");
                    assert!(!error.message().contains("s3cret"));
                }
                Ok(_) => panic!("{json}"),
            }
        }
    }

    #[test]
    fn only_the_host_decides_on_trust() {
        for json in [
            json!({"state": "list", "validate_certs": "no"}),
            json!({"state": "list", "ca_path": "/x"}),
            json!({"state": "list", "client_cert": "/x"}),
            json!({"state": "list", "client_key": "/x"}),
        ] {
            assert_eq!(parse(json).err().unwrap().kind(), &ErrorKind::Unsupported);
        }
        assert!(parse(json!({"state": "list", "validate_certs": true})).is_ok());
    }

    #[test]
    fn the_documentations_examples() {
        assert_eq!(
            parse(json!({"name": "session1"})).ok().unwrap().state,
            State::Present
        );
        let delayed = parse(json!({"name": "session_with_delay", "delay": "20s"}))
            .ok()
            .unwrap();
        assert_eq!(delayed.wanted.lock_delay, Some(20_000_000_000));
        let checked =
            parse(json!({"name": "session_with_check", "checks": ["existing_check_name"]}))
                .ok()
                .unwrap();
        assert_eq!(checked.wanted.checks.unwrap(), ["existing_check_name"]);
        assert_eq!(
            parse(json!({"state": "list"})).ok().unwrap().agent.address,
            "http://localhost:8500"
        );
    }
}
