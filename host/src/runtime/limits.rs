//! The limits of a store.

use super::{INSTANCES, MAX_MEMORY, MEMORIES, TABLES};
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

/// What a component passes to the host in one call, in bytes. The largest result is 8 MiB.
pub(super) const MAX_PASSED: usize = 16 << 20;

/// The limits of a store. A component that hits its memory limit simply traps, so the cause is recorded here.
pub(super) struct Limits {
    fixed: StoreLimits,
    refused: bool,
    memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fixed: StoreLimitsBuilder::new()
                .memory_size(MAX_MEMORY)
                .instances(INSTANCES as usize)
                .memories(MEMORIES as usize)
                .tables(TABLES as usize)
                .build(),
            refused: false,
            memory: 0,
        }
    }
}

impl Limits {
    /// Whether the component was refused memory.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// The size of the largest memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.fixed.memory_growing(current, desired, maximum)?;
        if allowed {
            self.memory = self.memory.max(desired);
        } else {
            self.refused = true;
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
