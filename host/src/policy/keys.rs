//! Which keys a request reads or changes, and whether the policy allows that. A transaction is judged step by step.

use super::operation::{is_name, unknown_parameter};
use consul_session_core::session_id;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// Where keys are read.
const KEYS: &str = "/v1/kv/";
/// Where keys are changed.
pub(crate) const TRANSACTIONS: &str = "/v1/txn";
/// The most that the body of a transaction may have. Consul takes 512 KiB, unless `txn_max_req_len` says otherwise.
pub(crate) const MAX_TRANSACTION: usize = 1 << 20;
/// Consul's limit of steps.
const MAX_STEPS: usize = 64;
/// The key of a semaphore that lists who has a place, below its prefix.
const PLACES: &str = "/.lock";

/// The query parameters of reads, besides those of all requests.
const READ_PARAMETERS: [&str; 1] = ["recurse"];

/// The keys that may be used, by their prefixes.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// Locks and semaphores.
    pub(super) locks: Vec<String>,
    /// Keys that may be written and deleted while a lock is held.
    pub(super) writes: Vec<String>,
}

/// A request about keys.
pub(super) enum KeyRequest {
    Read(String),
    Transact(Vec<Step>),
}

/// A step of a transaction. Unlike Consul, this takes names in one spelling only, and each of them once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    #[serde(rename = "KV")]
    kv: Step,
}

/// What is known of a step. Values may be anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Step {
    verb: Verb,
    key: String,
    #[serde(rename = "Value", default)]
    _value: serde::de::IgnoredAny,
    #[serde(rename = "Flags", default)]
    _flags: u64,
    #[serde(rename = "Session", default)]
    _session: String,
    #[serde(rename = "Index", default)]
    _index: u64,
}

/// The steps that locks need. `set` and `delete-tree` are not among them.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Lock,
    Unlock,
    CheckSession,
    CheckIndex,
    Cas,
    Delete,
    DeleteCas,
}

impl KeyRequest {
    /// Returns the request about keys, or none if it is about something else. The error says why it is not a known one.
    pub(super) fn of(
        method: &Method,
        uri: &Uri,
        body: Option<&[u8]>,
    ) -> Result<Option<KeyRequest>, String> {
        let path = uri.path();
        let request = match (method, path.strip_prefix(KEYS), body) {
            (&Method::GET, Some(key), _) => KeyRequest::Read(key_of(key)?),
            (&Method::PUT, None, Some(body)) if path == TRANSACTIONS => {
                KeyRequest::Transact(steps(body)?)
            }
            _ => return Ok(None),
        };
        let more: &[&str] = match request {
            KeyRequest::Read(_) => &READ_PARAMETERS,
            KeyRequest::Transact(_) => &[],
        };
        match uri.query().and_then(|query| unknown_parameter(query, more)) {
            None => Ok(Some(request)),
            Some(name) => Err(format!("the query parameter `{name}` is not allowed")),
        }
    }
}

/// A key that no server resolves to another path, decoded.
fn key_of(encoded: &str) -> Result<String, String> {
    let trimmed = encoded.strip_suffix('/').unwrap_or(encoded);
    if !trimmed.split('/').all(is_name) {
        return Err(format!("`{encoded}` is not a key that may be read"));
    }
    let key = percent_decode_str(encoded).decode_utf8();
    key.map(Into::into)
        .map_err(|_| "the key is not UTF-8 text".to_owned())
}

fn steps(body: &[u8]) -> Result<Vec<Step>, String> {
    if body.len() > MAX_TRANSACTION {
        return Err("the transaction is larger than 1 MiB".to_owned());
    }
    // The text of serde's error may quote what a tenant wrote.
    let steps: Vec<Wrapped> = serde_json::from_slice(body)
        .map_err(|_| "the transaction contains steps that locks do not need".to_owned())?;
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(format!("a transaction must have 1 to {MAX_STEPS} steps"));
    }
    Ok(steps.into_iter().map(|step| step.kv).collect())
}

impl Keys {
    /// Checks a request. The error says why it is denied.
    pub(super) fn check(&self, request: &KeyRequest) -> Result<(), String> {
        match request {
            KeyRequest::Read(key) if self.may_lock(key) || self.may_write(key) => Ok(()),
            KeyRequest::Read(key) => Err(denied("reading", key)),
            KeyRequest::Transact(steps) => {
                let guarded = steps
                    .iter()
                    .any(|step| step.verb == Verb::CheckSession && self.may_lock(&step.key));
                steps
                    .iter()
                    .try_for_each(|step| self.check_step(step, guarded))
            }
        }
    }

    /// Checks a step of a transaction. `guarded` is whether the transaction fails unless a lock is held.
    fn check_step(&self, step: &Step, guarded: bool) -> Result<(), String> {
        let key = step.key.as_str();
        let (lock, write) = (self.may_lock(key), self.may_write(key));
        let allowed = match step.verb {
            Verb::CheckSession | Verb::Unlock => lock,
            Verb::CheckIndex => lock || write,
            Verb::Lock => lock || guarded && write,
            // The list of a semaphore is written by those who want a place.
            Verb::Cas if key.ends_with(PLACES) && lock => true,
            // And everyone may delete what belongs to a session: its wish for a place.
            Verb::Delete if lock && belongs_to_a_session(key) => true,
            // A lock that is free, which whoever deletes it could as well acquire.
            Verb::DeleteCas if lock => true,
            Verb::Cas | Verb::Delete | Verb::DeleteCas => guarded && (lock || write),
        };
        if allowed {
            Ok(())
        } else if guarded {
            Err(denied("changing", key))
        } else {
            Err(format!("{} without a lock", denied("changing", key)))
        }
    }

