//! The catalog: nodes, services and checks, which sessions can be bound to.
//!
//! A check of the agent is in the catalog at once; a real agent copies it there a moment later.
//! Only TTL checks run; all others keep the status they were registered with.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::sessions::{SERF_HEALTH, Session};
use super::{Change, Deadline, Error, State};

/// A node with its services and checks.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) details: NodeDetails,
    pub(crate) services: BTreeMap<String, Service>,
    /// By id in lower case.
    pub(crate) checks: BTreeMap<String, Check>,
}

/// A node as it is serialized.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeDetails {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) datacenter: String,
    pub(crate) tagged_addresses: Option<BTreeMap<String, String>>,
    pub(crate) meta: Option<BTreeMap<String, String>>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A service as the catalog serializes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) tags: Vec<String>,
    pub(crate) address: String,
    pub(crate) meta: Option<BTreeMap<String, String>>,
    pub(crate) port: u64,
    pub(crate) weights: Weights,
    pub(crate) enable_tag_override: bool,
    pub(crate) proxy: Proxy,
    pub(crate) connect: Map<String, Value>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A service's weights, always Consul's defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Weights {
    passing: u64,
    warning: u64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            passing: 1,
            warning: 1,
        }
    }
}

/// A service's proxy, always empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Proxy {
    mesh_gateway: Map<String, Value>,
    expose: Map<String, Value>,
}

/// A check as it is serialized.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Check {
    pub(crate) node: String,
    #[serde(rename = "CheckID")]
    pub(crate) check_id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) notes: String,
    pub(crate) output: String,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: String,
    pub(crate) service_name: String,
    pub(crate) service_tags: Vec<String>,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) definition: Definition,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// The definition of a check, as far as the agent keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Definition {
    /// The name of the sessions that a check of type `session` follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) session_name: String,
}

/// A request of `/v1/catalog/register`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registration {
    pub(crate) node: NodeDetails,
    pub(crate) skip_node_update: bool,
    pub(crate) service: Option<Service>,
    pub(crate) checks: Vec<Check>,
}

/// The tables of the catalog.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) nodes_index: u64,
    services_index: u64,
    pub(crate) checks_index: u64,
    /// By name in lower case.
    nodes: BTreeMap<String, Node>,
    /// The TTL checks of the own node, by id.
    ttl_checks: BTreeMap<String, TtlCheck>,
}

struct TtlCheck {
    ttl: Duration,
    expires: Duration,
    /// The latest output. An output without a change of status does not reach the catalog; in
    /// Consul it does so after five minutes.
    output: String,
}

impl Node {
    /// Returns a check by its id, in any case.
    pub(crate) fn check(&self, id: &str) -> Option<&Check> {
        self.checks.get(&id.to_lowercase())
    }
}

impl Catalog {
    /// Returns a node by its name, in any case.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(&name.to_lowercase())
    }

    /// Returns all nodes, sorted by name.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Returns the index of a node with its services: that of both tables, or 0 for an unknown
    /// node.
    pub(crate) fn node_index(&self, name: &str) -> u64 {
        let known = self.node(name);
        known.map_or(0, |_| self.nodes_index.max(self.services_index))
    }

    fn size(&self) -> usize {
        let entries = |node: &Node| 1 + node.services.len() + node.checks.len();
        self.nodes.values().map(entries).sum()
    }
}

