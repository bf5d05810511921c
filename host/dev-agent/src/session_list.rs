//! A cache of the serialized list of all sessions.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::go::json;
use crate::state::sessions::Session;

/// The list of all sessions as last serialized, with its index.
///
/// The list of 10,000 sessions is megabytes of JSON, and a change of any session wakes every client
/// that watches the list.
#[derive(Default)]
pub(crate) struct SessionListCache(Mutex<(u64, Bytes)>);

impl SessionListCache {
    /// Returns the list at `index`. A caller that arrives while another one serializes the list
    /// waits for it.
    pub(crate) fn get(&self, index: u64, sessions: &[Arc<Session>]) -> Bytes {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != index {
            *cached = (index, json::to_vec(&sessions).into());
        }
        cached.1.clone()
    }
}
