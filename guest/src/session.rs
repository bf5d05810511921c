//! Consul's JSON of a session, decoded and encoded.

use crate::types::{Behavior, NewSession, ServiceCheck, Session};
use consul_session_core::duration::{parse_go, to_consul};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// A session as Consul sent it: decoded for the typed interface, and untouched for the action interface, so that fields
/// this version does not know are not lost.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    /// The decoded session.
    pub session: Session,
    /// The JSON as received.
    pub json: Value,
}

impl StoredSession {
    /// Decodes one session. The error is a phrase for people.
    pub fn from_json(json: Value) -> Result<StoredSession, String> {
        match Decoded::deserialize(&json) {
            Ok(Decoded(session)) => Ok(StoredSession { session, json }),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A decoded session. Its errors are phrases for people, but hide errors of the JSON's syntax.
pub struct Decoded(pub Session);

/// The fields of Consul's session.
#[derive(Deserialize)]
#[serde(field_identifier)]
enum Field {
    #[serde(rename = "ID")]
    Id,
    Name,
    Node,
    LockDelay,
    Behavior,
    #[serde(rename = "TTL")]
    Ttl,
    NodeChecks,
    ServiceChecks,
    Checks,
    Namespace,
    Partition,
    CreateIndex,
    ModifyIndex,
    #[serde(other)]
    Unknown,
}

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decoded, D::Error> {
        deserializer.deserialize_map(SessionVisitor)
    }
}

struct SessionVisitor;

impl<'de> Visitor<'de> for SessionVisitor {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Decoded, A::Error> {
        let mut session = Session {
            id: String::new(),
            name: String::new(),
            node: String::new(),
            lock_delay: 0,
            behavior: Behavior::Release,
            ttl: None,
            node_checks: Vec::new(),
            service_checks: Vec::new(),
            checks: Vec::new(),
            namespace: None,
            partition: None,
            create_index: 0,
            modify_index: 0,
        };
        let (mut created, mut modified) = (None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Id => session.id = string(&mut map, "ID")?,
                Field::Name => session.name = string(&mut map, "Name")?,
                Field::Node => session.node = string(&mut map, "Node")?,
                Field::LockDelay => {
                    session.lock_delay = number(&mut map, "LockDelay")?.unwrap_or(0);
                }
                Field::Behavior => {
                    let behavior = string(&mut map, "Behavior")?;
                    session.behavior = match behavior.as_str() {
                        "" | "release" => Behavior::Release,
                        "delete" => Behavior::Delete,
                        _ => {
                            return Err(A::Error::custom(format_args!(
                                "unknown Behavior `{behavior}`"
                            )));
                        }
                    };
                }
                Field::Ttl => session.ttl = ttl(&string(&mut map, "TTL")?)?,
                Field::NodeChecks => session.node_checks = list(&mut map, "NodeChecks")?,
                Field::ServiceChecks => {
                    let checks: Vec<Map<String, Value>> = list(&mut map, "ServiceChecks")?;
                    let checks: Option<_> = checks.iter().map(service_check).collect();
                    session.service_checks =
                        checks.ok_or_else(|| A::Error::custom("ServiceChecks is malformed"))?;
                }
                Field::Checks => session.checks = list(&mut map, "Checks")?,
                Field::Namespace => session.namespace = non_empty(string(&mut map, "Namespace")?),
                Field::Partition => session.partition = non_empty(string(&mut map, "Partition")?),
                Field::CreateIndex => created = number(&mut map, "CreateIndex")?,
                Field::ModifyIndex => modified = number(&mut map, "ModifyIndex")?,
                Field::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if session.id.is_empty() {
            return Err(A::Error::custom("a session has no ID"));
        }
        session.create_index = created.ok_or_else(|| A::Error::custom("CreateIndex is missing"))?;
        // Old versions of Consul did not send it.
        session.modify_index = modified.unwrap_or(session.create_index);
        Ok(Decoded(session))
    }
}

/// A string. A missing field, `null` and the empty text are the same.
fn string<'de, A: MapAccess<'de>>(map: &mut A, name: &str) -> Result<String, A::Error> {
    let text: Option<String> = map
        .next_value()
        .map_err(|_| A::Error::custom(format_args!("{name} is not a string")))?;
    Ok(text.unwrap_or_default())
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn number<'de, A: MapAccess<'de>, N: Deserialize<'de>>(
    map: &mut A,
    name: &str,
) -> Result<Option<N>, A::Error> {
    map.next_value()
        .map_err(|_| A::Error::custom(format_args!("{name} is not a whole number in its range")))
}

fn list<'de, A: MapAccess<'de>, V: Deserialize<'de>>(
    map: &mut A,
    name: &str,
) -> Result<Vec<V>, A::Error> {
    let list: Option<Vec<V>> = map
        .next_value()
        .map_err(|_| A::Error::custom(format_args!("{name} is malformed")))?;
    Ok(list.unwrap_or_default())
}

fn ttl<E: Error>(text: &str) -> Result<Option<u64>, E> {
    if text.is_empty() {
        return Ok(None);
    }
    let ttl = parse_go(text).and_then(|ttl| u64::try_from(ttl).ok());
    let ttl = ttl.ok_or_else(|| E::custom(format_args!("TTL `{text}` is not a duration")))?;
    Ok((ttl > 0).then_some(ttl))
}

fn service_check(check: &Map<String, Value>) -> Option<ServiceCheck> {
    let string = |name: &str| match check.get(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(value) => value.as_str().map(str::to_owned),
    };
    Some(ServiceCheck {
        id: check.get("ID")?.as_str()?.to_owned(),
        namespace: non_empty(string("Namespace")?),
    })
}

impl Behavior {
    /// The behavior's name in Consul and in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Behavior::Release => "release",
            Behavior::Delete => "delete",
        }
    }
}

