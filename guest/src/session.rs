//! Consul's JSON of a session, decoded and encoded.

use crate::types::{Behavior, NewSession, ServiceCheck, Session};
use consul_session_core::duration::{parse_go, to_consul};
use serde_json::{Map, Value, json};

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
        let fields = Fields(&json);
        let ttl = match fields.string("TTL")? {
            "" => 0,
            text => parse_go(text)
                .and_then(|ttl| u64::try_from(ttl).ok())
                .ok_or_else(|| format!("TTL `{text}` is not a duration"))?,
        };
        let id = fields.string("ID")?;
        if id.is_empty() {
            return Err("a session has no ID".to_owned());
        }
        let create_index = fields
            .number("CreateIndex", Value::as_u64)?
            .ok_or("CreateIndex is missing")?;
        let session = Session {
            id: id.to_owned(),
            name: fields.string("Name")?.to_owned(),
            node: fields.string("Node")?.to_owned(),
            lock_delay: fields.number("LockDelay", Value::as_i64)?.unwrap_or(0),
            behavior: match fields.string("Behavior")? {
                "" | "release" => Behavior::Release,
                "delete" => Behavior::Delete,
                other => return Err(format!("unknown Behavior `{other}`")),
            },
            ttl: (ttl > 0).then_some(ttl),
            node_checks: fields.list("NodeChecks", |value| value.as_str().map(str::to_owned))?,
            service_checks: fields.list("ServiceChecks", service_check)?,
            checks: fields.list("Checks", |value| value.as_str().map(str::to_owned))?,
            namespace: fields.non_empty_string("Namespace")?,
            partition: fields.non_empty_string("Partition")?,
            create_index,
            // Old versions of Consul did not send it.
            modify_index: fields
                .number("ModifyIndex", Value::as_u64)?
                .unwrap_or(create_index),
        };
        Ok(StoredSession { session, json })
    }
}

fn service_check(value: &Value) -> Option<ServiceCheck> {
    let fields = Fields(value);
    Some(ServiceCheck {
        id: value.get("ID")?.as_str()?.to_owned(),
        namespace: fields.non_empty_string("Namespace").ok()?,
    })
}

/// The fields of one of Consul's objects. A missing field and `null` are the same.
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn string(&self, name: &str) -> Result<&'a str, String> {
        match self.get(name) {
            None => Ok(""),
            Some(value) => value
                .as_str()
                .ok_or_else(|| format!("{name} is not a string")),
        }
    }

    fn non_empty_string(&self, name: &str) -> Result<Option<String>, String> {
        let text = self.string(name)?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn number<N>(&self, name: &str, read: fn(&Value) -> Option<N>) -> Result<Option<N>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(number) => Ok(Some(number)),
                None => Err(format!("{name} is not a whole number in its range")),
            },
        }
    }

    fn list<V>(&self, name: &str, read: fn(&Value) -> Option<V>) -> Result<Vec<V>, String> {
        let malformed = || format!("{name} is malformed");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(value) => value
                .as_array()
                .ok_or_else(malformed)?
                .iter()
                .map(|value| read(value).ok_or_else(malformed))
                .collect(),
        }
    }
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
            let mut all = node_checks.clone();
            for check in checks {
                if !all.contains(check) {
                    all.push(check.clone());
                }
            }
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
