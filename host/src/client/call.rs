//! One call: its clock and its turn, a fresh store, and the error reported when a call is cut short.

use super::Client;
use super::lanes::{Lane, Waiting};
use crate::component::locks::Wait;
use crate::component::steps::Request;
use crate::component::types::{Agent, Failure};
use crate::component::{Lacks, Operation, Parameters, Returned};
use crate::error::{Error, ErrorKind, Exchange, Result};
use crate::network::{self, OUT_OF_DESCRIPTORS};
use crate::runtime::{Call, FirstResponse, Journal, MAX_MEMORY, Slot};
use crate::session::nanoseconds;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
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
        self.turn_in(Lane::Calls, timeout, Arc::default()).await
    }

    /// The same in another lane, with what happened in the call before.
    async fn turn_in(
        &self,
        lane: Lane,
        timeout: Duration,
        journal: Arc<Journal>,
    ) -> Result<Turn<'_>> {
        let begun = Instant::now();
        let wait_until = network_deadline(begun, timeout);
        let (place, slot) = match self.free_places(lane).filter(|_| !timeout.is_zero()) {
            Some(places) => places,
            None => match tokio::time::timeout_at(wait_until, self.places(lane)).await {
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
    fn free_places(&self, lane: Lane) -> Option<(SemaphorePermit<'_>, Arc<Slot>)> {
        let place = self.lane(lane).try_acquire().ok()?;
        Some((place, self.0.runtime.free_slot(lane)?))
    }

    /// Waits for both places.
    async fn places(&self, lane: Lane) -> Option<(SemaphorePermit<'_>, Arc<Slot>)> {
        // Neither semaphore is ever closed.
        let place = self.lane(lane).acquire().await.ok()?;
        Some((place, self.0.runtime.slot(lane).await.ok()?))
    }

    fn lane(&self, lane: Lane) -> &Semaphore {
        match lane {
            Lane::Calls => &self.0.calls,
            Lane::Upkeep => &self.0.upkeep,
        }
    }

    /// Carries out an operation of locks, with a clock of its own.
    pub(super) async fn call_in<P, T>(
        &self,
        lane: Lane,
        timeout: Duration,
        operation: Operation,
        parameters: impl FnOnce(Arc<Agent>) -> P,
    ) -> Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let turn = self.turn_in(lane, timeout, Arc::default()).await?;
        let result: Result<T, Failure> = turn.run(operation, 0, parameters).await?;
        result.map_err(|failure| self.explain(Error::from(failure), turn.journal()))
    }

    /// Carries out an operation that begins with a blocking query. While Consul holds its response back, the call has a
    /// connection, but no instance of the component and no place among those who do: the operation begins again when the
    /// response is there.
    pub(super) async fn wait_in<P, T>(
        &self,
        waiting: Waiting,
        operation: Operation,
        wait: Wait,
        parameters: impl FnOnce(Arc<Agent>, Wait) -> P,
    ) -> Result<T>
    where
        P: Parameters + Clone,
        T: Returned,
    {
        let inner = &self.0;
        let (own, all) = (inner.waits(waiting), inner.runtime.waits(waiting));
        // Neither semaphore is ever closed.
        let _place = own.place(all).await;
        let at_most = Duration::from_nanos(wait.at_most)
            .min(own.longest())
            .min(all.longest());
        let wait = Wait {
            at_most: nanoseconds(at_most),
            ..wait
        };
        let parameters = parameters(inner.agent.clone(), wait);
        let journal = Arc::new(Journal::default());
        let lane = match waiting {
            Waiting::ToAcquire => Lane::Calls,
            Waiting::ForLoss => Lane::Upkeep,
        };
        let mut turn = self.turn_in(lane, inner.timeout, journal.clone()).await?;
        let request = turn.first_request(operation, parameters.clone()).await?;
        let mut first = None;
        // Consul adds up to a sixteenth.
        let held = at_most + at_most / 16;
        if let Some(request) = request.filter(|request| request.hold.is_some()) {
            drop(turn);
            let deadline = Instant::now() + held + inner.timeout;
            let exchange = inner
                .runtime
                .exchange(&inner.network, &journal, deadline, request);
            first = Some(exchange.await);
            turn = self.turn_in(lane, inner.timeout, journal).await?;
        } else {
            turn.timeout += held;
        }
        let run = turn.run_after(first, operation, 0, |_| parameters);
        let result: Result<T, Failure> = run.await?;
        result.map_err(|failure| self.explain(Error::from(failure), turn.journal()))
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
            None if error.is::<Lacks>() => {
                return Error::new(ErrorKind::Unsupported, error.to_string());
            }
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
        self.run_after(None, operation, input, parameters).await
    }

    /// The same for an operation whose first response may be there already.
    async fn run_after<P, T>(
        &self,
        first: Option<FirstResponse>,
        operation: Operation,
        input: usize,
        parameters: impl FnOnce(Arc<Agent>) -> P,
    ) -> Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let inner = &self.client.0;
        let parameters = parameters(inner.agent.clone());
        let run = inner
            .runtime
            .run(self.call(), operation, input, parameters, first);
        run.await
            .map_err(|error| self.client.trapped(&error, self.timeout, &self.journal))
    }

    /// Returns the first request of an operation, and forgets the operation.
    async fn first_request<P: Parameters>(
        &self,
        operation: Operation,
        parameters: P,
    ) -> Result<Option<Request>> {
        let runtime = &self.client.0.runtime;
        let request = runtime.first_request(self.call(), operation, parameters);
        request
            .await
            .map_err(|error| self.client.trapped(&error, self.timeout, &self.journal))
    }

    fn call(&self) -> Call {
        let inner = &self.client.0;
        Call {
            network: inner.network.clone(),
            journal: self.journal.clone(),
            network_deadline: network_deadline(self.begun, self.timeout),
            deadline: self.deadline(),
            computing: inner.computing.clone(),
            slot: self.slot.clone(),
            kept: inner.kept.clone(),
        }
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
