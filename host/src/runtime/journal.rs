//! What the host observed of a call.

use crate::network::RequestError;
use http::{Method, Uri};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last request, the reason of its failure, and whether a write was sent.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    request: Option<(Method, Uri)>,
    detail: Option<String>,
    writes: usize,
    out_of_memory: bool,
}

impl Journal {
    /// The method and path of the last request, allowed or not.
    pub(crate) fn request(&self) -> Option<(String, String)> {
        let entries = self.entries();
        let (method, uri) = entries.request.as_ref()?;
        let path = uri.path_and_query().map(ToString::to_string);
        Some((method.to_string(), path.unwrap_or_default()))
    }

    /// The detail of the last failure, if the component cannot see it.
    pub(crate) fn detail(&self) -> Option<String> {
        self.entries().detail.clone()
    }

    /// Whether a write was sent or is under way.
    pub(crate) fn wrote(&self) -> bool {
        self.entries().writes > 0
    }

    /// Whether the component hit its memory limit. It then simply traps, so the cause is recorded here.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.entries().out_of_memory
    }

    pub(super) fn begin(&self, method: &Method, uri: &Uri, writes: bool) {
        let mut entries = self.entries();
        entries.request = Some((method.clone(), uri.clone()));
        entries.detail = None;
        entries.writes += usize::from(writes);
    }

    pub(super) fn failed(&self, error: &RequestError, writes: bool) {
        let mut entries = self.entries();
        entries.detail = error.hidden_detail().map(str::to_owned);
        if error.is_before_sending() {
            entries.writes -= usize::from(writes);
        }
    }

    pub(super) fn memory_refused(&self) {
        self.entries().out_of_memory = true;
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
