//! One call: its clock and its turn, a fresh store, and the error reported when a call is cut short.

use super::Client;
use crate::component::types::Agent;
use crate::component::{Operation, Parameters, Returned};
use crate::error::{Error, ErrorKind, Exchange, Result};
use crate::network::{self, OUT_OF_DESCRIPTORS};
use crate::runtime::{Call, Journal, MAX_MEMORY, Slot};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// Text of this size is read or written in less than a millisecond.
const SHORT_TEXT: usize = 16 << 10;

/// The turn of one call among the client's and the runtime's. Its clock started before it waited.
pub(super) struct Turn<'a> {
    client: &'a Client,
    begun: Instant,
    timeout: Duration,
    journal: Arc<Journal>,
    _place: SemaphorePermit<'a>,
    slot: Arc<Slot>,
}

impl Client {
    /// Starts the clock of a call that may take so long, and waits for its turn.
    pub(super) async fn turn(&self, timeout: Duration) -> Result<Turn<'_>> {
        let begun = Instant::now();
        let journal = Arc::new(Journal::default());
        let wait_until = network_deadline(begun, timeout);
        let (place, slot) = match self.free_places().filter(|_| !timeout.is_zero()) {
            Some(places) => places,
            None => match tokio::time::timeout_at(wait_until, self.places()).await {
                Ok(Some(places)) if Instant::now() < wait_until => places,
                Ok(_) | Err(_) => return Err(self.never_started(timeout, &journal)),
            },
        };
        Ok(Turn {
            client: self,
            begun,
            timeout,
            journal,
            _place: place,
            slot,
        })
    }

    /// A place among the client's calls and one among the runtime's, if both are free.
    fn free_places(&self) -> Option<(SemaphorePermit<'_>, Arc<Slot>)> {
        let place = self.0.calls.try_acquire().ok()?;
        Some((place, self.0.runtime.free_slot()?))
    }

    /// Waits for both places.
    async fn places(&self) -> Option<(SemaphorePermit<'_>, Arc<Slot>)> {
        // Neither semaphore is ever closed.
        let place = self.0.calls.acquire().await.ok()?;
        Some((place, self.0.runtime.slot().await.ok()?))
    }

    fn never_started(&self, timeout: Duration, journal: &Journal) -> Error {
        let message =
            format!("the call waited {timeout:?} for its turn, because too many calls are running");
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
            None if network::out_of_descriptors() => format!("{error:#}: {OUT_OF_DESCRIPTORS}"),
            None => format!("{error:#}"),
        };
        let message = format!("the component was stopped: {why}");
        self.cut_short(ErrorKind::Other, &message, journal)
    }

    fn timed_out(&self, timeout: Duration, journal: &Journal) -> Error {
        let message = format!("the call exceeded its timeout of {timeout:?}");
        self.cut_short(ErrorKind::Timeout, &message, journal)
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

impl Turn<'_> {
    /// Cuts the time that the call may take, counted from its beginning.
    pub(super) fn shorten(&mut self, timeout: Duration) {
        self.timeout = timeout.min(self.timeout);
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    fn deadline(&self) -> Instant {
        self.begun + self.timeout
    }

    /// Carries out an operation in a fresh instance. `input` is the size of the parameters in bytes, if they can be large.
    pub(super) async fn run<P, T>(
        &self,
        operation: Operation,
        input: usize,
        parameters: impl FnOnce(Arc<Agent>) -> P,
    ) -> Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let inner = &self.client.0;
        let call = Call {
            network: inner.network.clone(),
            journal: self.journal.clone(),
            network_deadline: network_deadline(self.begun, self.timeout),
            deadline: self.deadline(),
            computing: inner.computing.clone(),
            slot: self.slot.clone(),
            kept: inner.kept.clone(),
        };
        let run = inner.runtime.run(
            call,
            operation,
            input,
            parameters(inner.agent.clone()),
            None,
        );
        run.await
            .map_err(|error| self.client.trapped(&error, self.timeout, &self.journal))
    }

    /// Reads or writes text of a size that others chose: off the executor if it is large, and not beyond the deadline.
    pub(super) async fn handle<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if size <= SHORT_TEXT {
            return work();
        }
        let work = tokio::task::spawn_blocking(work);
        match tokio::time::timeout_at(self.deadline(), work).await {
            Ok(Ok(result)) => result,
            // A panic goes on in the caller.
            Ok(Err(failed)) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(self.client.timed_out(self.timeout, &self.journal)),
            },
            Err(_) => Err(self.client.timed_out(self.timeout, &self.journal)),
        }
    }
}

/// When the network gives up: a little before the deadline, so that the component can report what it waited for.
fn network_deadline(begun: Instant, timeout: Duration) -> Instant {
    begun + timeout - (timeout / 10).min(Duration::from_millis(50))
}

/// Whether text of this size is read at once.
pub(super) fn is_short(size: usize) -> bool {
    size <= SHORT_TEXT
}
