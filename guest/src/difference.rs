//! How a stored session differs from the requested attributes. Only attributes that were given are compared.

use crate::types::{NewSession, ServiceCheck, Session};
use consul_session_core::duration::to_consul;
use std::collections::BTreeSet;

/// The check that ends a session when its node fails.
pub const NODE_HEALTH: &str = "serfHealth";

/// Describes each difference, for people. Empty if the session has the requested attributes.
pub fn differences(wanted: &NewSession, session: &Session) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |attribute: &str, actual: String, wanted: String| {
        if actual != wanted {
            differences.push(format!("{attribute} is {actual} instead of {wanted}"));
        }
    };
    if let Some(behavior) = wanted.behavior {
        compare(
            "behavior",
            session.behavior.as_str().into(),
            behavior.as_str().into(),
        );
    }
    if let Some(delay) = wanted.lock_delay {
        // Consul treats a negative delay as none.
        let stored = u64::try_from(session.lock_delay).unwrap_or(0);
        compare("delay", to_consul(stored), to_consul(delay));
    }
    if let Some(ttl) = wanted.ttl {
        let text = |ttl: u64| match ttl {
            0 => "none".to_owned(),
            ttl => to_consul(ttl),
        };
        compare("ttl", text(session.ttl.unwrap_or(0)), text(ttl));
    }
    if let Some(checks) = expected_checks(wanted) {
        let stored = session.node_checks.iter().chain(&session.checks);
        compare("checks", list(stored.map(String::as_str)), list(checks));
    }
    if let Some(checks) = &wanted.service_checks {
        let text = |checks: &[ServiceCheck]| {
            let names: Vec<String> = checks
                .iter()
                .map(|check| match check.namespace.as_deref() {
                    None | Some("" | "default") => check.id.clone(),
                    Some(namespace) => format!("{namespace}/{}", check.id),
                })
                .collect();
            list(names.iter().map(String::as_str))
        };
        compare(
            "service_checks",
            text(&session.service_checks),
            text(checks),
        );
    }
    differences
}

/// The checks that a session created with these attributes gets, or none if no checks were given. The legacy list adds
/// to the default check, except that the empty list turns all checks off.
fn expected_checks(wanted: &NewSession) -> Option<BTreeSet<&str>> {
    let legacy = wanted.checks.as_deref();
    let node = wanted.node_checks.as_deref();
    if legacy.is_none() && node.is_none() {
        return None;
    }
    let given = legacy.into_iter().chain(node).flatten();
    let mut checks: BTreeSet<&str> = given.map(String::as_str).collect();
    if node.is_none() && !checks.is_empty() {
        checks.insert(NODE_HEALTH);
    }
    Some(checks)
}

/// Names as a message shows them, sorted and without duplicates.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let names: Vec<&str> = names.into_iter().collect();
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::StoredSession;
    use crate::types::Behavior;
    use consul_session_core::duration::SECOND;
    use serde_json::json;

    #[test]
    fn compares_only_given_attributes() {
        let stored = StoredSession::from_json(json!({
            "ID": "00000000-0000-0000-0000-000000000001", "Name": "n", "Node": "a", "LockDelay": 15_000_000_000_i64,
            "Behavior": "release", "TTL": "1m0s", "NodeChecks": ["serfHealth"], "ServiceChecks": null,
            "CreateIndex": 1, "ModifyIndex": 1,
        }))
        .unwrap()
        .session;
        let ask = |change: fn(&mut NewSession)| {
            let mut wanted = NewSession {
                name: Some("n".into()),
                ..NewSession::default()
            };
            change(&mut wanted);
            differences(&wanted, &stored)
        };
        assert!(ask(|_| ()).is_empty());
        assert!(ask(|wanted| wanted.ttl = Some(60 * SECOND)).is_empty());
        assert!(ask(|wanted| wanted.checks = Some(vec!["serfHealth".into()])).is_empty());
        assert!(ask(|wanted| wanted.node_checks = Some(vec!["serfHealth".into()])).is_empty());
        assert!(ask(|wanted| wanted.service_checks = Some(vec![])).is_empty());
        assert_eq!(
            ask(|wanted| wanted.ttl = Some(0)),
            ["ttl is 60s instead of none"]
        );
        assert_eq!(
            ask(|wanted| wanted.lock_delay = Some(0)),
            ["delay is 15s instead of 0s"]
        );
        assert_eq!(
            ask(|wanted| wanted.checks = Some(vec![])),
            ["checks is [serfHealth] instead of []"]
        );
        assert_eq!(
            ask(|wanted| wanted.behavior = Some(Behavior::Delete)),
            ["behavior is release instead of delete"]
        );
    }
}
