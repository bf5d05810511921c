//! The clock that interrupts running components.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime::Engine;

/// How often a running component can be interrupted: a deadline takes effect at most this late.
const TICK: Duration = Duration::from_millis(10);

/// Advances the engine's epoch while calls are running, and sleeps while none is.
pub(super) struct Ticker(Arc<Ticking>);

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
    pub(super) fn start(engine: &Engine) -> std::io::Result<Ticker> {
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
            })?;
        Ok(Ticker(ticking))
    }

    pub(super) fn run(&self) -> Running {
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

/// Held while a component runs.
pub(super) struct Running(Arc<Ticking>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}
