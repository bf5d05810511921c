//! What the host observed of a call.

use crate::network::RequestError;
use http::{Method, Request};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wasmtime_wasi_http::WasiBody;

/// The last request, the reason of its failure, and whether a write was sent.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    request: Option<(String, String)>,
    detail: Option<String>,
    writes: usize,
    out_of_memory: bool,
}

impl Journal {
    /// The method and path of the last request, allowed or not.
    pub(crate) fn request(&self) -> Option<(String, String)> {
        self.entries().request.clone()
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

    pub(super) fn begin(&self, request: &Request<WasiBody>) {
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut entries = self.entries();
        entries.request = Some((request.method().to_string(), path));
        entries.detail = None;
        entries.writes += usize::from(writes(request.method()));
    }

    pub(super) fn failed(&self, method: &Method, error: &RequestError) {
        let mut entries = self.entries();
        entries.detail = error.hidden_detail().map(str::to_owned);
        if error.is_before_sending() {
            entries.writes -= usize::from(writes(method));
        }
    }

    pub(super) fn memory_refused(&self) {
        self.entries().out_of_memory = true;
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn writes(method: &Method) -> bool {
    *method != Method::GET
}
