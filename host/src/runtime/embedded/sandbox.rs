//! An instance in a store of its own, and its steps.

use crate::component::{Parameters, Returned};
use crate::runtime::limits::{Limits, MAX_PASSED};
use tokio::time::Instant;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre};
use wasmtime::{Store, UpdateDeadline};

/// An instance in a store of its own.
pub(super) struct Sandbox {
    store: Store<State>,
    instance: Instance,
}

/// The state behind a store.
#[derive(Default)]
pub(super) struct State {
    limits: Limits,
    /// When the component is interrupted.
    deadline: Option<Instant>,
    pace: Pace,
}

/// How a component's steps run.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// At once, on the caller's stack: for a step that takes microseconds.
    #[default]
    Short,
    /// On a stack of its own, with a pause for other tasks at every tick of the epoch.
    Long,
}

impl Sandbox {
    /// A fresh instance. The component's start function, if it has one, is part of the first step.
    pub(super) async fn new(
        component: &InstancePre<State>,
        pace: Pace,
        deadline: Option<Instant>,
    ) -> wasmtime::Result<Sandbox> {
        let state = State {
            limits: Limits::default(),
            deadline,
            pace,
        };
        let mut store = Store::new(component.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(MAX_PASSED);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            if state
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(match state.pace {
                Pace::Short => UpdateDeadline::Continue(1),
                Pace::Long => UpdateDeadline::Yield(1),
            })
        });
        let instance = match pace {
            Pace::Short => component.instantiate(&mut store)?,
            Pace::Long => component.instantiate_async(&mut store).await?,
        };
        Ok(Sandbox { store, instance })
    }

    /// Interrupts the following steps at a deadline.
    pub(super) fn interrupt_at(&mut self, deadline: Instant) {
        self.store.data_mut().deadline = Some(deadline);
    }

    /// Whether the component was refused memory.
    pub(super) fn out_of_memory(&self) -> bool {
        self.store.data().limits.refused()
    }

    /// The size of its memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.store.data().limits.memory()
    }

    /// Calls a function.
    pub(super) async fn step<P, R>(
        &mut self,
        function: &ComponentExportIndex,
        parameters: P,
        pace: Pace,
    ) -> wasmtime::Result<R>
    where
        P: Parameters,
        R: Returned,
    {
        let store = &mut self.store;
        store.data_mut().pace = pace;
        // The epoch may have advanced since the last step, and an interruption costs time.
        store.set_epoch_deadline(1);
        let function = self
            .instance
            .get_typed_func::<P, (R,)>(&mut *store, function)?;
        let (result,) = match pace {
            Pace::Short => function.call(store, parameters)?,
            Pace::Long => function.call_async(store, parameters).await?,
        };
        Ok(result)
    }
}
