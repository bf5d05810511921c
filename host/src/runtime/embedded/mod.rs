//! Runs components of the world `embedded`: the host calls the component step by step, and sends its requests in between.

mod exchange;
mod kept;
mod sandbox;

pub(crate) use kept::Kept;

use super::computing::Budget;
use super::{Call, Journal, link_error};
use crate::component::steps::{Request, Response};
use crate::component::{Operation, Parameters, Returned, StepExports};
use crate::error::Result;
use crate::network::{Network, RequestError};
use exchange::{exchange, transport_error};
use sandbox::{Pace, Sandbox, State};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{Engine, Trap};

/// The built-in component handles an input of this many bytes in less than a millisecond.
const SHORT_INPUT: usize = 16 << 10;

/// A component that imports nothing.
pub(super) struct Embedded {
    instances: InstancePre<State>,
    exports: StepExports,
    /// Whether this is the built-in component, whose steps are known to be short.
    built_in: bool,
    /// A fresh instance for the next call, made while another call waited for a response.
    prepared: Mutex<Option<Sandbox>>,
    /// The instance of the previous call, dropped during the next one or at the next tick.
    retired: Mutex<Option<Sandbox>>,
}

impl Embedded {
    pub(super) fn link(engine: &Engine, component: &Component, built_in: bool) -> Result<Embedded> {
        let exports = StepExports::of(component)
            .map_err(|missing| link_error(&format!("it does not export {missing}")))?;
        let instances = Linker::new(engine)
            .instantiate_pre(component)
            .map_err(|error| link_error(&format!("{error:#}")))?;
        Ok(Embedded {
            instances,
            exports,
            built_in,
            prepared: Mutex::default(),
            retired: Mutex::default(),
        })
    }

    /// Returns the first request of an operation, and forgets the operation.
    pub(super) async fn first_request<P: Parameters>(
        &self,
        call: Call,
        operation: Operation,
        input: usize,
        parameters: P,
    ) -> wasmtime::Result<Option<Request>> {
        let start = *self.exports.start.of(operation)?;
        self.within(&call, input, async |running| {
            running.step(&start, parameters).await
        })
        .await
    }

