//! Keys and transactions of Consul's key-value store, encoded and decoded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A key as Consul stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The flags.
    pub flags: u64,
    /// The value. Transactions do not return it.
    pub value: Vec<u8>,
    /// The session that holds the key.
    pub session: Option<String>,
    /// The raft index of the last change.
    pub modify_index: u64,
}

/// One step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
    /// Fails unless the session holds the key.
    CheckSession {
        /// The key.
        key: &'a str,
        /// The session.
        session: &'a str,
    },
    /// Acquires the key for the session.
    Lock(Put<'a>, &'a str),
    /// Releases the key from the session.
    Unlock(Put<'a>, &'a str),
    /// Writes a key if its index is this one, or if it does not exist and the index is 0.
    Cas(Put<'a>, u64),
    /// Fails unless the key's index is this one.
    CheckIndex {
        /// The key.
        key: &'a str,
        /// The index.
        index: u64,
    },
    /// Deletes a key.
    Delete(&'a str),
    /// Deletes a key if its index is this one.
    DeleteCas {
        /// The key.
        key: &'a str,
        /// The index.
        index: u64,
    },
}

/// What a step writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Put<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a [u8],
    /// The flags.
    pub flags: u64,
}

/// Why a transaction was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the step that failed.
    pub step: usize,
    /// Consul's words.
    pub what: String,
}

/// The body of a transaction.
pub fn body(steps: &[Step<'_>]) -> Value {
    steps
        .iter()
        .map(|step| json!({ "KV": operation(step) }))
        .collect()
}

fn operation(step: &Step<'_>) -> Value {
    let put = |verb: &str, put: &Put<'_>| {
        let value = STANDARD.encode(put.value);
        json!({"Verb": verb, "Key": put.key, "Value": value, "Flags": put.flags})
    };
    let with = |mut operation: Value, name: &str, value: Value| {
        operation[name] = value;
        operation
    };
    match *step {
        Step::CheckSession { key, session } => {
            json!({"Verb": "check-session", "Key": key, "Session": session})
        }
        Step::Lock(what, session) => with(put("lock", &what), "Session", session.into()),
        Step::Unlock(what, session) => with(put("unlock", &what), "Session", session.into()),
        Step::Cas(what, index) => with(put("cas", &what), "Index", index.into()),
        Step::CheckIndex { key, index } => {
            json!({"Verb": "check-index", "Key": key, "Index": index})
        }
        Step::Delete(key) => json!({"Verb": "delete", "Key": key}),
        Step::DeleteCas { key, index } => {
            json!({"Verb": "delete-cas", "Key": key, "Index": index})
        }
    }
}

/// Decodes a list of keys. The error is a phrase for people.
pub fn entries(json: Value) -> Result<Vec<Entry>, String> {
    match json {
        Value::Array(keys) => keys.into_iter().map(entry).collect(),
        _ => Err("it is not a list of keys".to_owned()),
    }
}

/// Decodes the results of a transaction: those of the steps that return a key.
pub fn results(mut json: Value) -> Result<Vec<Entry>, String> {
    let results = list(&mut json, "Results")?.into_iter();
    results
        .map(|mut result| entry(result["KV"].take()))
        .collect()
}

/// Decodes why a transaction was refused.
pub fn refusals(mut json: Value) -> Result<Vec<Refusal>, String> {
    let refusal = |refusal: Value| {
        let step = refusal["OpIndex"].as_u64()?.try_into().ok()?;
        let what = refusal["What"].as_str()?.to_owned();
        Some(Refusal { step, what })
    };
    let refusals = list(&mut json, "Errors")?.into_iter().map(refusal);
    let refusals: Option<Vec<Refusal>> = refusals.collect();
    refusals.ok_or_else(|| malformed("Errors"))
}

fn list(json: &mut Value, name: &str) -> Result<Vec<Value>, String> {
    match json.get_mut(name).map(Value::take) {
        Some(Value::Array(list)) => Ok(list),
        Some(Value::Null) => Ok(Vec::new()),
        _ => Err(malformed(name)),
    }
}

fn malformed(name: &str) -> String {
    format!("its {name} is missing or malformed")
}

/// Decodes a key.
fn entry(mut json: Value) -> Result<Entry, String> {
    let mut take = |name: &str| json.get_mut(name).map_or(Value::Null, Value::take);
    let text = |value: Value, name: &str| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        _ => Err(malformed(name)),
    };
    let key = text(take("Key"), "Key")?;
    let value = text(take("Value"), "Value")?;
    Ok(Entry {
        flags: take("Flags").as_u64().ok_or_else(|| malformed("Flags"))?,
        value: STANDARD.decode(value).map_err(|_| malformed("Value"))?,
        session: Some(text(take("Session"), "Session")?).filter(|session| !session.is_empty()),
        modify_index: take("ModifyIndex")
            .as_u64()
            .ok_or_else(|| malformed("ModifyIndex"))?,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_every_step() {
        let put = Put {
            key: "k",
            value: b"v\0",
            flags: u64::MAX,
        };
        let steps = [
            Step::CheckSession {
                key: "l",
                session: "s",
            },
            Step::Lock(put, "s"),
            Step::Unlock(put, "s"),
            Step::Cas(put, 7),
            Step::CheckIndex { key: "k", index: 7 },
            Step::Delete("k"),
            Step::DeleteCas { key: "k", index: 7 },
        ];
        assert_eq!(
            body(&steps),
            json!([
                {"KV": {"Verb": "check-session", "Key": "l", "Session": "s"}},
                {"KV": {"Verb": "lock", "Key": "k", "Value": "dgA=", "Flags": u64::MAX, "Session": "s"}},
                {"KV": {"Verb": "unlock", "Key": "k", "Value": "dgA=", "Flags": u64::MAX, "Session": "s"}},
                {"KV": {"Verb": "cas", "Key": "k", "Value": "dgA=", "Flags": u64::MAX, "Index": 7}},
                {"KV": {"Verb": "check-index", "Key": "k", "Index": 7}},
                {"KV": {"Verb": "delete", "Key": "k"}},
                {"KV": {"Verb": "delete-cas", "Key": "k", "Index": 7}},
            ])
        );
    }

    #[test]
    fn decodes_what_consul_sent() {
        // Recorded from Consul 1.8.7, with larger flags.
        let parse = |text: &[u8]| -> Value { serde_json::from_slice(text).unwrap() };
        let body = br#"[{"LockIndex":1,"Key":"k","Flags":18446744073709551615,"Value":"dg==","Session":"s","CreateIndex":12,"ModifyIndex":14}]"#;
        let entry = Entry {
            key: "k".into(),
            flags: u64::MAX,
            value: b"v".to_vec(),
            session: Some("s".into()),
            modify_index: 14,
        };
        assert_eq!(entries(parse(body)).unwrap(), [entry]);
        let body = br#"{"Results":[{"KV":{"LockIndex":0,"Key":"k","Flags":0,"Value":null,"CreateIndex":12,"ModifyIndex":14}}],"Errors":null}"#;
        assert_eq!(results(parse(body)).unwrap()[0].modify_index, 14);
        let body = br#"{"Results":null,"Errors":[{"OpIndex":1,"What":"key \"k\" exists"}]}"#;
        let refusal = Refusal {
            step: 1,
            what: r#"key "k" exists"#.into(),
        };
        assert_eq!(refusals(parse(body)).unwrap(), [refusal]);
        assert!(entries(json!({})).is_err());
        assert!(
            entries(json!([{"Key": "k", "Flags": 0, "Value": "!", "ModifyIndex": 1}])).is_err()
        );
        assert!(results(json!({})).is_err());
    }
}
