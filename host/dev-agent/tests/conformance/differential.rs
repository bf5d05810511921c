//! Random operations on the development agent and on a real Consul: the responses must be equal,
//! except for ids and for indexes, whose order must be equal.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::random;
use super::server::{Answer, NOBODY, Server, pair};

const KEYS: &[&str] = &["a", "b", "b/c", "b/c/d"];
const PREFIXES: &[&str] = &["", "b", "b/", "z"];

/// A session: one of those created so far, by number modulo their count, or none.
#[derive(Clone, Debug)]
enum Who {
    Created(usize),
    InUpperCase(usize),
    Nobody,
    Malformed,
}

#[derive(Clone, Copy, Debug)]
enum Cas {
    Zero,
    Stale,
    Current,
}

#[derive(Clone, Debug)]
enum Op {
    Create(&'static str),
    Destroy(Who),
    Renew(Who),
    Info(Who),
    List,
    Node,
    Put(&'static str, &'static str, u8),
    Acquire(&'static str, &'static str, Who),
    Release(&'static str, &'static str, Who),
    Cas(&'static str, &'static str, Cas),
    Get(&'static str),
    Recurse(&'static str),
    Keys(&'static str),
    Delete(&'static str),
    DeleteCas(&'static str, Cas),
    DeleteTree(&'static str),
    /// Registers a node with a check of this status.
    Check(&'static str),
    Health,
    CatalogNode,
    Deregister(&'static str),
    Txn(Vec<(&'static str, &'static str, Who, Cas)>),
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Who::Created),
        1 => (0..4_usize).prop_map(Who::InUpperCase),
        1 => Just(Who::Nobody),
        1 => Just(Who::Malformed),
    ]
}

fn cas() -> impl Strategy<Value = Cas> {
    prop_oneof![Just(Cas::Zero), Just(Cas::Stale), Just(Cas::Current)]
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(KEYS)
}

fn prefix() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PREFIXES)
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["", "x", "y"][..])
}

fn op() -> impl Strategy<Value = Op> {
    let body = prop::sample::select(
        &[
            r#"{"LockDelay":0}"#,
            r#"{"LockDelay":0,"Behavior":"delete"}"#,
            r#"{"TTL":"1h","Name":"n"}"#,
            r#"{"LockDelay":"60s","Behavior":"delete"}"#,
            r#"{"Checks":[],"LockDelay":"500ns"}"#,
            r#"{"TTL":"1s"}"#,
            r#"{"Node":"differential","NodeChecks":["c"],"LockDelay":0}"#,
            r#"{"Node":"differential","NodeChecks":[],"LockDelay":0}"#,
            r#"{"Name":1}"#,
        ][..],
    );
    let verb = prop::sample::select(
        &[
            "set",
            "cas",
            "lock",
            "unlock",
            "get",
            "get-tree",
            "check-index",
            "check-session",
            "check-not-exists",
            "delete",
            "delete-tree",
            "delete-cas",
        ][..],
    );
    prop_oneof![
        3 => body.prop_map(Op::Create),
        2 => who().prop_map(Op::Destroy),
        1 => who().prop_map(Op::Renew),
        1 => who().prop_map(Op::Info),
        1 => Just(Op::List),
        1 => Just(Op::Node),
        3 => (key(), value(), 0..3_u8).prop_map(|(key, value, flags)| Op::Put(key, value, flags)),
        6 => (key(), value(), who()).prop_map(|(key, value, who)| Op::Acquire(key, value, who)),
        3 => (key(), value(), who()).prop_map(|(key, value, who)| Op::Release(key, value, who)),
        2 => (key(), value(), cas()).prop_map(|(key, value, cas)| Op::Cas(key, value, cas)),
        2 => key().prop_map(Op::Get),
        1 => prefix().prop_map(Op::Recurse),
        1 => prefix().prop_map(Op::Keys),
        1 => key().prop_map(Op::Delete),
        1 => (key(), cas()).prop_map(|(key, cas)| Op::DeleteCas(key, cas)),
        1 => prefix().prop_map(Op::DeleteTree),
        2 => prop::sample::select(&["passing", "warning", "critical", ""][..]).prop_map(Op::Check),
        1 => Just(Op::Health),
        1 => Just(Op::CatalogNode),
        1 => prop::sample::select(&["", r#","CheckID":"C""#, r#","ServiceID":"s""#][..])
            .prop_map(Op::Deregister),
        4 => prop::collection::vec((verb, key(), who(), cas()), 1..5).prop_map(Op::Txn),
    ]
}

/// A server, the sessions created on it, and its responses.
struct Run<'a> {
    server: &'a Server,
    prefix: String,
    ids: Vec<String>,
    answers: Vec<Value>,
}

impl Run<'_> {
    fn start<'a>(server: &'a Server, prefix: &str) -> Run<'a> {
        let run = Run {
            server,
            prefix: prefix.into(),
            ids: Vec::new(),
            answers: Vec::new(),
        };
        // Changes every table, in the same order on both servers.
        for call in ["register", "deregister"] {
            let body = r#"{"Node":"differential","Address":"10.0.0.1"}"#;
            let body = if call == "register" {
                body
            } else {
                r#"{"Node":"differential"}"#
            };
            server
                .put(&format!("/v1/catalog/{call}"), body)
                .is(200, "true");
        }
        let id = server.create("");
        server.destroy(&id);
        server.put(&run.path("first"), "").is(200, "true");
        server.delete(&run.path("first")).is(200, "true");
        run
    }

    fn path(&self, key: &str) -> String {
        format!("/v1/kv/{}{key}", self.prefix)
    }

    fn id(&self, who: &Who) -> String {
        match who {
            Who::Created(number) | Who::InUpperCase(number) if !self.ids.is_empty() => {
                let id = &self.ids[number % self.ids.len()];
                match who {
                    Who::InUpperCase(_) => id.to_uppercase(),
                    _ => id.clone(),
                }
            }
            Who::Malformed => "malformed".into(),
            _ => NOBODY.into(),
        }
    }

    fn cas(&self, key: &str, cas: Cas) -> u64 {
        match cas {
            Cas::Zero => 0,
            Cas::Stale => 1,
            Cas::Current => {
                let entry = self.server.key(&format!("{}{key}", self.prefix));
                entry["ModifyIndex"].as_u64().unwrap_or(0)
            }
        }
    }

    fn step(&mut self, op: &Op) {
        let server = self.server;
        let answer = match op {
            Op::Create(body) => {
                let answer = server.put("/v1/session/create", body);
                if answer.status == 200 {
                    let id = answer.json()["ID"].as_str().unwrap().to_owned();
                    self.ids.push(id);
                }
                answer
            }
            Op::Destroy(who) => server.put(&format!("/v1/session/destroy/{}", self.id(who)), ""),
            Op::Renew(who) => server.put(&format!("/v1/session/renew/{}", self.id(who)), ""),
            Op::Info(who) => server.get(&format!("/v1/session/info/{}", self.id(who))),
            Op::List => server.get("/v1/session/list"),
            Op::Node => server.get(&format!("/v1/session/node/{}", server.node())),
            Op::Put(key, value, flags) => {
                server.put(&format!("{}?flags={flags}", self.path(key)), value)
            }
            Op::Acquire(key, value, who) => server.put(
                &format!("{}?acquire={}", self.path(key), self.id(who)),
                value,
            ),
            Op::Release(key, value, who) => server.put(
                &format!("{}?release={}", self.path(key), self.id(who)),
                value,
            ),
            Op::Cas(key, value, cas) => {
                let cas = self.cas(key, *cas);
                server.put(&format!("{}?cas={cas}", self.path(key)), value)
            }
            Op::Get(key) => server.get(&self.path(key)),
            Op::Recurse(prefix) => server.get(&format!("{}?recurse", self.path(prefix))),
            Op::Keys(prefix) => server.get(&format!("{}?keys&separator=/", self.path(prefix))),
            Op::Delete(key) => server.delete(&self.path(key)),
            Op::DeleteCas(key, cas) => {
                let cas = self.cas(key, *cas);
                server.delete(&format!("{}?cas={cas}", self.path(key)))
            }
            Op::DeleteTree(prefix) => server.delete(&format!("{}?recurse", self.path(prefix))),
            Op::Check(status) => {
                let body = json!({
                    "Node": "differential", "Address": "10.0.0.1", "Service": {"Service": "s"},
                    "Check": {"CheckID": "c", "Status": status, "ServiceID": "s"},
                });
                server.put("/v1/catalog/register", body.to_string())
            }
            Op::Health => server.get("/v1/health/node/differential"),
            Op::CatalogNode => server.get("/v1/catalog/node/differential"),
            Op::Deregister(what) => {
                let body = format!(r#"{{"Node":"differential"{what}}}"#);
                server.put("/v1/catalog/deregister", body)
            }
            Op::Txn(ops) => {
                let op = |(verb, key, who, cas): &(&str, &str, Who, Cas)| {
                    json!({"KV": {
                        "Verb": verb, "Key": format!("{}{key}", self.prefix), "Value": "eA==",
                        "Session": self.id(who), "Index": self.cas(key, *cas),
                    }})
                };
                let ops: Vec<Value> = ops.iter().map(op).collect();
                server.put("/v1/txn", json!(ops).to_string())
            }
        };
        let answer = self.normalised(&answer);
        self.answers.push(answer);
    }

    /// Removes the expected differences from a response: ids become numbers, the name of the node a
    /// constant, and indexes are marked for `finish`, which replaces them by their rank.
    fn normalised(&self, answer: &Answer) -> Value {
        let mut text = answer.body.replace(&self.server.node(), "NODE");
        for (number, id) in self.ids.iter().enumerate() {
            text = text.replace(id, &format!("session {number:03}"));
            text = text.replace(&id.to_uppercase(), &format!("SESSION {number:03}"));
        }
        let mut body = serde_json::from_str(&text).unwrap_or_else(|_| json!(text.trim_end()));
        mark(&mut body);
        if let Some(rows) = body.as_array_mut() {
            // Lists contain sessions of other tests, and the order of ids is random.
            let mine = |row: &Value| match row.get("ID").and_then(Value::as_str) {
                Some(id) => id.starts_with("session"),
                None => true,
            };
            rows.retain(mine);
            if rows.iter().all(|row| row.get("ID").is_some()) {
                rows.sort_by_key(|row| row["ID"].to_string());
            }
        }
        let index = answer.header("X-Consul-Index");
        let index = index.map(|index| json!({"#": index.parse::<u64>().unwrap()}));
        json!({"status": answer.status, "body": body, "index": index})
    }

    fn finish(self) -> Vec<Value> {
        for id in &self.ids {
            self.server.destroy(id);
        }
        let node = r#"{"Node":"differential"}"#;
        self.server
            .put("/v1/catalog/deregister", node)
            .is(200, "true");
        let path = self.path("?recurse");
        self.server.delete(&path).is(200, "true");
        let mut answers = self.answers;
        let mut indexes = Vec::new();
        answers
            .iter_mut()
            .for_each(|answer| each(answer, &mut |index| indexes.push(*index)));
        indexes.sort_unstable();
        indexes.dedup();
        let rank = |index: &mut u64| *index = indexes.binary_search(index).unwrap() as u64;
        answers
            .iter_mut()
            .for_each(|answer| each(answer, &mut { rank }));
        answers
    }
}

/// Marks every index in a response, including those in texts.
fn mark(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "CreateIndex" || name == "ModifyIndex" {
                    *value = json!({"#": value.as_u64().unwrap()});
                } else {
                    mark(value);
                }
            }
        }
        Value::String(text) => {
            let parts = text
                .split_once("current modify index ")
                .and_then(|(before, after)| {
                    let (index, expected) = after.split_once(" != ")?;
                    let [index, expected] = [index, expected].map(|text| text.parse::<u64>().ok());
                    Some(json!([before, {"#": index?}, {"#": expected?}]))
                });
            if let Some(parts) = parts {
                *value = parts;
            }
        }
        _ => {}
    }
}

fn each(value: &mut Value, f: &mut impl FnMut(&mut u64)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, f)),
        Value::Object(fields) => match fields.get_mut("#") {
            Some(marked) => {
                let mut index = marked.as_u64().unwrap();
                f(&mut index);
                *marked = json!(index);
            }
            None => fields.values_mut().for_each(|value| each(value, f)),
        },
        _ => {}
    }
}

#[test]
fn the_same_operations_have_the_same_results() {
    pair(|agent, real| {
        let case = Cell::new(0);
        let epoch = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_millis();
        let ops = prop::collection::vec(op(), 1..60);
        random::check(60, &ops, |ops| {
            case.set(case.get() + 1);
            // Each case has a prefix of its own, as lock-delays outlive it.
            let prefix = format!("differential/{epoch}/{}/", case.get());
            let [agent, real] = [agent, real].map(|server| {
                let mut run = Run::start(server, &prefix);
                ops.iter().for_each(|op| run.step(op));
                run.finish()
            });
            for ((op, agent), real) in ops.iter().zip(agent).zip(real) {
                if agent != real {
                    let text = format!("{op:?}\n  agent: {agent}\n  real:  {real}");
                    return Err(TestCaseError::fail(text));
                }
            }
            Ok(())
        });
    });
}
