//! The sandbox: one engine, one component linked once, and a fresh store for every call.

mod computing;
mod embedded;
mod journal;
mod limits;
mod ticker;
mod wasi_http;

pub(crate) use computing::Share as ComputingShare;
pub(crate) use embedded::{FirstResponse, Kept};
pub(crate) use journal::Journal;

use crate::client::{Lane, RUNTIME_WAITS, Waiting, Waits};
use crate::component::steps::Request;
use crate::component::{Operation, Parameters, Returned, StepExports};
use crate::error::{Error, ErrorKind, Result};
use crate::network::{Connections, Network, Share};
use computing::Computing;
pub(crate) use consul_session_component::MAX_MEMORY;
use consul_session_component::engine_config;
use embedded::Embedded;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use ticker::{Running, Ticker};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasi_http::Plugin;
use wasmtime::component::Component;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The built-in component.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/embedded.wasm"));
/// The built-in component, compiled when this crate was built.
const EMBEDDED_COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/embedded.cwasm"));
/// The same component for hosts with `wasi:http`.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.wasm"));
/// The same component as a command.
const COMMAND: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/command.wasm"));

/// Default limit of concurrent calls.
const MAX_CALLS: u32 = 256;
/// For each so many concurrent calls, a client may keep one instance, and so may all clients of a runtime together.
const KEPT: usize = 4;

/// For each so many concurrent calls, there is a place for the upkeep of locks, and up to this many in all.
const CALLS_PER_UPKEEP: u32 = 8;
const MAX_UPKEEP: u32 = 32;

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
    component: Arc<Linked>,
    calls: u32,
    ticker: Ticker,
    slots: Arc<Semaphore>,
    /// The same for the upkeep of locks.
    upkeep: Arc<Semaphore>,
    to_acquire: Arc<Waits>,
    for_loss: Arc<Waits>,
    /// How many more instances clients may keep.
    keepable: Arc<Semaphore>,
    connections: Arc<Connections>,
    computing: Arc<Computing>,
}

/// A component with everything that it imports.
enum Linked {
    Embedded(Embedded),
    Plugin(Plugin),
}