/// The body of a create. Unset fields are omitted: `null` would switch the node's health check off.
pub fn create_body(new: &NewSession) -> Value {
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    set("Name", new.name.as_deref().map(Value::from));
    set("Node", new.node.as_deref().map(Value::from));
    set(
        "LockDelay",
        new.lock_delay.map(|delay| to_consul(delay).into()),
    );
    set(
        "Behavior",
        new.behavior.map(|behavior| behavior.as_str().into()),
    );
    set(
        "TTL",
        new.ttl
            .filter(|ttl| *ttl > 0)
            .map(|ttl| to_consul(ttl).into()),
    );
    let (node_checks, checks) = node_checks_and_checks(new);
    set("NodeChecks", node_checks.map(Value::from));
    set(
        "ServiceChecks",
        new.service_checks.as_deref().map(|checks| {
            checks
                .iter()
                .map(|check| match &check.namespace {
                    Some(namespace) => json!({"ID": check.id, "Namespace": namespace}),
                    None => json!({"ID": check.id}),
                })
                .collect()
        }),
    );
    set("Checks", checks.map(Value::from));
    Value::Object(body)
}

/// `NodeChecks` and `Checks` as they are sent. If both are given, they are sent as one list: Consul 1.8.7 drops
/// `Checks` if it is `["serfHealth"]`, and drops both lists if either is empty.
fn node_checks_and_checks(new: &NewSession) -> (Option<Vec<String>>, Option<Vec<String>>) {
    match (&new.node_checks, &new.checks) {
        (Some(node_checks), Some(checks)) => {
            let mut seen: BTreeSet<&str> = node_checks.iter().map(String::as_str).collect();
            let more = checks.iter().filter(|check| seen.insert(check));
            let all = node_checks.iter().chain(more).cloned().collect();
            (Some(all), None)
        }
        (node_checks, checks) => (node_checks.clone(), checks.clone()),
    }
}

#[cfg(test)]
#[expect(clippy::derivable_impls, reason = "the type is generated")]
impl Default for NewSession {
    fn default() -> NewSession {
        NewSession {
            name: None,
            node: None,
            lock_delay: None,
            behavior: None,
            ttl: None,
            node_checks: None,
            service_checks: None,
            checks: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consul_session_core::duration::{MILLISECOND, SECOND};
    use serde_json::json;

    /// Recorded from Consul 1.8.7; the indexes and flags made too large for a float.
    const RECORDED: &str = r#"{"ID":"2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11","Name":"x","Node":"n","LockDelay":15000000000,
        "Behavior":"delete","TTL":"600000ms","NodeChecks":null,"ServiceChecks":[{"ID":"web","Namespace":""}],
        "Checks":["old"],"CreateIndex":18446744073709551615,"ModifyIndex":18446744073709551614,"Later":{"a":1}}"#;

    #[test]
    fn reads_every_field_exactly() {
        let stored = StoredSession::from_json(serde_json::from_str(RECORDED).unwrap()).unwrap();
        assert_eq!(
            stored.session,
            Session {
                id: "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11".into(),
                name: "x".into(),
                node: "n".into(),
                lock_delay: 15_000_000_000,
                behavior: Behavior::Delete,
                ttl: Some(600 * SECOND),
                node_checks: vec![],
                service_checks: vec![ServiceCheck {
                    id: "web".into(),
                    namespace: None
                }],
                checks: vec!["old".into()],
                namespace: None,
                partition: None,
                create_index: u64::MAX,
                modify_index: u64::MAX - 1,
            }
        );
        assert_eq!(stored.json["Later"]["a"], 1);
        assert_eq!(stored.json["CreateIndex"], u64::MAX);
    }

    #[test]
    fn old_versions_send_no_modify_index() {
        let json = json!({"ID": "a", "CreateIndex": 7});
        assert_eq!(
            StoredSession::from_json(json).unwrap().session.modify_index,
            7
        );
    }

    #[test]
    fn refuses_what_is_not_a_session() {
        for text in [
            "{}",
            "[]",
            "7",
            r#"{"ID":"a"}"#,
            r#"{"ID":"a","CreateIndex":1.5,"ModifyIndex":1}"#,
        ] {
            assert!(
                StoredSession::from_json(serde_json::from_str(text).unwrap()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn leaves_out_what_is_not_set() {
        let new = NewSession::default();
        assert_eq!(create_body(&new).to_string(), "{}");
        let new = NewSession {
            name: Some("ü\"\n".into()),
            lock_delay: Some(500 * MILLISECOND),
            ttl: Some(30 * SECOND),
            checks: Some(vec![]),
            behavior: Some(Behavior::Release),
            service_checks: Some(vec![ServiceCheck {
                id: "a".into(),
                namespace: None,
            }]),
            ..new
        };
        assert_eq!(
            create_body(&new),
            json!({"Name": "ü\"\n", "LockDelay": "500ms", "Behavior": "release", "TTL": "30s", "ServiceChecks": [{"ID": "a"}], "Checks": []})
        );
        let new = NewSession {
            node_checks: Some(vec!["a".into()]),
            checks: Some(vec!["serfHealth".into(), "a".into()]),
            ..new
        };
        assert_eq!(create_body(&new)["NodeChecks"], json!(["a", "serfHealth"]));
        assert_eq!(create_body(&new).get("Checks"), None);
        let new = NewSession {
            ttl: Some(0),
            lock_delay: Some(0),
            ..new
        };
        assert_eq!(create_body(&new)["LockDelay"], "0s");
        assert_eq!(create_body(&new).get("TTL"), None);
    }
}
