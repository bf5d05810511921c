//! The sandbox: one engine, one component linked once, and a fresh store for every call.

use crate::bindings::ExportsPre;
use crate::network::{Fault, Network, TOKEN_HEADER};
use anyhow::{Context, Result, anyhow};
use http::{Method, Request};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter, Store,
    StoreLimits, StoreLimitsBuilder, UpdateDeadline,
};
use wasmtime_wasi_http::{
    ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};
use wasmtime_wasi_io::IoView;

/// The component that was built with this crate.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.wasm"));
/// The same as a command, for other hosts.
const COMMAND: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/command.wasm"));
/// The plugin, compiled when this crate was built.
const PLUGIN_COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.cwasm"));

/// How often a running component is looked at. Its time is bounded by a clock; this only bounds how late.
const TICK: Duration = Duration::from_millis(10);
/// Calls at once; more wait for their turn.
const MAX_CALLS: u32 = 256;
/// Requests at once in one call. The built-in component makes one after the other; without a bound 10,000 connections were
/// open within a second.
const MAX_REQUESTS: usize = 8;
/// Of a component; the largest answer it reads, 8 MiB or 36,000 sessions, takes 90 MiB.
pub(crate) const MAX_MEMORY: usize = 128 << 20;

/// A component, ready to be called. Cheap to clone; one is enough for a program, and clients of different tenants may
/// share it, as nothing survives a call.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    component: ExportsPre<State>,
    ticker: Ticker,
    slots: Arc<Semaphore>,
}

impl Runtime {
    /// The built-in component, compiled when this crate was built.
    pub fn new() -> Result<Runtime> {
        Runtime::with_calls(MAX_CALLS)
    }

    /// As [`Runtime::new`], for at most so many calls at once.
    pub fn with_calls(calls: u32) -> Result<Runtime> {
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

    /// A store for one call. The component is stopped at `deadline`, wherever it is.
    pub(crate) fn store(&self, hooks: Hooks, deadline: Instant) -> Store<State> {
        let state = State {
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            limits: Limits {
                fixed: StoreLimitsBuilder::new()
                    .memory_size(MAX_MEMORY)
                    .instances(16)
                    .memories(2)
                    .tables(8)
                    .build(),
                journal: hooks.journal.clone(),
            },
            hooks,
        };
        let mut store = Store::new(&self.0.engine, state);
        store.limiter(|state| &mut state.limits);
        // What a component may hand over in one host call: at most a result of 8 MiB.
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

fn engine(calls: u32) -> Result<Engine> {
    let mut config = crate::engine::config(None)?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(4))
        .total_memories(calls)
        .total_tables(calls.saturating_mul(4))
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

/// The state behind a store.
pub(crate) struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    limits: Limits,
}

/// The limits of a store. A component that meets the one of its memory can only trap; the journal keeps why.
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
        let may = self.fixed.memory_growing(current, desired, maximum)?;
        if !may {
            self.journal.entries().out_of_memory = true;
        }
        Ok(may)
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

/// What `wasi:http` does in one call: all of it goes through the client's network.
pub(crate) struct Hooks {
    network: Arc<Network>,
    journal: Arc<Journal>,
    deadline: Instant,
    requests: Arc<Semaphore>,
}

impl Hooks {
    pub(crate) fn new(network: Arc<Network>, journal: Arc<Journal>, deadline: Instant) -> Hooks {
        Hooks {
            network,
            journal,
            deadline,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }
}

/// What the host saw of a call: the last request, the last fault in detail, and whether a write went out.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    request: Option<(String, String)>,
    detail: Option<String>,
    writes: usize,
    out_of_memory: bool,
}

impl Journal {
    /// The method and path of the last request that the component made, allowed or not.
    pub(crate) fn request(&self) -> Option<(String, String)> {
        self.entries().request.clone()
    }

    /// What the component could not be told about the last fault.
    pub(crate) fn detail(&self) -> Option<String> {
        self.entries().detail.clone()
    }

    /// Whether a request that writes was sent, or is under way.
    pub(crate) fn wrote(&self) -> bool {
        self.entries().writes > 0
    }

    /// Whether the component asked for more memory than it may have.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.entries().out_of_memory
    }

    fn begin(&self, request: &Request<WasiBody>) {
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut entries = self.entries();
        entries.request = Some((request.method().to_string(), path));
        entries.detail = None;
        entries.writes += usize::from(writes(request.method()));
    }

    fn fault(&self, method: &Method, fault: &Fault) {
        let mut entries = self.entries();
        entries.detail = fault.hidden_detail().map(str::to_owned);
        if fault.is_before_sending() {
            entries.writes -= usize::from(writes(method));
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn writes(method: &Method) -> bool {
    *method != Method::GET
}

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        let injects = self.network.injects_token();
        Arc::new(move |name| {
            wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(name)
                || *name == http::header::AUTHORIZATION
                || (injects && *name == TOKEN_HEADER)
        })
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, wasmtime_wasi_http::Error>> + Send> {
        let (network, journal, deadline) =
            (self.network.clone(), self.journal.clone(), self.deadline);
        let permit = self.requests.clone().try_acquire_owned();
        Box::new(async move {
            journal.begin(&request);
            let method = request.method().clone();
            let answer = match permit {
                Ok(permit) => {
                    network
                        .send(request, options.unwrap_or_default(), deadline, permit)
                        .await
                }
                Err(_) => Err(Fault::too_many()),
            };
            match answer {
                Ok(response) => {
                    let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
                    Ok((response, done))
                }
                Err(fault) => {
                    journal.fault(&method, &fault);
                    Err(fault.into_wasi())
                }
            }
        })
    }
}

/// Advances the engine's epoch while calls are running, and sleeps while none is.
struct Ticker(Arc<Ticking>);

#[derive(Default)]
struct Ticking {
    state: Mutex<TickerState>,
    wake: Condvar,
}

#[derive(Default)]
struct TickerState {
    running: usize,
    stopped: bool,
}

impl Ticking {
    fn lock(&self) -> MutexGuard<'_, TickerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticker {
    fn start(engine: &Engine) -> Result<Ticker> {
        let ticking = Arc::new(Ticking::default());
        let (engine, shared) = (engine.clone(), ticking.clone());
        std::thread::Builder::new()
            .name("consul-session-epoch".to_owned())
            .spawn(move || {
                let mut state = shared.lock();
                while !state.stopped {
                    if state.running == 0 {
                        state = shared
                            .wake
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner);
                    } else {
                        drop(state);
                        std::thread::sleep(TICK);
                        engine.increment_epoch();
                        state = shared.lock();
                    }
                }
            })
            .context("starting the epoch thread")?;
        Ok(Ticker(ticking))
    }

    fn run(&self) -> Running {
        let mut state = self.0.lock();
        state.running += 1;
        if state.running == 1 {
            self.0.wake.notify_one();
        }
        Running(self.0.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.wake.notify_one();
    }
}

struct Running(Arc<Ticking>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}