/// What a call needs besides its parameters.
pub(crate) struct Call {
    pub(crate) network: Arc<Network>,
    pub(crate) journal: Arc<Journal>,
    /// When the network gives up: a little before the deadline, so that the component can report what it waited for.
    pub(crate) network_deadline: Instant,
    pub(crate) deadline: Instant,
    pub(crate) computing: Arc<ComputingShare>,
    /// Its place among the runtime's calls.
    pub(crate) slot: Arc<Slot>,
    /// Instances of earlier calls, if the client keeps them.
    pub(crate) kept: Option<Arc<Kept>>,
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
        if EMBEDDED_COMPILED.is_empty() {
            return Err(failed(
                "this build contains no component; clippy and documentation builds omit it",
            ));
        }
        let engine = engine(calls, &BUILT_IN)?;
        // SAFETY: the bytes come from this crate's build script, which used the same version of wasmtime. They are part of
        // this program, and cannot be replaced without replacing the program.
        #[expect(
            unsafe_code,
            reason = "loading code that was compiled when this crate was built"
        )]
        let component = unsafe { Component::deserialize(&engine, EMBEDDED_COMPILED) };
        let component = component
            .map_err(|error| failed(&format!("cannot load the built-in component: {error:#}; is the limit of address space too low (`ulimit -v`)?")))?;
        Runtime::link(engine, &component, calls, true)
    }

    /// Compiles and loads another component: one of the world `embedded`, which imports nothing, or one of the world
    /// `plugin`, which imports `wasi:http`.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not such a component, or if it imports more than `wasi:http` and `wasi:io`.
    pub fn from_bytes(component: &[u8]) -> Result<Runtime> {
        let engine = engine(MAX_CALLS, &OTHER)?;
        let component = Component::new(&engine, component)
            .map_err(|error| failed(&format!("cannot compile the component: {error:#}")))?;
        Runtime::link(engine, &component, MAX_CALLS, false)
    }

    /// Like [`Runtime::from_bytes`], from a file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Runtime> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|error| failed(&format!("cannot read {}: {error}", path.display())))?;
        Runtime::from_bytes(&bytes).map_err(|error| error.context(&path.display().to_string()))
    }

    fn link(engine: Engine, component: &Component, calls: u32, built_in: bool) -> Result<Runtime> {
        let component = if StepExports::are_in(component) {
            Linked::Embedded(Embedded::link(&engine, component, built_in)?)
        } else {
            Linked::Plugin(Plugin::link(&engine, component)?)
        };
        let component = Arc::new(component);
        let slots = usize::try_from(calls).unwrap_or(Semaphore::MAX_PERMITS);
        let waits = 2 * RUNTIME_WAITS + upkeep(calls) as usize;
        let connections = Connections::new(slots.saturating_add(waits));
        let (shared, open) = (component.clone(), connections.clone());
        let tidy = move |calls_are_running| {
            if let Linked::Embedded(embedded) = &*shared {
                embedded.tidy();
            }
            open.tidy(calls_are_running);
            open.make_room();
        };
        let ticker = Ticker::start(&engine, tidy)
            .map_err(|error| {
                failed(&format!(
                    "cannot start the thread that interrupts components: {error}; raise the limit of threads or of address space (`ulimit -u`, `ulimit -v`)"
                ))
            })?;
        Ok(Runtime(Arc::new(Inner {
            ticker,
            component,
            calls,
            slots: Arc::new(Semaphore::new(slots)),
            upkeep: Arc::new(Semaphore::new(upkeep(calls) as usize)),
            to_acquire: Waits::new(RUNTIME_WAITS),
            for_loss: Waits::new(RUNTIME_WAITS),
            keepable: Arc::new(Semaphore::new(slots / KEPT)),
            connections,
            computing: Arc::default(),
        })))
    }

    /// The bytes of the built-in component, which imports nothing (world `embedded`).
    pub fn embedded() -> &'static [u8] {
        EMBEDDED
    }

    /// The bytes of the component that imports `wasi:http`, for other hosts (world `plugin`).
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

    /// Carries out an operation in a fresh instance. `input` is the size of the parameters in bytes, if they can be large.
    pub(crate) async fn run<P, T>(
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
        match &*self.0.component {
            Linked::Embedded(embedded) => {
                let run = embedded.call(call, operation, input, parameters, first);
                run.await
            }
            Linked::Plugin(plugin) => plugin.call(call, operation, parameters).await,
        }
    }

    /// Returns the first request of an operation, and forgets the operation. A component that sends its requests itself
    /// has none to return.
    pub(crate) async fn first_request<P: Parameters>(
        &self,
        call: Call,
        operation: Operation,
        parameters: P,
    ) -> wasmtime::Result<Option<Request>> {
        match &*self.0.component {
            Linked::Embedded(embedded) => {
                embedded.first_request(call, operation, 0, parameters).await
            }
            Linked::Plugin(_) => Ok(None),
        }
    }

    /// The share of the connections of a client that runs so many calls at once.
    pub(crate) fn connections(&self, calls: usize) -> Arc<Share> {
        self.0.connections.share(calls)
    }

    /// A client's share of the places of components that compute.
    pub(crate) fn computing(&self) -> Arc<ComputingShare> {
        self.0.computing.share()
    }

    /// The store of instances of a client that runs so many calls at once.
    pub(crate) fn kept(&self, calls: usize) -> Kept {
        Kept::new(self.0.keepable.clone(), (calls / KEPT).max(1))
    }

    /// A free slot, if there is one.
    pub(crate) fn free_slot(&self, lane: Lane) -> Option<Arc<Slot>> {
        let permit = self.slots(lane).try_acquire_owned().ok()?;
        Some(self.taken(permit))
    }

    /// Waits for a free slot.
    pub(crate) async fn slot(&self, lane: Lane) -> Result<Arc<Slot>, AcquireError> {
        let permit = self.slots(lane).acquire_owned().await?;
        Ok(self.taken(permit))
    }

    fn slots(&self, lane: Lane) -> Arc<Semaphore> {
        match lane {
            Lane::Calls => self.0.slots.clone(),
            Lane::Upkeep => self.0.upkeep.clone(),
        }
    }

    /// The places of blocking queries.
    pub(crate) fn waits(&self, waiting: Waiting) -> &Waits {
        match waiting {
            Waiting::ToAcquire => &self.0.to_acquire,
            Waiting::ForLoss => &self.0.for_loss,
        }
    }

    /// Sends a request of an operation that will begin again with the response.
    pub(crate) async fn exchange(
        &self,
        network: &Network,
        journal: &Journal,
        deadline: Instant,
        request: Request,
    ) -> FirstResponse {
        let built_in = match &*self.0.component {
            Linked::Embedded(embedded) => embedded.is_built_in(),
            Linked::Plugin(_) => false,
        };
        FirstResponse::new(network, journal, deadline, request, built_in).await
    }

    fn taken(&self, permit: OwnedSemaphorePermit) -> Arc<Slot> {
        Arc::new(Slot {
            _permit: permit,
            _running: self.0.ticker.run(),
        })
    }
}

