//! Instances that a client keeps for its next calls, if it asks for that.

use super::sandbox::Sandbox;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An instance whose memory has grown beyond this many bytes is not kept.
const MAX_KEPT_MEMORY: usize = 1 << 20;

/// The instances of one client that are not in use.
pub(crate) struct Kept {
    idle: Mutex<Vec<KeptSandbox>>,
    /// How many instances all clients of the runtime may keep. Without a place, an instance is used once.
    places: Arc<Semaphore>,
}

/// An instance with its place.
pub(super) struct KeptSandbox {
    pub(super) sandbox: Sandbox,
    place: OwnedSemaphorePermit,
}

impl Kept {
    pub(in crate::runtime) fn new(places: Arc<Semaphore>) -> Kept {
        Kept {
            idle: Mutex::default(),
            places,
        }
    }

    /// An instance that has completed its last operation.
    pub(super) fn take(&self) -> Option<KeptSandbox> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    /// Keeps an instance that has completed its operation.
    pub(super) fn put(&self, sandbox: Sandbox, place: Option<OwnedSemaphorePermit>) {
        let place = place.or_else(|| self.places.clone().try_acquire_owned().ok());
        if let Some(place) = place
            && sandbox.memory() <= MAX_KEPT_MEMORY
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(KeptSandbox { sandbox, place });
        }
    }
}

impl KeptSandbox {
    pub(super) fn into_parts(self) -> (Sandbox, OwnedSemaphorePermit) {
        (self.sandbox, self.place)
    }
}
