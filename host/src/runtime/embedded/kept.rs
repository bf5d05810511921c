//! Instances that a client keeps for its next calls, if it asks for that.

use super::sandbox::Sandbox;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An instance whose memory has grown beyond this many bytes is not kept.
const MAX_KEPT_MEMORY: usize = 1 << 20;

/// The instances of one client that are not in use.
pub(crate) struct Kept {
    idle: Mutex<Vec<KeptSandbox>>,
    /// How many more instances all clients of the runtime may keep.
    of_runtime: Arc<Semaphore>,
    /// How many more instances this client may keep.
    of_client: Arc<Semaphore>,
}

/// An instance that counts among those that are kept, in use or not.
pub(super) struct KeptSandbox {
    sandbox: Sandbox,
    counted: Counted,
}

/// An instance among those that the runtime and the client may keep.
pub(super) struct Counted {
    _of_runtime: OwnedSemaphorePermit,
    _of_client: OwnedSemaphorePermit,
}

impl Kept {
    pub(in crate::runtime) fn new(of_runtime: Arc<Semaphore>, of_client: usize) -> Kept {
        Kept {
            idle: Mutex::default(),
            of_runtime,
            of_client: Arc::new(Semaphore::new(of_client)),
        }
    }

    /// An instance that has completed its last operation.
    pub(super) fn take(&self) -> Option<KeptSandbox> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    /// Keeps an instance that has completed its operation, unless there are enough.
    pub(super) fn put(&self, sandbox: Sandbox, counted: Option<Counted>) {
        if sandbox.memory() <= MAX_KEPT_MEMORY
            && let Some(counted) = counted.or_else(|| self.count())
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(KeptSandbox { sandbox, counted });
        }
    }

    fn count(&self) -> Option<Counted> {
        Some(Counted {
            _of_client: self.of_client.clone().try_acquire_owned().ok()?,
            _of_runtime: self.of_runtime.clone().try_acquire_owned().ok()?,
        })
    }
}

impl KeptSandbox {
    pub(super) fn into_parts(self) -> (Sandbox, Counted) {
        (self.sandbox, self.counted)
    }
}