/// How many calls for the upkeep of locks a runtime runs beside so many calls.
fn upkeep(calls: u32) -> u32 {
    (calls / CALLS_PER_UPKEEP).clamp(1, MAX_UPKEEP)
}

/// What an engine reserves for each instance of a component.
struct Reserved {
    instances: u32,
    memories: u32,
    tables: u32,
}

/// For the built-in component.
const BUILT_IN: Reserved = Reserved {
    instances: 1,
    memories: 1,
    tables: 1,
};

/// For any other, as `limits.rs` allows.
const OTHER: Reserved = Reserved {
    instances: INSTANCES,
    memories: MEMORIES,
    tables: TABLES,
};

fn engine(calls: u32, each: &Reserved) -> Result<Engine> {
    // One instance may be prepared for the next call, one may not be dropped yet, clients may keep some, and locks are
    // renewed beside the calls.
    let sandboxes = calls.saturating_add(2 + calls / KEPT as u32 + upkeep(calls));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(sandboxes)
        .total_core_instances(sandboxes.saturating_mul(each.instances))
        .total_memories(sandboxes.saturating_mul(each.memories))
        .total_tables(sandboxes.saturating_mul(each.tables))
        .total_stacks(sandboxes)
        .max_memory_size(MAX_MEMORY)
        // Keeps the pages that a call of a few sessions touches mapped for the next one, and resets only those that were
        // written to. Linux can tell since 6.7.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(16 << 10);
    let engine = engine_config(None).and_then(|mut config| {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Engine::new(&config)
    });
    engine.map_err(|error| {
        let space = u64::from(sandboxes) * u64::from(each.memories) * (MAX_MEMORY as u64 >> 20);
        let fewer = if calls > 1 {
            ", or let fewer calls run at once (`Runtime::with_calls`)"
        } else {
            ""
        };
        failed(&format!(
            "cannot set up wasmtime: {error:#}; it needs {space} MiB of address space (not memory) and a little more, so raise the limit (`ulimit -v`){fewer}"
        ))
    })
}

fn failed(message: &str) -> Error {
    Error::new(ErrorKind::Other, message)
}

fn link_error(why: &str) -> Error {
    failed(&format!(
        "the component does not fit this host, which runs the worlds `embedded` and `plugin` of consul:session and provides wasi:http and wasi:io: {why}"
    ))
}

/// Held by a running call.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    _running: Running,
}
