//! `/v1/kv/..` and `/v1/txn`

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::{Agent, Refusal, Reply, Request, permission_denied};
use crate::json::Json;
use crate::kv::{Entry, Put};
use crate::state::Query;
use crate::txn::{self, Op};

/// Consul takes no more operations in one transaction.
const MAX_TXN_OPS: usize = 64;

pub(super) async fn kv(agent: &Agent, request: Request) -> Result<Reply, Refusal> {
    request.blocking()?;
    match request.method {
        Method::PUT => put(agent, request).await,
        Method::DELETE => delete(agent, &request),
        _ if request.params.has("keys") => keys(agent, &request).await,
        _ if request.params.has("recurse") => recurse(agent, &request).await,
        _ => get(agent, &request).await,
    }
}

fn key(request: &Request) -> Result<&str, Refusal> {
    if request.tail.is_empty() {
        return Err(Reply::text(StatusCode::BAD_REQUEST, "Missing key name").into());
    }
    request.no_namespace()?;
    Ok(&request.tail)
}

async fn get(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    let key = key(request)?;
    let (index, entry) = agent
        .read(request, Query::Key(key.into()), |state, access| {
            access.is_allowed().then(|| state.kv.get(key).cloned())
        })
        .await?;
    let reply = match entry.ok_or_else(permission_denied)? {
        None => Reply::empty(StatusCode::NOT_FOUND),
        Some(entry) if request.params.has("raw") => {
            // The value is anybody's: a browser must not take it for a page of the agent.
            let mut reply = Reply::empty(StatusCode::OK)
                .with(CONTENT_TYPE.as_str(), "text/plain")
                .with("X-Content-Type-Options", "nosniff")
                .with("Content-Security-Policy", "sandbox");
            reply.body = entry.value.clone();
            reply
        }
        Some(entry) => Reply::json(&[entry]),
    };
    Ok(reply.with_index(index))
}

async fn recurse(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    let (index, entries) = list(agent, request).await?;
    let reply = if entries.is_empty() {
        Reply::empty(StatusCode::NOT_FOUND)
    } else {
        Reply::json(&entries)
    };
    Ok(reply.with_index(index))
}

async fn keys(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    let prefix = &request.tail;
    let (index, entries) = list(agent, request).await?;
    let mut keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let separator = request.params.get("separator").unwrap_or_default();
    if !separator.is_empty() {
        for key in &mut keys {
            if let Some(at) = key[prefix.len()..].find(separator) {
                *key = &key[..prefix.len() + at + separator.len()];
            }
        }
        keys.dedup();
    }
    let reply = if keys.is_empty() && !prefix.is_empty() {
        Reply::empty(StatusCode::NOT_FOUND)
    } else {
        Reply::json(&keys)
    };
    Ok(reply.with_index(index))
}

async fn list(agent: &Agent, request: &Request) -> Result<(u64, Vec<Arc<Entry>>), Refusal> {
    request.no_namespace()?;
    let prefix = &request.tail;
    agent
        .read(request, Query::Prefix(prefix.clone()), |state, access| {
            let readable = state.kv.list(prefix).filter(|_| access.is_allowed());
            readable.cloned().collect()
        })
        .await
}

async fn put(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    let key = key(&request)?.to_owned();
    request.params.at_most_one(&["acquire", "cas", "release"])?;
    let flags = request.params.number("flags")?.unwrap_or(0);
    let cas = request.params.number("cas")?;
    // Unlike Consul 1.8, a chunked body is held to the limit as well; newer ones do that too.
    let value = request
        .read_body(agent.limits.value_bytes, "kv_max_value_size")
        .await?;
    may_write(agent, &request)?;
    let put = Put { key, value, flags };
    let params = &request.params;
    let done = agent.hub.with(|state| {
        if let Some(session) = params.get("acquire") {
            state.kv_acquire(put, session)
        } else if let Some(session) = params.get("release") {
            state.kv_release(put, session)
        } else if let Some(expected) = cas {
            state.kv_cas(put, expected)
        } else {
            state.kv_set(put).map(|()| true)
        }
    })?;
    Ok(Reply::json(&done))
}

fn delete(agent: &Agent, request: &Request) -> Result<Reply, Refusal> {
    let params = &request.params;
    params.at_most_one(&["cas", "recurse"])?;
    let tree = params.has("recurse");
    let key = if tree {
        request.no_namespace()?;
        &request.tail
    } else {
        key(request)?
    };
    let cas = params.number("cas")?;
    may_write(agent, request)?;
    let done = agent.hub.with(|state| match cas {
        Some(expected) => state.kv_delete_cas(key, expected),
        None if tree => {
            state.kv_delete_tree(key);
            true
        }
        None => {
            state.kv_delete(key);
            true
        }
    });
    Ok(Reply::json(&done))
}

