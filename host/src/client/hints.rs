//! What the host adds to a component's errors, and what it removes from them.

use super::Client;
use crate::error::Error;
use crate::runtime::Journal;

impl Client {
    /// Redacts the client's token, which the component does not know and a server may have repeated, and adds what the
    /// host knows about a request that got no response: the reason for a denial or a TLS failure, and the setting that
    /// the address comes from.
    pub(super) fn explain(&self, error: Error, journal: &Journal) -> Error {
        let error = self.0.network.redactor().error(error);
        let unanswered = error
            .exchange()
            .is_some_and(|exchange| exchange.status.is_none());
        if !unanswered {
            return error;
        }
        match (journal.detail(), self.0.address.source.hint()) {
            (Some(detail), Some(source)) => error.with_detail(&format!("{detail}; {source}")),
            (Some(detail), None) => error.with_detail(&detail),
            (None, Some(source)) => error.with_detail(source),
            (None, None) => error,
        }
    }
}
