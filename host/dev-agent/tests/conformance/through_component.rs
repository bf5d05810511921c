//! Random operations have the same results through the component as when sent directly.

use super::random;
use super::server::{RUNTIME, Server, start};
use consul_session::{Client, Runtime};
use consul_session_dev_agent::DevAgent;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

const NODE: &str = "through-component";

/// An operation. A number is that of a session, in order of creation.
#[derive(Clone, Debug)]
enum Op {
    Create {
        name: &'static str,
        ttl: Option<u64>,
        delay: Option<&'static str>,
        delete: bool,
        checks: Option<bool>,
    },
    Destroy(usize),
    Info(usize),
    Renew(usize),
    Node(&'static str),
    List,
}

fn op() -> impl Strategy<Value = Op> {
    let name = prop::sample::select(vec!["", "a", "ü \"x\"", "a/../b"]);
    let ttl = prop::option::of(prop::sample::select(vec![600_u64, 3_600, 86_400]));
    let delay = prop::option::of(prop::sample::select(vec!["0s", "500ms", "15s", "60s"]));
    prop_oneof![
        4 => (name, ttl, delay, any::<bool>(), prop::option::of(any::<bool>()))
            .prop_map(|(name, ttl, delay, delete, checks)| Op::Create { name, ttl, delay, delete, checks }),
        2 => (0..8_usize).prop_map(Op::Destroy),
        2 => (0..8_usize).prop_map(Op::Info),
        2 => (0..8_usize).prop_map(Op::Renew),
        1 => prop::sample::select(vec![NODE, "nobody", "THROUGH-component"]).prop_map(Op::Node),
        2 => Just(Op::List),
    ]
}

/// The sessions of one side of the comparison, by number and by id.
#[derive(Default)]
struct Ids {
    made: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Ids {
    fn add(&mut self, id: &str) {
        self.numbers.insert(id.to_owned(), self.made.len());
        self.made.push(id.to_owned());
    }

    /// Returns the id of a session that was created, or of none.
    fn get(&self, number: usize) -> String {
        self.made
            .get(number)
            .cloned()
            .unwrap_or_else(|| "00000000-0000-0000-0000-000000000000".to_owned())
    }

    /// Replaces ids by numbers, and sorts by number.
    fn normal(&self, sessions: &Value) -> Value {
        let mut sessions: Vec<Value> = sessions.as_array().unwrap().clone();
        for session in &mut sessions {
            session["ID"] = self.numbers[session["ID"].as_str().unwrap()].into();
        }
        sessions.sort_by_key(|session| session["ID"].as_u64());
        sessions.into()
    }
}

fn body(op: &Op) -> Map<String, Value> {
    let mut body = Map::new();
    if let Op::Create {
        name,
        ttl,
        delay,
        delete,
        checks,
    } = op
    {
        if !name.is_empty() {
            body.insert("Name".into(), (*name).into());
        }
        if let Some(ttl) = ttl {
            body.insert("TTL".into(), format!("{ttl}s").into());
        }
        if let Some(delay) = delay {
            body.insert("LockDelay".into(), (*delay).into());
        }
        if *delete {
            body.insert("Behavior".into(), "delete".into());
        }
        if let Some(health) = checks {
            let checks = if *health {
                json!(["serfHealth"])
            } else {
                json!([])
            };
            body.insert("NodeChecks".into(), checks);
        }
    }
    body
}

fn parameters(op: &Op, ids: &Ids) -> Value {
    match op {
        Op::Create {
            name,
            ttl,
            delay,
            delete,
            checks,
        } => {
            let checks = checks.map(|health| if health { vec!["serfHealth"] } else { vec![] });
            json!({"name": name, "ttl": ttl, "delay": delay, "behavior": delete.then_some("delete"), "node_checks": checks, "unique": false})
        }
        Op::Destroy(number) => json!({"state": "absent", "id": ids.get(*number)}),
        Op::Info(number) => json!({"state": "info", "id": ids.get(*number)}),
        Op::Renew(number) => json!({"state": "renew", "id": ids.get(*number)}),
        Op::Node(node) => json!({"state": "node", "node": node}),
        Op::List => json!({"state": "list"}),
    }
}

/// Runs an operation directly.
fn directly(server: &Server, op: &Op, ids: &mut Ids) -> Value {
    match op {
        Op::Create { .. } => {
            let id = server.create(&Value::from(body(op)).to_string());
            ids.add(&id);
            ids.normal(&server.get(&format!("/v1/session/info/{id}")).json())
        }
        Op::Destroy(number) => {
            let id = ids.get(*number);
            let there = server.info(&id).is_some();
            server.destroy(&id);
            there.into()
        }
        Op::Info(number) => {
            let answer = server.get(&format!("/v1/session/info/{}", ids.get(*number)));
            ids.normal(&answer.json())
        }
        Op::Renew(number) => {
            let answer = server.put(&format!("/v1/session/renew/{}", ids.get(*number)), "");
            if answer.status == 404 {
                Value::Null
            } else {
                ids.normal(&answer.json())
            }
        }
        Op::Node(node) => ids.normal(&server.get(&format!("/v1/session/node/{node}")).json()),
        Op::List => ids.normal(&server.get("/v1/session/list").json()),
    }
}

/// Runs an operation through the component.
fn through(client: &Client, op: &Op, ids: &mut Ids) -> Result<Value, TestCaseError> {
    let result = RUNTIME.block_on(client.action(&parameters(op, ids).to_string()));
    let result: Value = match (&result, op) {
        (Ok(result), _) => serde_json::from_str(result.as_json()).unwrap(),
        (Err(error), Op::Renew(_)) if error.is_not_found() => return Ok(Value::Null),
        (Err(failure), _) => return Err(TestCaseError::fail(format!("{op:?}: {failure}"))),
    };
    Ok(match op {
        Op::Create { .. } => {
            ids.add(result["session_id"].as_str().unwrap());
            ids.normal(&json!([result["session"]]))
        }
        Op::Destroy(_) => result["changed"].clone(),
        Op::Renew(_) => ids.normal(&json!([result["session"]])),
        Op::Info(_) | Op::Node(_) | Op::List => ids.normal(&result["sessions"]),
    })
}

#[test]
fn the_same_through_the_component_as_directly() {
    let runtime = Runtime::new().unwrap();
    random::check(64, &prop::collection::vec(op(), 1..30), |ops| {
        let (_direct, server) = start(DevAgent::builder().node(NODE));
        let (agent, _) = start(DevAgent::builder().node(NODE));
        let client = Client::builder()
            .address(agent.address())
            .timeout(std::time::Duration::from_secs(60))
            .build(&runtime)
            .unwrap();
        let (mut ours, mut theirs) = (Ids::default(), Ids::default());
        for op in &ops {
            let through = through(&client, op, &mut ours)?;
            let directly = directly(&server, op, &mut theirs);
            prop_assert_eq!(through, directly, "{:?}", op);
        }
        Ok(())
    });
}
