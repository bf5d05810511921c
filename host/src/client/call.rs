//! One call: a fresh store, a deadline, and the error reported when a call is cut short.

use super::Client;
use crate::component::types::Agent;
use crate::component::{Operation, Parameters, Returned};
use crate::error::{Error, ErrorKind, Exchange, Result};
use crate::runtime::{Call, Journal, MAX_MEMORY, Slot};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

impl Client {
    /// Carries out an operation in a fresh instance, under a deadline. `input` is the size of the parameters in bytes, if
    /// they can be large.
    pub(super) async fn sandboxed<'a, P, T>(
        &'a self,
        timeout: Duration,
        journal: &Arc<Journal>,
        operation: Operation,
        input: usize,
        parameters: impl FnOnce(&'a Agent) -> P,
    ) -> Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let inner = &self.0;
        let deadline = Instant::now() + timeout;
        let network_deadline = deadline - (timeout / 10).min(Duration::from_millis(50));
        let _places = match self.free_places().filter(|_| !timeout.is_zero()) {
            Some(places) => places,
            None => match tokio::time::timeout_at(network_deadline, self.places()).await {
                Ok(Some(places)) if Instant::now() < network_deadline => places,
                Ok(_) | Err(_) => return Err(self.never_started(timeout, journal)),
            },
        };
        let call = Call {
            network: inner.network.clone(),
            journal: journal.clone(),
            network_deadline,
            deadline,
            kept: inner.kept.clone(),
        };
        let run = inner
            .runtime
            .run(call, operation, input, parameters(&inner.agent));
        run.await
            .map_err(|error| self.trapped(&error, timeout, journal))
    }

    /// A place among the client's calls and one among the runtime's, if both are free.
    fn free_places(&self) -> Option<(SemaphorePermit<'_>, Slot)> {
        let place = self.0.calls.try_acquire().ok()?;
        Some((place, self.0.runtime.free_slot()?))
    }

    /// Waits for both places.
    async fn places(&self) -> Option<(SemaphorePermit<'_>, Slot)> {
        // Neither semaphore is ever closed.
        let place = self.0.calls.acquire().await.ok()?;
        Some((place, self.0.runtime.slot().await.ok()?))
    }

    fn never_started(&self, timeout: Duration, journal: &Journal) -> Error {
        let message =
            format!("the call waited {timeout:?} for its turn, because too many calls are running");
        self.cut_short(ErrorKind::Timeout, &message, journal)
    }

    fn timed_out(&self, timeout: Duration, journal: &Journal) -> Error {
        let message = format!("the call exceeded its timeout of {timeout:?}");
        self.cut_short(ErrorKind::Timeout, &message, journal)
    }

    fn trapped(&self, error: &wasmtime::Error, timeout: Duration, journal: &Journal) -> Error {
        let why = match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => return self.timed_out(timeout, journal),
            Some(_) if journal.out_of_memory() => format!(
                "it needs more than the {} MiB of memory that it may use",
                MAX_MEMORY >> 20
            ),
            Some(trap) => trap.to_string(),
            None => format!("{error:#}"),
        };
        let message = format!("the component was stopped: {why}");
        self.cut_short(ErrorKind::Other, &message, journal)
    }

    /// The error of a call that the host ended.
    fn cut_short(&self, kind: ErrorKind, message: &str, journal: &Journal) -> Error {
        let mut message = message.to_owned();
        let request = journal.request();
        if let Some((method, path)) = &request {
            message.push_str(&format!(
                " (last request: {method} {}{path})",
                self.0.address
            ));
        }
        let maybe_applied = journal.wrote();
        if maybe_applied {
            message.push_str("; Consul may have applied a write, so check before you try again");
        }
        let error = Error::new(kind, message).with_maybe_applied(maybe_applied);
        let error = match request {
            Some((method, path)) => error.with_exchange(Exchange::new(method, path)),
            None => error,
        };
        self.0.network.redactor().error(error)
    }
}
