//! `put`, which writes under the lock that the environment names, and `holder`, which shows who holds one.

use crate::args::{ConnectionArgs, Format};
use crate::{action, connect, executor, output};
use consul_session::{Client, Error, HeldBy, Policy, Runtime};
use consul_session_core::key;
use serde_json::{Map, Value, json};
use std::ffi::OsStr;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// The variables of COMMAND that name its lock.
pub(crate) const KEY: &str = "CONSUL_LOCK_KEY";
pub(crate) const SESSION: &str = "CONSUL_LOCK_SESSION";

/// Consul's limit of a value. Transactions take less, unless it is configured otherwise.
const MAX_VALUE: u64 = 512 << 10;

/// Writes a key while the lock is held.
pub(crate) fn put(connection: &ConnectionArgs, key: &str, value: &OsStr) -> ExitCode {
    match write(connection, key, value) {
        Ok(index) => output::json(&json!({"changed": true, "key": key, "modify_index": index})),
        Err(error) => {
            output::json(&error);
            action::fail(&error)
        }
    }
}

fn write(connection: &ConnectionArgs, key: &str, value: &OsStr) -> Result<u64, Error> {
    let variable = |name: &str| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            let message =
                format!("{name} is not set; `put` is for commands that `consul-session lock` runs");
            Error::invalid(name, message)
        })
    };
    let (lock, session) = (variable(KEY)?, variable(SESSION)?);
    key::check("key", key)?;
    let list = lock
        .rsplit_once('/')
        .map(|(prefix, _)| format!("{prefix}/.lock"));
    if list.as_deref() == Some(key) && lock != key {
        let message = "KEY is the list of the semaphore's holders, which only locks change";
        return Err(Error::invalid("key", message));
    }
    let value = read(value)?;
    let policy = Policy::deny_all().locks([&lock]).guarded_writes([key]);
    with_client(connection, policy, async |client| {
        let held = HeldBy {
            key: &lock,
            session: &session,
        };
        client.write(&held, key, &value).await
    })
}

/// The value of an argument: itself, or standard input.
fn read(value: &OsStr) -> Result<Vec<u8>, Error> {
    if value != "-" {
        return Ok(value.as_encoded_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(MAX_VALUE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::invalid("value", format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > MAX_VALUE {
        return Err(Error::invalid("value", "the value is larger than 512 KiB"));
    }
    Ok(bytes)
}

/// The prefix as Consul's own program takes it: one slash at either end does not count. Others are refused, because it
/// would use another key.
pub(crate) fn normalized(prefix: &str) -> Result<String, Error> {
    let trimmed = prefix.strip_prefix('/').unwrap_or(prefix);
    let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
    key::check("prefix", trimmed)?;
    if trimmed.ends_with('/') {
        let message = "PREFIX ends with more than one slash, which Consul would rewrite";
        return Err(Error::invalid("prefix", message));
    }
    // The longest key ends with the id of a session.
    let longest = format!("{trimmed}/{}", "0".repeat(36));
    if longest.len() > key::MAX {
        let message =
            "PREFIX is too long: its keys, with the id of a session, have more than 4 KiB";
        return Err(Error::invalid("prefix", message));
    }
    Ok(trimmed.to_owned())
}

/// Shows who holds a lock or a semaphore.
pub(crate) fn holder(
    connection: &ConnectionArgs,
    format: Option<Format>,
    prefix: &str,
) -> ExitCode {
    let found = normalized(prefix).and_then(|prefix| {
        let policy = Policy::deny_all().locks([format!("{prefix}/")]);
        with_client(connection, policy, async |client| {
            find(&client, &prefix).await
        })
    });
    let table = match format {
        Some(format) => format == Format::Table,
        None => std::io::stdout().is_terminal(),
    };
    match found {
        Ok(found) if table => output::print(&describe(&found)),
        Ok(found) => output::json(&found),
        Err(error) => action::fail(&error),
    }
}

async fn find(client: &Client, prefix: &str) -> Result<Value, Error> {
    let holder = client.holder(&format!("{prefix}/.lock")).await?;
    let (kind, sessions, limit, token) = if holder.is_semaphore() {
        let (sessions, limit) = client.semaphore_holders(prefix).await?;
        ("semaphore", sessions, limit, None)
    } else {
        let token = holder.session.is_some().then_some(holder.modify_index);
        ("lock", holder.session.into_iter().collect(), Some(1), token)
    };
    let mut holders = Vec::new();
    for id in sessions {
        // The token may not read sessions, and the session may have ended just now.
        let session = client.info(&id).await.ok().flatten();
        let (name, node) = session.map(|session| (session.name, session.node)).unzip();
        holders.push(json!({"session": id, "name": name, "node": node}));
    }
    Ok(json!({
        "held": !holders.is_empty(),
        "kind": kind,
        "limit": limit,
        "holders": holders,
        "fencing_token": token,
        "value": String::from_utf8_lossy(&holder.value),
    }))
}

fn describe(found: &Value) -> String {
    let text = |value: &Value| {
        let text = value.as_str().unwrap_or("unknown");
        consul_session_core::terminal::escape(text).into_owned()
    };
    let holders = found["holders"].as_array();
    let mut lines: Vec<String> = holders
        .into_iter()
        .flatten()
        .map(|holder| {
            format!(
                "held by session {}, name {}, node {}",
                text(&holder["session"]),
                text(&holder["name"]),
                text(&holder["node"])
            )
        })
        .collect();
    match (
        found["kind"].as_str(),
        &found["limit"],
        &found["fencing_token"],
    ) {
        (Some("semaphore"), Value::Number(limit), _) => {
            lines.push(format!("{} of {limit} places are taken", lines.len()));
        }
        (_, _, Value::Number(token)) => lines.push(format!("fencing token {token}")),
        _ => lines.push("free".to_owned()),
    }
    lines.join("\n") + "\n"
}

/// Does something with a client.
fn with_client<T>(
    connection: &ConnectionArgs,
    policy: Policy,
    work: impl AsyncFnOnce(Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let executor = executor()?;
    let result = executor.block_on(async {
        let runtime = Runtime::with_calls(1)?;
        let client = connect::client(connection, None, &mut Map::new(), policy, &runtime)?;
        work(client).await
    });
    executor.shutdown_background();
    result
}