impl State {
    pub(crate) fn register_local_node(&mut self) {
        let address = "127.0.0.1".to_owned();
        let addresses = ["lan", "lan_ipv4", "wan", "wan_ipv4"];
        let registration = Registration {
            node: NodeDetails {
                id: uuid::Uuid::new_v4().to_string(),
                node: self.node.clone(),
                tagged_addresses: Some(
                    addresses
                        .map(|kind| (kind.to_owned(), address.clone()))
                        .into(),
                ),
                meta: Some([("consul-network-segment".to_owned(), String::new())].into()),
                address,
                ..NodeDetails::default()
            },
            skip_node_update: false,
            service: Some(Service {
                id: "consul".into(),
                service: "consul".into(),
                ..Service::default()
            }),
            checks: vec![Check {
                check_id: SERF_HEALTH.into(),
                name: "Serf Health Status".into(),
                status: "passing".into(),
                output: "Agent alive and reachable".into(),
                ..Check::default()
            }],
        };
        // Without a limit: the agent cannot work without its node.
        let registered = self.put_registration(registration);
        debug_assert!(registered.is_ok(), "its check belongs to no service");
    }

    /// Registers or updates a node, a service and checks.
    pub(crate) fn register(&mut self, registration: Registration) -> Result<(), Error> {
        let node = &registration.node;
        if node.node.is_empty() {
            return Err(Error::rejected("Must provide node"));
        }
        if node.address.is_empty() && !registration.skip_node_update {
            return Err(Error::rejected(
                "Must provide address if SkipNodeUpdate is not set",
            ));
        }
        let limit = self.limits.catalog_entries;
        if self.catalog.size() + 2 + registration.checks.len() > limit {
            return Err(Error::LimitReached {
                what: "catalog entries",
                limit,
            });
        }
        self.put_registration(registration)
    }

    fn put_registration(&mut self, registration: Registration) -> Result<(), Error> {
        let Registration {
            mut node,
            skip_node_update,
            service,
            checks,
        } = registration;
        let index = self.next_index();
        let key = node.node.to_lowercase();
        self.check_services_exist(&key, service.as_ref(), &checks)?;
        node.datacenter.clone_from(&self.datacenter);
        let known = self.catalog.nodes.get(&key);
        if known.is_none() || !skip_node_update {
            let old = known.map(|known| &known.details);
            node.create_index = old.map_or(index, |old| old.create_index);
            node.modify_index = old.map_or(index, |old| old.modify_index);
            if old != Some(&node) {
                node.modify_index = index;
                self.catalog.nodes_index = index;
            }
        } else if let Some(known) = known {
            node = known.details.clone();
        }
        let entry = self.catalog.nodes.entry(key).or_insert_with(|| Node {
            details: NodeDetails::default(),
            services: BTreeMap::new(),
            checks: BTreeMap::new(),
        });
        entry.details = node;
        if let Some(mut service) = service {
            let old = entry.services.get(&service.id);
            service.create_index = old.map_or(index, |old| old.create_index);
            service.modify_index = old.map_or(index, |old| old.modify_index);
            if old != Some(&service) {
                service.modify_index = index;
                self.catalog.services_index = index;
            }
            entry.services.insert(service.id.clone(), service);
        }
        let name = entry.details.node.clone();
        self.changed(Change::Node(name.to_lowercase()));
        for check in checks {
            self.put_check(index, &name, check);
        }
        Ok(())
    }

    fn check_services_exist(
        &self,
        node: &str,
        service: Option<&Service>,
        checks: &[Check],
    ) -> Result<(), Error> {
        let known = |id: &str| {
            service.is_some_and(|service| service.id == id)
                || self
                    .catalog
                    .node(node)
                    .is_some_and(|node| node.services.contains_key(id))
        };
        match checks
            .iter()
            .find(|check| !check.service_id.is_empty() && !known(&check.service_id))
        {
            None => Ok(()),
            Some(_) => Err(Error::rejected(format!(
                "failed inserting check: Missing service registration on node {node:?}"
            ))),
        }
    }

