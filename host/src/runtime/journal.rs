//! What the host saw of a call.

use crate::network::Fault;
use http::{Method, Request};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wasmtime_wasi_http::WasiBody;

/// The last request, the last fault in detail, and whether a write went out.
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
    /// The method and path of the last request that the component made, allowed or not.
    pub(crate) fn request(&self) -> Option<(String, String)> {
        self.entries().request.clone()
    }

    /// What the component could not be told about the last fault.
    pub(crate) fn detail(&self) -> Option<String> {
        self.entries().detail.clone()
    }

    /// Whether a request that writes was sent, or is under way.
    pub(crate) fn wrote(&self) -> bool {
        self.entries().writes > 0
    }

    /// Whether the component asked for more memory than it may have.
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

    pub(super) fn fault(&self, method: &Method, fault: &Fault) {
        let mut entries = self.entries();
        entries.detail = fault.hidden_detail().map(str::to_owned);
        if fault.is_before_sending() {
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
