//! Redacts a component's errors, and adds details that only the host knows.

use super::Client;
use crate::error::Error;
use crate::runtime::Journal;

impl Client {
    /// Redacts the client's token, which the component does not know and a server may have repeated, and adds what the
    /// host knows about a request that got no response: the reason for a denial or a TLS failure, and the setting that
    /// the address comes from.
    pub(super) fn explain(&self, error: Error, journal: &Journal) -> Error {
        let unanswered = error
            .exchange()
            .is_some_and(|exchange| exchange.status.is_none());
        let details = match (journal.detail(), self.0.address.source.hint()) {
            _ if !unanswered => None,
            (Some(detail), Some(source)) => Some(format!("{detail}; {source}")),
            (detail, source) => detail.or(source.map(str::to_owned)),
        };
        let error = match details {
            Some(details) => error.with_detail(&details),
            None => error,
        };
        // Last, because a detail may quote what the component requested.
        self.0.network.redactor().error(error)
    }
}
