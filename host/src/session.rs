//! Sessions, as the typed client takes and returns them.

use crate::component::types as wire;
use std::time::Duration;

/// A session to create. Everything that is not set is left to Consul.
///
/// ```
/// # use consul_session::NewSession;
/// # use std::time::Duration;
/// let session = NewSession::named("deploy").ttl(Duration::from_secs(30));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSession {
    /// The name. Consul does not require it to be unique.
    pub name: Option<String>,
    /// The node to bind the session to; default: the agent's own.
    pub node: Option<String>,
    /// How long the session's locks stay blocked after it is invalidated, 0 to 60 s in whole milliseconds; default: 15 s.
    pub lock_delay: Option<Duration>,
    /// What happens to the session's locks when it ends; default: they are released.
    pub behavior: Option<Behavior>,
    /// How long the session lives without a renewal, 10 s to 24 h in whole milliseconds; default: without limit. Consul
    /// waits up to twice as long.
    pub ttl: Option<Duration>,
    /// Node checks by id; default: `serfHealth`, which ends the session when its node fails. An empty list means none.
    pub node_checks: Option<Vec<String>>,
    /// Service checks; default: none.
    pub service_checks: Option<Vec<ServiceCheck>>,
    /// Checks in the form used before Consul 1.7. An empty list turns all checks off.
    pub checks: Option<Vec<String>>,
}

impl NewSession {
    /// A session without a name.
    pub fn new() -> NewSession {
        NewSession::default()
    }

    /// A session with this name.
    pub fn named(name: impl Into<String>) -> NewSession {
        NewSession {
            name: Some(name.into()),
            ..NewSession::default()
        }
    }

    /// Sets the node.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> NewSession {
        self.node = Some(node.into());
        self
    }

    /// Sets the lock delay.
    #[must_use]
    pub fn lock_delay(mut self, lock_delay: Duration) -> NewSession {
        self.lock_delay = Some(lock_delay);
        self
    }

    /// Sets what happens to the locks.
    #[must_use]
    pub fn behavior(mut self, behavior: Behavior) -> NewSession {
        self.behavior = Some(behavior);
        self
    }

    /// Sets the TTL.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> NewSession {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the node checks; an empty list turns all checks off.
    #[must_use]
    pub fn node_checks<S: Into<String>>(
        mut self,
        checks: impl IntoIterator<Item = S>,
    ) -> NewSession {
        self.node_checks = Some(checks.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the service checks.
    #[must_use]
    pub fn service_checks(mut self, checks: impl IntoIterator<Item = ServiceCheck>) -> NewSession {
        self.service_checks = Some(checks.into_iter().collect());
        self
    }

    /// Sets the legacy list of checks.
    #[must_use]
    pub fn checks<S: Into<String>>(mut self, checks: impl IntoIterator<Item = S>) -> NewSession {
        self.checks = Some(checks.into_iter().map(Into::into).collect());
        self
    }
}

/// What happens to the locks of a session when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behavior {
    /// The locks are released, and the keys stay. Consul's default.
    Release,
    /// The keys are deleted.
    Delete,
}

/// A check of a service, by the id it is registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceCheck {
    /// The check's id.
    pub id: String,
    /// The namespace of the service (Consul Enterprise).
    pub namespace: Option<String>,
}

impl ServiceCheck {
    /// A check in the default namespace.
    pub fn new(id: impl Into<String>) -> ServiceCheck {
        ServiceCheck {
            id: id.into(),
            namespace: None,
        }
    }

    /// Sets the namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> ServiceCheck {
        self.namespace = Some(namespace.into());
        self
    }
}

