//! The clock that interrupts running components.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::Engine;

/// How often a running component can be interrupted: a deadline takes effect at most this late.
const TICK: Duration = Duration::from_millis(10);

/// Advances the engine's epoch while calls are running, and sleeps while none is. Does some work at every tick.
pub(super) struct Ticker(Arc<Ticking>);

#[derive(Default)]
struct Ticking {
    running: AtomicUsize,
    /// Whether the thread waits to be woken. Waking it takes a system call, which most calls do not need.
    asleep: AtomicBool,
    stopped: AtomicBool,
    /// Whether a call woke the thread.
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Ticking {
    /// Does the last of the work, and sleeps until it is woken.
    fn sleep(&self, work: &impl Fn(bool)) {
        // From here on, a call that begins or ends wakes the thread.
        self.asleep.store(true, Ordering::SeqCst);
        work(false);
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !*woken
            && self.running.load(Ordering::SeqCst) == 0
            && !self.stopped.load(Ordering::SeqCst)
        {
            woken = self
                .wake
                .wait(woken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *woken = false;
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.wake.notify_one();
        }
    }
}

impl Ticker {
    /// Does `work` at every tick, and once more when no call is running, which its argument tells.
    pub(super) fn start(
        engine: &Engine,
        work: impl Fn(bool) + Send + 'static,
    ) -> std::io::Result<Ticker> {
        let ticking = Arc::new(Ticking::default());
        let (engine, shared) = (engine.clone(), ticking.clone());
        std::thread::Builder::new()
            .name("consul-session-epoch".to_owned())
            .spawn(move || {
                // Also for components that still run when the last runtime is dropped.
                loop {
                    if shared.running.load(Ordering::SeqCst) == 0 {
                        if shared.stopped.load(Ordering::SeqCst) {
                            return;
                        }
                        shared.sleep(&work);
                    } else {
                        std::thread::sleep(TICK);
                        engine.increment_epoch();
                        work(true);
                    }
                }
            })?;
        Ok(Ticker(ticking))
    }

    pub(super) fn run(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        self.0.wake();
        Running(self.0.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// Held while a component runs.
pub(super) struct Running(Arc<Ticking>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.wake();
        }
    }
}
