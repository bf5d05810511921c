//! Runs components of the world `plugin`: the component calls `wasi:http`, and the host's part of it blocks the component
//! until there is a response.

mod hooks;

use super::computing::Budget;
use super::limits::{Limits, MAX_PASSED};
use super::{Call, link_error};
use crate::component::{self, Functions, Operation, Parameters, Returned};
use crate::error::Result;
use hooks::Hooks;
use tokio::time::Instant;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::IoView;

/// Maximum number of resources of a call: requests, responses, headers, bodies, streams and what waits for them. The
/// built-in component has up to 10 at once.
const MAX_RESOURCES: usize = 100;
/// Maximum size of a set of headers in the host's memory. The largest token has 64 KiB.
const MAX_FIELDS: usize = 96 << 10;

/// A component that is linked with `wasi:http`.
pub(super) struct Plugin {
    instances: InstancePre<State>,
    functions: Functions,
}

impl Plugin {
    pub(super) fn link(engine: &Engine, component: &Component) -> Result<Plugin> {
        let functions = component::plugin_exports(component)
            .map_err(|missing| link_error(&format!("it does not export {missing}")))?;
        let mut linker = Linker::new(engine);
        let instances = wasmtime_wasi_io::add_to_linker_async(&mut linker)
            .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
            .and_then(|()| linker.instantiate_pre(component))
            .map_err(|error| link_error(&format!("{error:#}")))?;
        Ok(Plugin {
            instances,
            functions,
        })
    }

    /// Carries out an operation in a fresh store.
    pub(super) async fn call<P, T>(
        &self,
        call: Call,
        operation: Operation,
        parameters: P,
    ) -> wasmtime::Result<T>
    where
        P: Parameters,
        T: Returned,
    {
        let (instances, function) = (self.instances.clone(), *self.functions.of(operation)?);
        let (deadline, computing, slot) =
            (call.deadline, call.computing.clone(), call.slot.clone());
        let run = async move { run(&instances, &function, call, parameters).await };
        // The component may wait for something that never happens, so there is a deadline besides the interruption.
        let mut budget = Budget::default();
        computing.run(&slot, &mut budget, deadline, run).await
    }
}

async fn run<P, T>(
    instances: &InstancePre<State>,
    function: &ComponentExportIndex,
    call: Call,
    parameters: P,
) -> wasmtime::Result<T>
where
    P: Parameters,
    T: Returned,
{
    let journal = call.journal.clone();
    let mut store = store(instances.engine(), call);
    let instance = instances.instantiate_async(&mut store).await?;
    let function = instance.get_typed_func::<P, (T,)>(&mut store, function)?;
    let result = function.call_async(&mut store, parameters).await;
    if result.is_err() && store.data().limits.refused() {
        journal.memory_refused();
    }
    result.map(|(result,)| result)
}

/// A store for one call. The component is interrupted at the deadline, whatever it is doing.
fn store(engine: &Engine, call: Call) -> Store<State> {
    let deadline = call.deadline;
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(MAX_FIELDS);
    let state = State {
        table,
        http,
        limits: Limits::default(),
        hooks: Hooks::new(call),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(MAX_PASSED);
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

/// The state behind a store.
struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    limits: Limits,
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