    /// Stores a check of a known node. A critical check ends the sessions bound to it.
    fn put_check(&mut self, index: u64, node: &str, mut check: Check) {
        let Some(entry) = self.catalog.nodes.get_mut(&node.to_lowercase()) else {
            return;
        };
        check.node = entry.details.node.clone();
        if let Some(service) = entry.services.get(&check.service_id) {
            check.service_name.clone_from(&service.service);
            check.service_tags.clone_from(&service.tags);
        }
        if check.status.is_empty() {
            check.status = "critical".into();
        }
        let id = check.check_id.clone();
        let old = entry.checks.get(&id.to_lowercase());
        check.create_index = old.map_or(index, |old| old.create_index);
        check.modify_index = old.map_or(index, |old| old.modify_index);
        if old != Some(&check) {
            check.modify_index = index;
        }
        let critical = check.status == "critical";
        entry.checks.insert(id.to_lowercase(), check);
        // The index of the table moves even if the check is the same.
        self.catalog.checks_index = index;
        self.changed(Change::Node(node.to_lowercase()));
        if critical {
            self.end_sessions_of_check(index, node, &id);
        }
    }

    /// Updates the checks of type `session` that follow a session, which was created or has ended.
    pub(crate) fn update_session_checks(&mut self, index: u64, session: &Session, exists: bool) {
        if !self.version.checks_follow_sessions {
            return;
        }
        let node = self.catalog.node(&session.node);
        let checks = node.into_iter().flat_map(|node| node.checks.values());
        let follow = checks.filter(|check| {
            check.kind == "session" && check.definition.session_name == session.name
        });
        let (status, state) = if exists {
            ("passing", "in force")
        } else {
            ("critical", "is invalid")
        };
        let follow: Vec<Check> = follow.cloned().collect();
        for mut check in follow {
            check.status = status.into();
            check.output = format!("Session '{}' {state}", session.id);
            self.put_check(index, &session.node, check);
        }
    }

    fn end_sessions_of_check(&mut self, index: u64, node: &str, check: &str) {
        for session in self.sessions.of_check(node, check) {
            self.end_session(&session, index);
        }
    }

    /// Removes a service with its checks, or a check, or a whole node, and ends the sessions bound
    /// to them. The own node is registered again at once, which takes a real agent up to a minute.
    pub(crate) fn deregister(&mut self, node: &str, service: &str, check: &str) {
        let index = self.next_index();
        let key = node.to_lowercase();
        let Some(entry) = self.catalog.nodes.get_mut(&key) else {
            return;
        };
        let mut gone = Vec::new();
        // Ids match in any case.
        let service = service.to_lowercase();
        if !service.is_empty() {
            let removed = entry
                .services
                .extract_if(.., |id, _| id.to_lowercase() == service)
                .count();
            if removed > 0 {
                self.catalog.services_index = index;
                // The index of the checks moves even if the service has none.
                self.catalog.checks_index = index;
            }
            let of_service =
                |_: &String, check: &mut Check| check.service_id.to_lowercase() == service;
            gone.extend(entry.checks.extract_if(.., of_service));
        } else if !check.is_empty() {
            let removed = entry.checks.remove_entry(&check.to_lowercase());
            if removed
                .as_ref()
                .is_some_and(|(_, check)| check.service_id.is_empty())
            {
                // A check of the node belongs to all of its services.
                self.catalog.services_index = index;
            }
            gone.extend(removed);
        } else {
            self.catalog.nodes_index = index;
            if !entry.services.is_empty() {
                self.catalog.services_index = index;
                self.catalog.checks_index = index;
            }
            gone.extend(std::mem::take(&mut entry.checks));
            self.catalog.nodes.remove(&key);
            for session in self.sessions.keys_of_node(node) {
                self.end_session(&session, index);
            }
        }
        let own = key == self.node.to_lowercase();
        for (_, check) in gone {
            self.catalog.checks_index = index;
            if own {
                self.stop_ttl(&check.check_id);
            }
            self.end_sessions_of_check(index, node, &check.check_id);
        }
        if own && !self.catalog.nodes.contains_key(&key) {
            self.register_local_node();
        }
        self.changed(Change::Node(key));
    }

