//! `/v1/kv/`: the key-value store.

use std::sync::Arc;

use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};

use crate::agent::{Agent, Read};
use crate::error::ErrorResponse;
use crate::request::Request;
use crate::response::Response;
use crate::state::Query;
use crate::state::kv::{Entry, Put};

/// All methods of `/v1/kv/:key`.
pub(crate) async fn handle(
    agent: &Agent,
    request: &mut Request,
) -> Result<Response, ErrorResponse> {
    request.blocking_options()?;
    let key = agent.version.key_of_path(&request.suffix);
    request.suffix = key.map_err(ErrorResponse::internal_server_error)?;
    match request.method {
        Method::PUT => put(agent, request).await,
        Method::DELETE => delete(agent, request),
        _ if request.params.has("keys") => keys(agent, request).await,
        _ if request.params.has("recurse") => recurse(agent, request).await,
        _ => get(agent, request).await,
    }
}

fn key(request: &Request) -> Result<&str, ErrorResponse> {
    if request.suffix.is_empty() {
        return Err(ErrorResponse::bad_request("Missing key name"));
    }
    request.reject_namespace()?;
    Ok(&request.suffix)
}

async fn get(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    let key = key(request)?;
    let Read { meta, rows } = agent
        .read(request, Query::Key(key.into()), |state, _| {
            state.kv.get(key).cloned()
        })
        .await?;
    agent.require(request, "key:read", key)?;
    let response = match rows {
        None => Response::empty(StatusCode::NOT_FOUND),
        Some(entry) if request.params.has("raw") => {
            // Consul's headers, which keep a browser from rendering the value as a page.
            let mut response = Response::empty(StatusCode::OK)
                .with(CONTENT_TYPE.as_str(), agent.version.raw_value_type)
                .with("X-Content-Type-Options", "nosniff")
                .with("Content-Security-Policy", "sandbox");
            response.body = entry.value.clone();
            response
        }
        Some(entry) => Response::json(&[entry]),
    };
    Ok(response.with_query_meta(meta))
}

async fn recurse(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    let Read { meta, rows } = list(agent, request).await?;
    let response = if rows.is_empty() {
        Response::empty(StatusCode::NOT_FOUND)
    } else {
        Response::json(&rows)
    };
    Ok(response.with_query_meta(meta))
}

async fn keys(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    let prefix = &request.suffix;
    let Read { meta, rows } = list(agent, request).await?;
    let mut keys: Vec<&str> = rows.iter().map(|entry| entry.key.as_str()).collect();
    let separator = request.params.get("separator").unwrap_or_default();
    if !separator.is_empty() {
        for key in &mut keys {
            if let Some(at) = key[prefix.len()..].find(separator) {
                *key = &key[..prefix.len() + at + separator.len()];
            }
        }
        keys.dedup();
    }
    let response = if keys.is_empty() && !prefix.is_empty() {
        Response::empty(StatusCode::NOT_FOUND)
    } else {
        Response::json(&keys)
    };
    Ok(response.with_query_meta(meta))
}

async fn list(agent: &Agent, request: &Request) -> Result<Read<Vec<Arc<Entry>>>, ErrorResponse> {
    request.reject_namespace()?;
    let prefix = &request.suffix;
    agent
        .read(request, Query::Prefix(prefix.clone()), |state, access| {
            let readable = state.kv.list(prefix).filter(|_| access.is_allowed());
            readable.cloned().collect()
        })
        .await
}

async fn put(agent: &Agent, request: &mut Request) -> Result<Response, ErrorResponse> {
    let key = key(request)?.to_owned();
    request.params.at_most_one(&["acquire", "cas", "release"])?;
    let flags = request.params.uint("flags")?.unwrap_or(0);
    let cas = request.params.uint("cas")?;
    // Consul 1.8 does not limit a chunked body; newer versions do.
    let value = request
        .read_body(agent.limits.value_bytes, "kv_max_value_size")
        .await?;
    authorize_write(agent, request, &key)?;
    let put = Put { key, value, flags };
    let params = &request.params;
    let done = agent.state.with(|state| {
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
    Ok(Response::json(&done))
}

fn delete(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    let params = &request.params;
    params.at_most_one(&["cas", "recurse"])?;
    let tree = params.has("recurse");
    let key = if tree {
        request.reject_namespace()?;
        &request.suffix
    } else {
        key(request)?
    };
    let cas = params.uint("cas")?;
    authorize_write(agent, request, key)?;
    let done = agent.state.with(|state| match cas {
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
    Ok(Response::json(&done))
}

fn authorize_write(agent: &Agent, request: &Request, key: &str) -> Result<(), ErrorResponse> {
    agent.check_datacenter(request.datacenter())?;
    agent.require(request, "key:write", key)
}
