//! In what a session differs from what is asked for. Only what is asked for counts.

use crate::duration::to_consul;
use crate::types::{NewSession, ServiceCheck, Session};

/// The check that ends a session when its node fails.
pub const NODE_HEALTH: &str = "serfHealth";

/// The differences, for people; none if the session is as asked for.
pub fn differences(wanted: &NewSession, session: &Session) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, is: String, asked: String| {
        if is != asked {
            differences.push(format!("{what} is {is}, asked for {asked}"));
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
        let stored = u64::try_from(session.lock_delay).unwrap_or(0);
        compare("delay", to_consul(stored), to_consul(delay));
    }
    if let Some(ttl) = wanted.ttl {
        let spoken = |ttl: u64| {
            if ttl == 0 {
                "none".to_owned()
            } else {
                to_consul(ttl)
            }
        };
        compare("ttl", spoken(session.ttl.unwrap_or(0)), spoken(ttl));
    }
    if let Some(checks) = expected_checks(wanted) {
        let stored = Names::of(session.node_checks.iter().chain(&session.checks));
        compare("checks", stored.list(), checks.list());
    }
    if let Some(checks) = &wanted.service_checks {
        let spoken = |checks: &[ServiceCheck]| {
            let names: Vec<String> = checks
                .iter()
                .map(|check| match check.namespace.as_deref() {
                    None | Some("" | "default") => check.id.clone(),
                    Some(namespace) => format!("{namespace}/{}", check.id),
                })
                .collect();
            Names::of(&names).list()
        };
        compare(
            "service_checks",
            spoken(&session.service_checks),
            spoken(checks),
        );
    }
    differences
}

/// The checks that a session will have if it is created as asked for. The legacy list adds to the default check, unless
/// it is empty, which turns all checks off.
fn expected_checks(wanted: &NewSession) -> Option<Names<'_>> {
    let legacy = wanted.checks.as_deref();
    let node = wanted.node_checks.as_deref();
    if legacy.is_none() && node.is_none() {
        return None;
    }
    let mut checks = Names::of(legacy.into_iter().chain(node).flatten());
    if node.is_none() && !checks.0.is_empty() {
        checks.insert(NODE_HEALTH);
    }
    Some(checks)
}

/// A set of names. Sorted by insertion: the general sorts were 14 KB of the component.
struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    fn of(names: impl IntoIterator<Item = &'a String>) -> Names<'a> {
        let mut set = Names(Vec::new());
        for name in names {
            set.insert(name);
        }
        set
    }

    fn insert(&mut self, name: &'a str) {
        if let Err(place) = self.0.binary_search(&name) {
            self.0.insert(place, name);
        }
    }

    fn list(&self) -> String {
        format!("[{}]", self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::SECOND;
    use crate::session::Stored;
    use crate::types::Behavior;
    use serde_json::json;

    #[test]
    fn compares_only_what_is_asked_for() {
        let stored = Stored::read(json!({
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
            ["ttl is 60s, asked for none"]
        );
        assert_eq!(
            ask(|wanted| wanted.lock_delay = Some(0)),
            ["delay is 15s, asked for 0s"]
        );
        assert_eq!(
            ask(|wanted| wanted.checks = Some(vec![])),
            ["checks is [serfHealth], asked for []"]
        );
        assert_eq!(
            ask(|wanted| wanted.behavior = Some(Behavior::Delete)),
            ["behavior is release, asked for delete"]
        );
    }
}
