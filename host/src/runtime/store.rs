//! The store of one call: its state and its limits.

use super::hooks::Hooks;
use super::journal::Journal;
use super::{INSTANCES, MAX_MEMORY, MEMORIES, Runtime, TABLES};
use std::sync::Arc;
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::IoView;

/// The state behind a store.
pub(crate) struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    limits: Limits,
}

impl Runtime {
    /// A store for one call. The component is interrupted at `deadline`, whatever it is doing.
    pub(crate) fn store(&self, hooks: Hooks, deadline: Instant) -> Store<State> {
        let state = State {
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            limits: Limits {
                fixed: StoreLimitsBuilder::new()
                    .memory_size(MAX_MEMORY)
                    .instances(INSTANCES as usize)
                    .memories(MEMORIES as usize)
                    .tables(TABLES as usize)
                    .build(),
                journal: hooks.journal().clone(),
            },
            hooks,
        };
        let mut store = Store::new(&self.0.engine, state);
        store.limiter(|state| &mut state.limits);
        // Bounds what a component passes to the host in one call. The largest result is 8 MiB.
        store.set_hostcall_fuel(16 << 20);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if Instant::now() >= deadline {
                Ok(UpdateDeadline::Interrupt)
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
        store
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// The limits of a store. A component that hits its memory limit simply traps, so the journal records the cause.
struct Limits {
    fixed: StoreLimits,
    journal: Arc<Journal>,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.fixed.memory_growing(current, desired, maximum)?;
        if !allowed {
            self.journal.memory_refused();
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.fixed.table_growing(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        self.fixed.instances()
    }

    fn tables(&self) -> usize {
        self.fixed.tables()
    }

    fn memories(&self) -> usize {
        self.fixed.memories()
    }
}