    fn may_lock(&self, key: &str) -> bool {
        self.locks.iter().any(|prefix| key.starts_with(prefix))
    }

    fn may_write(&self, key: &str) -> bool {
        self.writes.iter().any(|prefix| key.starts_with(prefix))
    }
}

fn belongs_to_a_session(key: &str) -> bool {
    key.rsplit_once('/')
        .is_some_and(|(_, name)| session_id::is_well_formed(name))
}

fn denied(what: &str, key: &str) -> String {
    let key = consul_session_core::error::shown(key);
    format!("{what} the key `{key}` is not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";

    fn check(method: &Method, path: &str, body: Option<&str>) -> Result<(), String> {
        let keys = Keys {
            locks: vec!["locks/".into()],
            writes: vec!["config/".into()],
        };
        let uri: Uri = format!("http://h:1{path}").parse().unwrap();
        match KeyRequest::of(method, &uri, body.map(str::as_bytes))? {
            Some(request) => keys.check(&request),
            None => Err("another request".into()),
        }
    }

    #[test]
    fn judges_reads() {
        for (path, allowed) in [
            ("/v1/kv/locks/a", true),
            ("/v1/kv/locks/a/?recurse&consistent&index=7&wait=1s", true),
            ("/v1/kv/config/a?dc=x", true),
            ("/v1/kv/locks%2Fa", true),
            ("/v1/kv/other", false),
            ("/v1/kv/lock", false),
            ("/v1/kv/?recurse", false),
            ("/v1/kv/locks/../other", false),
            ("/v1/kv/locks/%2e%2e/other", false),
            ("/v1/kv/locks/%252e%252e/other", false),
            ("/v1/kv/locks//a", false),
            ("/v1/kv/locks/a?keys", false),
            ("/v1/kv/locks/a?token=x", false),
            ("/v1/kv/locks/a?raw", false),
        ] {
            assert_eq!(check(&Method::GET, path, None).is_ok(), allowed, "{path}");
        }
        assert!(check(&Method::PUT, "/v1/kv/locks/a", Some("v")).is_err());
        assert!(check(&Method::DELETE, "/v1/kv/locks/a", None).is_err());
    }

    #[test]
    fn judges_transactions_step_by_step() {
        let guard =
            format!(r#"{{"KV":{{"Verb":"check-session","Key":"locks/a","Session":"{ID}"}}}}"#);
        let step = |verb: &str, key: &str| {
            format!(
                r#"{{"KV":{{"Verb":"{verb}","Key":"{key}","Value":"dg==","Flags":1,"Session":"{ID}"}}}}"#
            )
        };
        let places = step("cas", "locks/a/.lock");
        let own = step("delete", &format!("locks/a/{ID}"));
        let foreign = guard.replace("locks/a", "other");
        for (steps, allowed) in [
            (vec![step("lock", "locks/a")], true),
            (vec![step("unlock", "locks/a")], true),
            (vec![guard.clone(), step("delete", "locks/a")], true),
            (vec![guard.clone(), step("cas", "config/a")], true),
            (vec![guard.clone(), step("delete-cas", "config/a")], true),
            (vec![guard.clone(), step("lock", "config/a")], true),
            (vec![places.clone(), own], true),
            (vec![guard.clone(), places], true),
            (vec![step("delete-cas", "locks/a")], true),
            (vec![step("delete-cas", "config/a")], false),
            (vec![step("lock", "other")], false),
            (vec![step("cas", "config/a")], false),
            (vec![step("cas", "locks/a")], false),
            (vec![step("delete", "locks/a")], false),
            (vec![step("lock", "config/a")], false),
            (vec![foreign, step("cas", "config/a")], false),
            (
                vec![guard.clone(), step("cas", "config/a"), step("cas", "other")],
                false,
            ),
            (vec![guard.clone(), step("set", "config/a")], false),
            (vec![guard.clone(), step("delete-tree", "config/")], false),
            (vec![guard.clone(), step("get", "config/a")], false),
            (
                vec![guard.clone(), r#"{"Node":{"Verb":"set"}}"#.to_owned()],
                false,
            ),
            // Consul would take the last of these.
            (
                vec![step("lock", "locks/a").replace(r#""Flags":1"#, r#""verb":"set""#)],
                false,
            ),
            (
                vec![step("lock", "locks/a").replace(r#""Flags":1"#, r#""Verb":"set""#)],
                false,
            ),
            (vec![], false),
            (vec![guard; 65], false),
        ] {
            let body = format!("[{}]", steps.join(","));
            assert_eq!(
                check(&Method::PUT, "/v1/txn", Some(&body)).is_ok(),
                allowed,
                "{body}"
            );
        }
    }
}