fn may_write(agent: &Agent, request: &Request) -> Result<(), Refusal> {
    request.same_datacenter(agent)?;
    if !request.access(agent)?.is_allowed() {
        return Err(permission_denied());
    }
    Ok(())
}

pub(super) async fn txn(agent: &Agent, mut request: Request) -> Result<Reply, Refusal> {
    let body = request
        .read_body(agent.limits.txn_bytes, "txn_max_req_len")
        .await?;
    let ops = decode(&body).map_err(|why| {
        let text = format!("Failed to parse body: {why}");
        Reply::text(StatusCode::BAD_REQUEST, text)
    })?;
    if ops.len() > MAX_TXN_OPS {
        let text = format!(
            "Transaction contains too many operations ({} > {MAX_TXN_OPS})",
            ops.len()
        );
        return Err(Reply::text(StatusCode::PAYLOAD_TOO_LARGE, text).into());
    }
    let read_only = txn::is_read_only(&ops);
    if read_only {
        request.blocking()?;
    }
    request.same_datacenter(agent)?;
    let access = request.access(agent)?;
    let outcome = agent.hub.with(|state| state.transact(ops, access))?;
    let (status, results, errors) = match outcome {
        Ok(results) => (StatusCode::OK, json!(results), Value::Null),
        Err(errors) => (StatusCode::CONFLICT, Value::Null, json!(errors)),
    };
    let mut answer = json!({ "Results": results, "Errors": errors });
    if let (true, Value::Object(answer)) = (read_only, &mut answer) {
        answer.insert("Index".into(), 0.into());
        answer.insert("LastContact".into(), 0.into());
        answer.insert("KnownLeader".into(), true.into());
        answer.insert("ConsistencyLevel".into(), "".into());
    }
    let mut reply = Reply::json(&answer);
    reply.status = status;
    Ok(if read_only {
        reply.with_leader()
    } else {
        reply
    })
}

/// The operations of a transaction. Unlike everywhere else, unknown fields are an error.
fn decode(body: &[u8]) -> Result<Vec<Op>, String> {
    let body = Json::parse(body)?;
    let mut ops = Vec::new();
    for item in body.items("value of type api.TxnOps")?.unwrap_or_default() {
        for (kind, op) in item.fields("value of type api.TxnOp")? {
            match kind.to_ascii_lowercase().as_str() {
                "kv" if *op == Json::Null => {}
                "kv" => ops.push(decode_op(op)?),
                "node" | "service" | "check" if *op == Json::Null => {}
                "node" | "service" | "check" => {
                    return Err(format!("the development agent runs no {kind} operations"));
                }
                _ => return Err(format!("json: unknown field {kind:?}")),
            }
        }
    }
    Ok(ops)
}

fn decode_op(json: &Json) -> Result<Op, String> {
    let mut op = Op::default();
    let mut namespace = String::new();
    for (name, value) in json.fields("struct field TxnOp.KV of type api.KVTxnOp")? {
        match name.to_ascii_lowercase().as_str() {
            "verb" => value.string("KVTxnOp.KV.Verb", &mut op.verb)?,
            "key" => value.string("KVTxnOp.KV.Key", &mut op.put.key)?,
            "value" => {
                let mut text = String::new();
                value.string("KVTxnOp.KV.Value", &mut text)?;
                op.put.value = decode_value(&text)?;
            }
            "flags" => value.integer("KVTxnOp.KV.Flags", &mut op.put.flags)?,
            "index" => value.integer("KVTxnOp.KV.Index", &mut op.index)?,
            "session" => value.string("KVTxnOp.KV.Session", &mut op.session)?,
            "namespace" => value.string("KVTxnOp.KV.Namespace", &mut namespace)?,
            _ => return Err(format!("json: unknown field {name:?}")),
        }
    }
    Ok(op)
}

fn decode_value(text: &str) -> Result<Bytes, String> {
    // Go skips line breaks inside base64.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    match GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(&text) {
        Ok(value) => Ok(value.into()),
        Err(_) => {
            let at = bad_base64(text.as_bytes());
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

/// Where Go gives up on bad base64: at a byte that does not belong there, or at the beginning of four that are too few.
fn bad_base64(text: &[u8]) -> usize {
    for (number, four) in text.chunks(4).enumerate() {
        let start = number * 4;
        for (place, byte) in four.iter().enumerate() {
            let at = start + place;
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {}
                b'=' if place == 2 && four.get(3) == Some(&b'=') => return at + 2,
                b'=' if place == 2 && four.len() == 3 => return text.len(),
                b'=' if place == 3 => return at + 1,
                _ => return at,
            }
        }
        if four.len() < 4 {
            return start;
        }
    }
    text.len()
}
