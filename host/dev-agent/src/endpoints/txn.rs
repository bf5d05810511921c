//! `/v1/txn`: transactions.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::error::ErrorResponse;
use crate::go::base64;
use crate::go::json::Json;
use crate::request::Request;
use crate::response::Response;
use crate::state::txn::{self, Op, Transaction};

/// Consul's limit of operations in a transaction.
const MAX_OPS: usize = 64;

/// `PUT /v1/txn`
pub(crate) async fn handle(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    let body = request
        .read_body(agent.limits.txn_bytes, "txn_max_req_len")
        .await?;
    let ops = decode(&body)
        .map_err(|why| ErrorResponse::bad_request(format!("Failed to parse body: {why}")))?;
    if ops.len() > MAX_OPS {
        let text = format!(
            "Transaction contains too many operations ({} > {MAX_OPS})",
            ops.len()
        );
        return Err(ErrorResponse::payload_too_large(text));
    }
    let read_only = txn::is_read_only(&ops);
    if read_only {
        request.blocking_options()?;
    }
    agent.check_datacenter(request.datacenter())?;
    let access = agent.access(request)?;
    let Transaction { outcome, filtered } =
        agent.state.with(|state| state.transact(ops, access))?;
    let filtered = filtered && agent.reports_filtering(access);
    let (status, results, errors) = match outcome {
        Ok(results) => (StatusCode::OK, json!(results), Value::Null),
        Err(errors) => (StatusCode::CONFLICT, Value::Null, json!(errors)),
    };
    let mut body = json!({ "Results": results, "Errors": errors });
    if let (true, Value::Object(body)) = (read_only, &mut body) {
        let extended = agent.version.extends_read_transactions;
        body.insert("Index".into(), u64::from(extended).into());
        body.insert("LastContact".into(), 0.into());
        body.insert("KnownLeader".into(), true.into());
        body.insert("ConsistencyLevel".into(), "".into());
        if extended {
            body.insert("NotModified".into(), false.into());
            // The number of `blocking-query`.
            body.insert("Backend".into(), 0.into());
            body.insert("ResultsFilteredByACLs".into(), filtered.into());
        }
    }
    let mut response = Response::json(&body);
    response.status = status;
    Ok(if read_only {
        response.with_known_leader()
    } else {
        response
    })
}

/// Decodes the operations of a transaction.
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
                    return Err(format!(
                        "the development agent does not support {kind} operations"
                    ));
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
                op.put.value = base64::decode(&text)?.into();
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
