//! Transactions: either all operations take effect, or none.

use std::sync::Arc;

use serde::Serialize;

use super::kv::{Entry, Put};
use super::{Error, State};
use crate::acl::Access;

/// An operation of a transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Op {
    pub(crate) verb: String,
    pub(crate) put: Put,
    /// The expected ModifyIndex of `cas`, `delete-cas` and `check-index`.
    pub(crate) index: u64,
    pub(crate) session: String,
}

/// An element of `Results`.
#[derive(Debug, Serialize)]
pub(crate) struct TxnResult {
    #[serde(rename = "KV")]
    pub(crate) kv: Arc<Entry>,
}

/// An element of `Errors`: why an operation failed.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TxnError {
    pub(crate) op_index: usize,
    pub(crate) what: String,
}

/// The outcome of a transaction that ran.
pub(crate) type Outcome = Result<Vec<TxnResult>, Vec<TxnError>>;

/// A transaction that ran.
pub(crate) struct Transaction {
    pub(crate) outcome: Outcome,
    /// Whether results are missing because the request may not read them.
    pub(crate) filtered: bool,
}

impl From<Outcome> for Transaction {
    fn from(outcome: Outcome) -> Transaction {
        Transaction {
            outcome,
            filtered: false,
        }
    }
}

/// Returns whether a transaction only reads, and so takes no index.
pub(crate) fn is_read_only(ops: &[Op]) -> bool {
    let writes = |verb: &str| {
        matches!(
            verb,
            "set" | "delete" | "delete-cas" | "delete-tree" | "cas" | "lock" | "unlock"
        )
    };
    !ops.iter().any(|op| writes(&op.verb))
}

impl State {
    /// Runs a transaction. The outer error is that of a limit.
    pub(crate) fn transact(&mut self, ops: Vec<Op>, access: Access) -> Result<Transaction, Error> {
        let rejected = self.rejections(&ops, access);
        if !rejected.is_empty() {
            return Ok(Err(rejected).into());
        }
        // Values that replace one another are counted twice, which matters only close to the limit.
        let bytes = ops.iter().map(|op| op.put.key.len() + op.put.value.len());
        self.check_space(bytes.sum())?;
        for op in &ops {
            self.check_key_space(&op.put)?;
        }

        let read_only = is_read_only(&ops);
        let index = if read_only { 0 } else { self.next_index() };
        let mut results = Vec::new();
        let mut errors = Vec::new();
        self.begin_transaction();
        for (op_index, op) in ops.into_iter().enumerate() {
            match self.run(index, op) {
                Ok(entries) => results.extend(entries.into_iter().map(|kv| TxnResult { kv })),
                Err(what) => errors.push(TxnError { op_index, what }),
            }
        }
        self.end_transaction(errors.is_empty());
        if !errors.is_empty() {
            return Ok(Err(errors).into());
        }
        let mut filtered = false;
        if !access.is_allowed() {
            // Only reads get this far without access, and their results are filtered.
            filtered = !results.is_empty();
            results.clear();
        }
        let outcome = Ok(results);
        Ok(Transaction { outcome, filtered })
    }

    /// Returns the errors that are found before the first operation runs.
    fn rejections(&self, ops: &[Op], access: Access) -> Vec<TxnError> {
        let rejection = |op: &Op| {
            let key = &op.put.key;
            if key.is_empty() && op.verb != "delete-tree" {
                return Some("Must provide key".into());
            }
            let permission = match op.verb.as_str() {
                "get" | "get-tree" => None,
                "check-session" | "check-index" => Some("key:read"),
                _ => Some("key:write"),
            };
            if let Some(permission) = permission.filter(|_| !access.is_allowed()) {
                return Some(self.version.permission_denied(access, permission, key));
            }
            if op.verb == "lock" && self.is_in_lock_delay(key) {
                return Some(format!("failed to lock key {key:?} due to lock delay"));
            }
            None
        };
        let with_index = |(op_index, op)| rejection(op).map(|what| TxnError { op_index, what });
        ops.iter().enumerate().filter_map(with_index).collect()
    }

    fn run(&mut self, index: u64, op: Op) -> Result<Vec<Arc<Entry>>, String> {
        let Op {
            verb,
            put,
            index: expected,
            session,
        } = op;
        let key = put.key.clone();
        let found = |state: &State| state.kv.get(&key).cloned();
        let text = |error| match error {
            Error::Rejected(text) => text,
            Error::LimitReached { what, .. } => {
                format!("the development agent is at its limit of {what}")
            }
        };
        let entry = match verb.as_str() {
            "set" => self.set(index, put),
            "cas" => self
                .cas(index, put, expected)
                .ok_or_else(|| format!("failed to set key {key:?}, index is stale"))?,
            "lock" => self
                .lock(index, put, &session)
                .map_err(text)?
                .ok_or_else(|| format!("failed to lock key {key:?}, lock is already held"))?,
            "unlock" => self.unlock(index, put, &session).map_err(text)?.ok_or_else(|| {
                format!(
                    "failed to unlock key {key:?}, lock isn't held, or is held by another session"
                )
            })?,
            "delete" => {
                self.delete(index, &key);
                return Ok(Vec::new());
            }
            "delete-cas" if self.delete_cas(index, &key, expected) => return Ok(Vec::new()),
            "delete-cas" => return Err(format!("failed to delete key {key:?}, index is stale")),
            "delete-tree" => {
                self.delete_tree(index, &key);
                return Ok(Vec::new());
            }
            "get" => {
                let entry = found(self).ok_or_else(|| format!("key {key:?} doesn't exist"))?;
                return Ok(vec![entry]);
            }
            "get-tree" => return Ok(self.kv.list(&key).cloned().collect()),
            "check-session" => {
                let entry = found(self)
                    .ok_or_else(|| format!("failed to check session, key {key:?} doesn't exist"))?;
                let holder = entry.session.as_deref().unwrap_or_default();
                if holder != session {
                    return Err(format!(
                        "failed session check for key {key:?}, \
                         current session {holder:?} != {session:?}"
                    ));
                }
                entry
            }
            "check-index" => {
                let entry = found(self)
                    .ok_or_else(|| format!("failed to check index, key {key:?} doesn't exist"))?;
                let current = entry.modify_index;
                if current != expected {
                    return Err(format!(
                        "failed index check for key {key:?}, \
                         current modify index {current} != {expected}"
                    ));
                }
                entry
            }
            "check-not-exists" => {
                return match found(self) {
                    None => Ok(Vec::new()),
                    Some(_) => Err(format!("key {key:?} exists")),
                };
            }
            other => return Err(format!("unknown KV verb {other:?}")),
        };
        // Only reads return the value.
        Ok(vec![Arc::new(Entry {
            value: Default::default(),
            ..(*entry).clone()
        })])
    }
}