    /// Registers a check of the own node. With a TTL, it becomes critical unless it is updated in
    /// time. An existing check keeps its status, whatever the request says.
    pub(crate) fn register_check(
        &mut self,
        mut check: Check,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        let service = &check.service_id;
        if !service.is_empty() && !self.local_services().any(|known| known.id == *service) {
            return Err(Error::rejected(format!(
                "ServiceID {service:?} does not exist"
            )));
        }
        if self.catalog.size() >= self.limits.catalog_entries {
            return Err(Error::LimitReached {
                what: "catalog entries",
                limit: self.limits.catalog_entries,
            });
        }
        let id = check.check_id.clone();
        let known = self.local_checks().find(|known| known.check_id == id);
        if let Some(known) = known {
            check.status = known.status;
            check.output = known.output;
        }
        let output = check.output.clone();
        let index = self.next_index();
        self.put_check(index, &self.node.clone(), check);
        self.stop_ttl(&id);
        if let Some(ttl) = ttl {
            self.start_ttl(id, ttl, output);
        }
        Ok(())
    }

    fn start_ttl(&mut self, id: String, ttl: Duration, output: String) {
        let expires = self.now + ttl;
        self.schedule(expires, Deadline::Check(id.clone()));
        let check = TtlCheck {
            ttl,
            expires,
            output,
        };
        self.catalog.ttl_checks.insert(id, check);
    }

    fn stop_ttl(&mut self, id: &str) -> Option<Duration> {
        let TtlCheck { ttl, expires, .. } = self.catalog.ttl_checks.remove(id)?;
        self.cancel(expires, Deadline::Check(id.into()));
        Some(ttl)
    }

    /// Sets the status of a TTL check of the own node and restarts its TTL.
    pub(crate) fn update_check(
        &mut self,
        id: &str,
        status: &str,
        output: &str,
    ) -> Result<(), Error> {
        let Some(ttl) = self.stop_ttl(id) else {
            return Err(Error::rejected(format!(
                "CheckID {id:?} does not have associated TTL"
            )));
        };
        self.start_ttl(id.into(), ttl, output.into());
        self.set_local_check_status(id, status, output.into());
        Ok(())
    }

    pub(crate) fn expire_check(&mut self, id: &str) {
        let Some(check) = self.catalog.ttl_checks.get_mut(id) else {
            return;
        };
        // The check has no deadline until its next update.
        check.expires = Duration::ZERO;
        check.output = if check.output.is_empty() {
            "TTL expired".into()
        } else {
            format!(
                "TTL expired (last output before timeout follows): {}",
                check.output
            )
        };
        let output = check.output.clone();
        self.set_local_check_status(id, "critical", output);
    }

    /// Stores the status of a check if it has changed: a heartbeat takes no index and wakes no
    /// query.
    fn set_local_check_status(&mut self, id: &str, status: &str, output: String) {
        let node = self.node.clone();
        let check = self.catalog.node(&node).and_then(|node| node.check(id));
        if let Some(mut check) = check.filter(|check| check.status != status).cloned() {
            check.status = status.into();
            check.output = output;
            let index = self.next_index();
            self.put_check(index, &node, check);
        }
    }

    /// Returns the services of the own node.
    pub(crate) fn local_services(&self) -> impl Iterator<Item = &Service> {
        let own = self.catalog.node(&self.node);
        own.into_iter().flat_map(|node| node.services.values())
    }

    /// Returns the checks of the own node that clients registered, as the agent sees them: with
    /// their latest output and without the indexes of the catalog.
    pub(crate) fn local_checks(&self) -> impl Iterator<Item = Check> {
        let own = self.catalog.node(&self.node);
        own.into_iter()
            .flat_map(|node| node.checks.values())
            .filter(|check| check.check_id != SERF_HEALTH)
            .map(|check| {
                let ttl = self.catalog.ttl_checks.get(&check.check_id);
                Check {
                    output: ttl.map_or(&check.output, |ttl| &ttl.output).clone(),
                    create_index: 0,
                    modify_index: 0,
                    ..check.clone()
                }
            })
    }
}
