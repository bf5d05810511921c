//! The sandbox: one engine, one component linked once, and a fresh store for every call.

mod hooks;
mod journal;
mod store;
mod ticker;

pub(crate) use hooks::Hooks;
pub(crate) use journal::Journal;
pub(crate) use store::State;

use crate::bindings::ExportsPre;
use anyhow::{Context, Result, anyhow};
use std::path::Path;
use std::sync::Arc;
use ticker::{Running, Ticker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The component that was built with this crate.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.wasm"));
/// The same as a command, for other hosts.
const COMMAND: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/command.wasm"));
/// The plugin, compiled when this crate was built.
const PLUGIN_COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.cwasm"));

/// Calls at once; more wait for their turn.
const MAX_CALLS: u32 = 256;
/// Of each memory of a component; the built-in one has a single one. The largest list of sessions that it reads, 8 MiB or
/// 36,000 short ones, takes 90 MiB.
pub(crate) const MAX_MEMORY: usize = 128 << 20;

/// What the component of one call may have of each.
const INSTANCES: u32 = 4;
const MEMORIES: u32 = 2;
const TABLES: u32 = 4;

/// A component, ready to be called. Cheap to clone; one is enough for a program, and clients of different tenants may
/// share it, as nothing survives a call.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    component: ExportsPre<State>,
    calls: u32,
    ticker: Ticker,
    slots: Arc<Semaphore>,
}

impl Runtime {
    /// The built-in component, compiled when this crate was built.
    pub fn new() -> Result<Runtime> {
        Runtime::with_calls(MAX_CALLS)
    }

    /// As [`Runtime::new`], for at most so many calls at once, instead of 256.
    pub fn with_calls(calls: u32) -> Result<Runtime> {
        anyhow::ensure!(calls > 0, "a runtime for no call at all");
        if PLUGIN_COMPILED.is_empty() {
            return Err(anyhow!(
                "this build has no component: it was made for documentation or lints"
            ));
        }
        let engine = engine(calls)?;
        // SAFETY: the bytes are those that this crate's build script got from the same version of wasmtime; they are part
        // of this program's text, and nobody can exchange them without exchanging the program.
        #[expect(
            unsafe_code,
            reason = "loading code that was compiled when this crate was built"
        )]
        let component = unsafe { Component::deserialize(&engine, PLUGIN_COMPILED) };
        let component = component
            .map_err(anyhow::Error::from)
            .context("loading the built-in component")?;
        Runtime::link(engine, &component, calls)
    }

    /// Another component with the same exports, from its bytes; it is compiled now.
    pub fn from_bytes(component: &[u8]) -> Result<Runtime> {
        let engine = engine(MAX_CALLS)?;
        let component = Component::new(&engine, component)?;
        Runtime::link(engine, &component, MAX_CALLS)
    }

    /// Another component with the same exports, from a file; it is compiled now.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Runtime> {
        let path = path.as_ref();
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Runtime::from_bytes(&bytes).with_context(|| path.display().to_string())
    }

    fn link(engine: Engine, component: &Component, calls: u32) -> Result<Runtime> {
        let mut linker = Linker::new(&engine);
        wasmtime_wasi_io::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        let component = linker
            .instantiate_pre(component)
            .and_then(ExportsPre::new)
            .map_err(anyhow::Error::from)
            .context("not a component for this host, which provides wasi:http and wasi:io and runs what exports consul:session/sessions and consul:session/action")?;
        Ok(Runtime(Arc::new(Inner {
            ticker: Ticker::start(&engine)?,
            engine,
            component,
            calls,
            slots: Arc::new(Semaphore::new(usize::try_from(calls)?)),
        })))
    }

    /// The bytes of the built-in component.
    pub fn plugin() -> &'static [u8] {
        PLUGIN
    }

    /// The bytes of the component that is a command besides, for `wasmtime run -S http`.
    pub fn command() -> &'static [u8] {
        COMMAND
    }

    /// How many calls run at once.
    pub(crate) fn calls(&self) -> u32 {
        self.0.calls
    }

    pub(crate) fn component(&self) -> &ExportsPre<State> {
        &self.0.component
    }

    /// Waits for a free slot.
    pub(crate) async fn slot(&self) -> Result<Slot> {
        let permit = self.0.slots.clone().acquire_owned().await?;
        Ok(Slot {
            _permit: permit,
            _running: self.0.ticker.run(),
        })
    }
}

fn engine(calls: u32) -> Result<Engine> {
    let mut config = crate::engine::config(None)?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(INSTANCES))
        .total_memories(calls.saturating_mul(MEMORIES))
        .total_tables(calls.saturating_mul(TABLES))
        .total_stacks(calls)
        .max_memory_size(MAX_MEMORY)
        // What a call of a few sessions touches stays mapped for the next one.
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(16 << 10);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(Engine::new(&config)?)
}

/// Held by a running call.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    _running: Running,
}
