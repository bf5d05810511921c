//! What the agent holds at most. A full agent refuses with a clear text and keeps serving.

/// Upper bounds of one [`DevAgent`](super::DevAgent).
///
/// The defaults leave room for 10,000 sessions and 1,000 blocked queries with a wide margin, and
/// keep a hostile client from taking more than a few hundred megabytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions alive at once. One more: 503.
    pub sessions: usize,
    /// Keys in the store; a key in its lock-delay counts as well, even when it is deleted.
    pub keys: usize,
    /// Nodes, services and checks together.
    pub catalog_entries: usize,
    /// Bytes of all keys, values and session fields together.
    pub stored_bytes: usize,
    /// Bytes of one value; Consul's `kv_max_value_size`. One more: 413 with Consul's text.
    pub value_bytes: usize,
    /// Bytes of a transaction's body; Consul's `txn_max_req_len`.
    pub txn_bytes: usize,
    /// Bytes of any other body (a session's name may be megabytes long in Consul, too).
    pub body_bytes: usize,
    /// Open connections. One more is closed unanswered, as with `http_max_conns_per_client`.
    pub connections: usize,
    /// Blocked queries. One more: 429.
    pub waiters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sessions: 50_000,
            keys: 50_000,
            catalog_entries: 10_000,
            stored_bytes: 256 * 1024 * 1024,
            value_bytes: 512 * 1024,
            txn_bytes: 512 * 1024,
            body_bytes: 4 * 1024 * 1024,
            connections: 4_096,
            waiters: 4_096,
        }
    }
}