/// A session as Consul stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The UUID that Consul assigned.
    pub id: String,
    /// The name, or an empty string.
    pub name: String,
    /// The node, as written when the session was created.
    pub node: String,
    /// How long the session's locks stay blocked after it is invalidated. Consul applies at most 60 s.
    pub lock_delay: Duration,
    /// What happens to the session's locks when it ends.
    pub behavior: Behavior,
    /// How long the session lives without a renewal, or none if without limit. Consul waits up to twice as long.
    pub ttl: Option<Duration>,
    /// The node checks by id.
    pub node_checks: Vec<String>,
    /// The service checks.
    pub service_checks: Vec<ServiceCheck>,
    /// The checks in the form used before Consul 1.7, in addition to `node_checks`.
    pub checks: Vec<String>,
    /// The namespace, if Consul sends one.
    pub namespace: Option<String>,
    /// The admin partition, if Consul sends one.
    pub partition: Option<String>,
    /// The raft index of the session's creation. Of two sessions, the one with the lower index is older.
    pub create_index: u64,
    /// The raft index of the session's last change. A renewal is not a change.
    pub modify_index: u64,
}

/// Several sessions, and whether the list is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The sessions, ordered by id.
    pub sessions: Vec<Session>,
    /// Whether Consul says that it omitted sessions which the token may not read. Versions before 1.12 omit them silently.
    pub filtered: bool,
}

/// What [`Client::ensure`](crate::Client::ensure) does with sessions of the same name whose attributes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDifference {
    /// Fail with [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    Refuse,
    /// Create the requested session, then destroy the others. Their locks are released.
    Recreate,
}

/// What [`Client::ensure`](crate::Client::ensure) found or created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ensured {
    /// The session that has the name.
    pub session: Session,
    /// Whether this call created it.
    pub created: bool,
    /// The ids of the sessions that this call replaced.
    pub replaced: Vec<String>,
    /// Warnings for people, for example that several sessions have the name.
    pub warnings: Vec<String>,
}

/// A duration in nanoseconds. The longest that fits is 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// Conversions to and from the component's types.

impl From<&NewSession> for wire::NewSession {
    fn from(new: &NewSession) -> wire::NewSession {
        wire::NewSession {
            name: new.name.clone(),
            node: new.node.clone(),
            lock_delay: new.lock_delay.map(nanoseconds),
            behavior: new.behavior.map(|behavior| match behavior {
                Behavior::Release => wire::Behavior::Release,
                Behavior::Delete => wire::Behavior::Delete,
            }),
            ttl: new.ttl.map(nanoseconds),
            node_checks: new.node_checks.clone(),
            service_checks: new.service_checks.as_ref().map(|checks| {
                let checks = checks.iter().cloned();
                checks
                    .map(|ServiceCheck { id, namespace }| wire::ServiceCheck { id, namespace })
                    .collect()
            }),
            checks: new.checks.clone(),
        }
    }
}

impl From<OnDifference> for wire::OnDifference {
    fn from(on_difference: OnDifference) -> wire::OnDifference {
        match on_difference {
            OnDifference::Refuse => wire::OnDifference::Refuse,
            OnDifference::Recreate => wire::OnDifference::Recreate,
        }
    }
}

impl From<wire::Session> for Session {
    fn from(session: wire::Session) -> Session {
        Session {
            id: session.id,
            name: session.name,
            node: session.node,
            // Consul stores a negative delay as sent, and applies none.
            lock_delay: Duration::from_nanos(u64::try_from(session.lock_delay).unwrap_or(0)),
            behavior: match session.behavior {
                wire::Behavior::Release => Behavior::Release,
                wire::Behavior::Delete => Behavior::Delete,
            },
            ttl: session.ttl.map(Duration::from_nanos),
            node_checks: session.node_checks,
            service_checks: session
                .service_checks
                .into_iter()
                .map(|wire::ServiceCheck { id, namespace }| ServiceCheck { id, namespace })
                .collect(),
            checks: session.checks,
            namespace: session.namespace,
            partition: session.partition,
            create_index: session.create_index,
            modify_index: session.modify_index,
        }
    }
}

impl From<wire::Listing> for Listing {
    fn from(listing: wire::Listing) -> Listing {
        Listing {
            sessions: listing.sessions.into_iter().map(Session::from).collect(),
            filtered: listing.filtered,
        }
    }
}

impl From<wire::Ensured> for Ensured {
    fn from(ensured: wire::Ensured) -> Ensured {
        Ensured {
            session: ensured.session.into(),
            created: ensured.created,
            replaced: ensured.replaced,
            warnings: ensured.warnings,
        }
    }
}
