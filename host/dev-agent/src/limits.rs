//! Upper bounds, which keep a client from exhausting the memory of the process.

/// Upper bounds of an agent.
///
/// The defaults have room for 10,000 sessions and 1,000 blocked queries with a wide margin, and keep
/// a hostile client from allocating more than a few hundred megabytes.
///
/// The struct may gain fields: start from [`Limits::default`] and set those that matter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of sessions; a request for one more gets a 503.
    pub sessions: usize,
    /// Maximum number of keys, including deleted keys in their lock-delay; a request for one more
    /// gets a 503.
    pub keys: usize,
    /// Maximum number of nodes, services and checks together; a request for one more gets a 503.
    pub catalog_entries: usize,
    /// Maximum size of all keys, values and sessions together, in bytes; a request for more gets a
    /// 503.
    pub stored_bytes: usize,
    /// Maximum size of a value, in bytes; a larger one gets a 413. Consul's `kv_max_value_size`.
    pub value_bytes: usize,
    /// Maximum size of the body of a transaction, in bytes; a larger one gets a 413. Consul's
    /// `txn_max_req_len`.
    pub txn_bytes: usize,
    /// Maximum size of any other request body, in bytes; a larger one gets a 413.
    pub body_bytes: usize,
    /// Maximum number of connections; one more is closed without a response, as with Consul's
    /// `http_max_conns_per_client`.
    pub connections: usize,
    /// Maximum number of blocked queries; one more gets a 429.
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