    /// Carries out an operation in a fresh instance. `input` is the size of the parameters in bytes, if they can be large.
    /// If the response to the first request is there already, that request is not sent again.
    pub(super) async fn call<P, T>(
        &self,
        call: Call,
        operation: Operation,
        input: usize,
        parameters: P,
        first: Option<FirstResponse>,
    ) -> wasmtime::Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        self.within(&call, input, async |running| {
            self.run(running, operation, parameters, first).await
        })
        .await
    }

    /// Does something in an instance.
    async fn within<T>(
        &self,
        call: &Call,
        input: usize,
        work: impl AsyncFnOnce(&mut Running<'_>) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        let mut budget = Budget::default();
        let (mut sandbox, counted) = match call.kept.as_ref().and_then(|kept| kept.take()) {
            Some(kept) => {
                let (sandbox, counted) = kept.into_parts();
                (sandbox, Some(counted))
            }
            None => (self.fresh(call, &mut budget).await?, None),
        };
        sandbox.interrupt_at(call.deadline);
        let mut running = Running {
            call,
            budget,
            pace: self.pace(input),
            sandbox: Some(sandbox),
        };
        let result = work(&mut running).await;
        let sandbox = running.sandbox;
        match (&result, sandbox, &call.kept) {
            (Ok(_), Some(sandbox), Some(kept)) => kept.put(sandbox, counted),
            (Ok(_), Some(sandbox), None) => self.retire(sandbox),
            (Err(_), Some(sandbox), _) if sandbox.out_of_memory() => call.journal.memory_refused(),
            _ => {}
        }
        result
    }

    async fn run<P, T>(
        &self,
        running: &mut Running<'_>,
        operation: Operation,
        parameters: P,
        mut first: Option<FirstResponse>,
    ) -> wasmtime::Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let (exports, call) = (&self.exports, running.call);
        let start = exports.start.of(operation)?;
        let mut next: Option<Request> = running.step(start, parameters).await?;
        while let Some(request) = next {
            // A request may have been refused at once, so a component could go on like this without ever waiting.
            if Instant::now() >= call.deadline {
                return Err(Trap::Interrupt.into());
            }
            let idle = self.built_in && call.kept.is_none();
            let response = match first.take() {
                Some(first) => first.response,
                None => {
                    let deadline = call.network_deadline;
                    let built_in = self.built_in;
                    let exchange =
                        exchange(&call.network, &call.journal, deadline, request, built_in);
                    self.meanwhile(idle, exchange).await
                }
            };
            if let Ok(response) = &response {
                // What follows handles this response, too.
                running.pace = running.pace.max(self.pace(response.body.len()));
            }
            if !self.built_in {
                tokio::task::yield_now().await;
            }
            let response = response.map_err(|error| transport_error(&error));
            next = running.step(&exports.resume, (response,)).await?;
        }
        running.step(exports.finish.of(operation)?, ()).await
    }

    pub(super) fn is_built_in(&self) -> bool {
        self.built_in
    }

    fn pace(&self, input: usize) -> Pace {
        if self.built_in && input <= SHORT_INPUT {
            Pace::Short
        } else {
            Pace::Long
        }
    }

    /// A fresh instance.
    async fn fresh(&self, call: &Call, budget: &mut Budget) -> wasmtime::Result<Sandbox> {
        let prepared = self.prepared.try_lock().ok();
        match prepared.and_then(|mut prepared| prepared.take()) {
            Some(sandbox) => Ok(sandbox),
            None if self.built_in => {
                Sandbox::new(&self.instances, Pace::Short, Some(call.deadline)).await
            }
            None => {
                let (instances, deadline) = (self.instances.clone(), call.deadline);
                let new = async move { Sandbox::new(&instances, Pace::Long, Some(deadline)).await };
                in_turn(call, budget, new).await
            }
        }
    }

    /// Awaits a response, and if `idle`, meanwhile does work for other calls: it drops the instance of the
    /// previous call, and prepares that of the next one.
    async fn meanwhile<R>(&self, idle: bool, exchange: impl Future<Output = R>) -> R {
        let mut exchange = pin!(exchange);
        // The connection's task sends the request first.
        let mut pause = idle.then(|| Box::pin(tokio::task::yield_now()));
        std::future::poll_fn(|context| {
            let response = exchange.as_mut().poll(context);
            if response.is_pending()
                && let Some(pausing) = &mut pause
                && pausing.as_mut().poll(context).is_ready()
            {
                pause = None;
                self.tidy();
                self.prepare();
            }
            response
        })
        .await
    }

    /// Prepares an instance for the next call, unless there is one.
    fn prepare(&self) {
        // Locked until the end, so that there is never more than one.
        let Ok(mut prepared) = self.prepared.try_lock() else {
            return;
        };
        if prepared.is_some() {
            return;
        }
        // Instantiation of the built-in component is ready at once. Without room for another instance there is none.
        let mut preparing = pin!(Sandbox::new(&self.instances, Pace::Short, None));
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(sandbox)) = preparing.as_mut().poll(&mut context) {
            *prepared = Some(sandbox);
        }
    }

    /// Leaves an instance that is not used again to the next call or to the next tick. To drop it takes time, which the
    /// caller need not wait for.
    fn retire(&self, sandbox: Sandbox) {
        match self.retired.try_lock() {
            Ok(mut retired) if retired.is_none() => *retired = Some(sandbox),
            Ok(_) | Err(_) => drop(sandbox),
        }
    }

    /// Drops what the last call left.
    pub(super) fn tidy(&self) {
        // Locked while it is dropped: until then it takes a place in the pool.
        if let Ok(mut retired) = self.retired.try_lock() {
            *retired = None;
        }
    }
}

/// The response to the first request of an operation that is begun again.
pub(crate) struct FirstResponse {
    response: std::result::Result<Response, RequestError>,
}

impl FirstResponse {
    pub(super) async fn new(
        network: &Network,
        journal: &Journal,
        deadline: Instant,
        request: Request,
        built_in: bool,
    ) -> FirstResponse {
        let exchange = exchange(network, journal, deadline, request, built_in);
        FirstResponse {
            response: exchange.await,
        }
    }
}

/// A call and its instance.
struct Running<'a> {
    call: &'a Call,
    budget: Budget,
    pace: Pace,
    /// None while a step runs in a task of its own, and after one that did not end.
    sandbox: Option<Sandbox>,
}

impl Running<'_> {
    /// Calls a function: at once if that takes microseconds, else when it is this call's turn to compute.
    async fn step<P, R>(
        &mut self,
        function: &ComponentExportIndex,
        parameters: P,
    ) -> wasmtime::Result<R>
    where
        P: Parameters,
        R: Returned,
    {
        let Some(mut sandbox) = self.sandbox.take() else {
            return Err(Trap::Interrupt.into());
        };
        let (result, sandbox) = match self.pace {
            Pace::Short => {
                let result = sandbox.step(function, parameters, Pace::Short).await;
                (result, sandbox)
            }
            Pace::Long => {
                let function = *function;
                let step = async move {
                    let result = sandbox.step(&function, parameters, Pace::Long).await;
                    Ok((result, sandbox))
                };
                in_turn(self.call, &mut self.budget, step).await?
            }
        };
        self.sandbox = Some(sandbox);
        result
    }
}

/// Does what takes long when it is the call's turn to compute.
async fn in_turn<T: Send + 'static>(
    call: &Call,
    budget: &mut Budget,
    work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
) -> wasmtime::Result<T> {
    let run = call.computing.run(&call.slot, budget, call.deadline, work);
    run.await
}
