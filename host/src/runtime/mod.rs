//! The sandbox: one engine, one component linked once, and a fresh store for every call.

mod hooks;
mod journal;
mod store;
mod ticker;

pub(crate) use hooks::Hooks;
pub(crate) use journal::Journal;

use crate::component::Exports;
use crate::error::{Error, ErrorKind, Result};
use consul_session_component::engine_config;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use store::State;
use ticker::{Running, Ticker};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

/// The built-in component.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.wasm"));
/// The same component as a command, for other hosts.
const COMMAND: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/command.wasm"));
/// The built-in component, compiled when this crate was built.
const PLUGIN_COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.cwasm"));

/// Default limit of concurrent calls.
const MAX_CALLS: u32 = 256;
/// Maximum size of each linear memory in bytes. The largest list that the component reads, 8 MiB or 36,000 short
/// sessions, takes 90 MiB.
pub(crate) const MAX_MEMORY: usize = 128 << 20;

// Limits per call.
const INSTANCES: u32 = 4;
const MEMORIES: u32 = 2;
const TABLES: u32 = 4;

/// A component, ready to be called.
///
/// One runtime is enough for a program: clients of different tenants may share it, because nothing survives a call.
/// Cloning is cheap.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    component: InstancePre<State>,
    exports: Exports,
    calls: u32,
    ticker: Ticker,
    slots: Arc<Semaphore>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("calls", &self.0.calls)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Loads the built-in component, which was compiled when this crate was built. At most 256 calls run at once.
    ///
    /// # Errors
    ///
    /// Fails if the address space for the calls cannot be reserved.
    pub fn new() -> Result<Runtime> {
        Runtime::with_calls(MAX_CALLS)
    }

    /// Like [`Runtime::new`], with another limit of concurrent calls.
    pub fn with_calls(calls: u32) -> Result<Runtime> {
        if calls == 0 {
            return Err(failed("the number of concurrent calls must be at least 1"));
        }
        if PLUGIN_COMPILED.is_empty() {
            return Err(failed(
                "this build contains no component; clippy and documentation builds omit it",
            ));
        }
        let engine = engine(calls)?;
        // SAFETY: the bytes come from this crate's build script, which used the same version of wasmtime. They are part of
        // this program, and cannot be replaced without replacing the program.
        #[expect(
            unsafe_code,
            reason = "loading code that was compiled when this crate was built"
        )]
        let component = unsafe { Component::deserialize(&engine, PLUGIN_COMPILED) };
        let component = component
            .map_err(|error| failed(&format!("cannot load the built-in component: {error:#}")))?;
        Runtime::link(engine, &component, calls)
    }

    /// Compiles and loads another component with the same exports.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not such a component, or if it imports more than `wasi:http` and `wasi:io`.
    pub fn from_bytes(component: &[u8]) -> Result<Runtime> {
        let engine = engine(MAX_CALLS)?;
        let component = Component::new(&engine, component)
            .map_err(|error| failed(&format!("cannot compile the component: {error:#}")))?;
        Runtime::link(engine, &component, MAX_CALLS)
    }

    /// Like [`Runtime::from_bytes`], from a file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Runtime> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|error| failed(&format!("cannot read {}: {error}", path.display())))?;
        Runtime::from_bytes(&bytes).map_err(|error| error.context(&path.display().to_string()))
    }

    fn link(engine: Engine, component: &Component, calls: u32) -> Result<Runtime> {
        let unsuitable = |why: String| {
            failed(&format!(
                "the component does not fit this host, which provides wasi:http and wasi:io and calls consul:session/sessions and consul:session/action: {why}"
            ))
        };
        let exports = Exports::of(component)
            .map_err(|missing| unsuitable(format!("it does not export {missing}")))?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi_io::add_to_linker_async(&mut linker)
            .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
            .map_err(|error| failed(&format!("cannot provide wasi:http: {error:#}")))?;
        let component = linker
            .instantiate_pre(component)
            .map_err(|error| unsuitable(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine)
            .map_err(|error| failed(&format!("cannot start the epoch thread: {error}")))?;
        let slots = usize::try_from(calls).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Runtime(Arc::new(Inner {
            ticker,
            engine,
            component,
            exports,
            calls,
            slots: Arc::new(Semaphore::new(slots)),
        })))
    }

    /// The bytes of the built-in component.
    pub fn plugin() -> &'static [u8] {
        PLUGIN
    }

    /// The bytes of the component that is also a command, for `wasmtime run -S http`.
    pub fn command() -> &'static [u8] {
        COMMAND
    }

    /// The limit of concurrent calls.
    pub(crate) fn calls(&self) -> u32 {
        self.0.calls
    }

    /// A new instance of the component.
    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<State>,
    ) -> wasmtime::Result<(&Exports, Instance)> {
        let instance = self.0.component.instantiate_async(store).await?;
        Ok((&self.0.exports, instance))
    }

    /// Waits for a free slot.
    pub(crate) async fn slot(&self) -> Result<Slot, AcquireError> {
        let permit = self.0.slots.clone().acquire_owned().await?;
        Ok(Slot {
            _permit: permit,
            _running: self.0.ticker.run(),
        })
    }
}

fn engine(calls: u32) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(INSTANCES))
        .total_memories(calls.saturating_mul(MEMORIES))
        .total_tables(calls.saturating_mul(TABLES))
        .total_stacks(calls)
        .max_memory_size(MAX_MEMORY)
        // Keeps the pages that a call of a few sessions touches mapped for the next one.
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(16 << 10);
    engine_config(None)
        .and_then(|mut config| {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
            Engine::new(&config)
        })
        .map_err(|error| failed(&format!("cannot set up wasmtime: {error:#}")))
}

fn failed(message: &str) -> Error {
    Error::new(ErrorKind::Other, message)
}

/// Held by a running call.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    _running: Running,
}
