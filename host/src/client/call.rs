//! One call: a fresh store, a deadline, and what is said when it does not come to its own end.

use super::Client;
use crate::bindings::Exports;
use crate::bindings::types::{self, Agent};
use crate::error::{Error, ErrorKind, Exchange, Result};
use crate::runtime::{Hooks, Journal, MAX_MEMORY, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::Store;

impl Client {
    /// Calls a typed function.
    pub(super) async fn call<T>(
        &self,
        operation: impl AsyncFnOnce(
            &Exports,
            &mut Store<State>,
            &Agent,
        ) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T> {
        let journal = Arc::new(Journal::default());
        match self.sandboxed(self.0.timeout, &journal, operation).await? {
            Ok(value) => Ok(value),
            Err(error) => Err(self.explained(error, &journal)),
        }
    }

    /// Runs an operation in a fresh store, under the deadline. The network gives up a little earlier than the deadline,
    /// so that the component itself can say what it was waiting for.
    pub(super) async fn sandboxed<T>(
        &self,
        timeout: Duration,
        journal: &Arc<Journal>,
        operation: impl AsyncFnOnce(&Exports, &mut Store<State>, &Agent) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let inner = &self.0;
        let deadline = Instant::now() + timeout;
        let patience = deadline - (timeout / 10).min(Duration::from_millis(50));
        let hooks = Hooks::new(inner.network.clone(), journal.clone(), patience);
        let turn = async {
            let turn = inner.turns.acquire().await?;
            anyhow::Ok((turn, inner.runtime.slot().await?))
        };
        let _turn = match tokio::time::timeout_at(patience, turn).await {
            Ok(Ok(turn)) if Instant::now() < patience => turn,
            Ok(Err(error)) => return Err(self.stopped(&error, timeout, journal)),
            Ok(Ok(_)) | Err(_) => return Err(self.out_of_turn(timeout, journal)),
        };
        let run = async {
            let mut store = inner.runtime.store(hooks, deadline);
            let exports = inner
                .runtime
                .component()
                .instantiate_async(&mut store)
                .await?;
            anyhow::Ok(operation(&exports, &mut store, &inner.agent).await?)
        };
        match tokio::time::timeout_at(deadline, run).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(trap)) => Err(self.stopped(&trap, timeout, journal)),
            Err(_) => Err(self.out_of_time(timeout, journal)),
        }
    }

    fn out_of_turn(&self, timeout: Duration, journal: &Journal) -> Error {
        self.cut_off(
            ErrorKind::Timeout,
            &format!(
                "the call waited {timeout:?} for its turn: as many as may run at once are running"
            ),
            journal,
        )
    }

    fn out_of_time(&self, timeout: Duration, journal: &Journal) -> Error {
        self.cut_off(
            ErrorKind::Timeout,
            &format!("the call took longer than the {timeout:?} it was given"),
            journal,
        )
    }

    fn stopped(&self, trap: &anyhow::Error, timeout: Duration, journal: &Journal) -> Error {
        let why = match trap.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => return self.out_of_time(timeout, journal),
            Some(_) if journal.out_of_memory() => format!(
                "it needs more than the {} MiB of memory that it may have",
                MAX_MEMORY >> 20
            ),
            Some(trap) => trap.to_string(),
            None => format!("{trap:#}"),
        };
        let message = format!("the component was stopped: {why}");
        self.cut_off(ErrorKind::Other, &message, journal)
    }

    /// The error of a call that did not come to its own end.
    fn cut_off(&self, kind: ErrorKind, message: &str, journal: &Journal) -> Error {
        let request = journal
            .request()
            .map(|(method, path)| (method, self.redacted(path)));
        let maybe_applied = journal.wrote();
        let place = match &request {
            Some((method, path)) => format!(" (last request: {method} {}{path})", self.0.address),
            None => String::new(),
        };
        let applied = if maybe_applied {
            " What it had asked Consul to change may have been carried out: look before trying again."
        } else {
            ""
        };
        Error::from(types::Error {
            kind,
            message: format!("{message}{place}.{applied}"),
            exchange: request.map(|(method, path)| Exchange {
                method,
                path,
                status: None,
                text: String::new(),
            }),
            maybe_applied,
        })
    }
}
