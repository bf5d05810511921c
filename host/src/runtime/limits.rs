//! The limits of a store.

use super::journal::Journal;
use super::{INSTANCES, MAX_MEMORY, MEMORIES, TABLES};
use std::sync::Arc;
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

/// What a component passes to the host in one call, in bytes. The largest result is 8 MiB.
pub(super) const MAX_PASSED: usize = 16 << 20;

/// The limits of a store. A component that hits its memory limit simply traps, so the journal records the cause.
pub(super) struct Limits {
    fixed: StoreLimits,
    journal: Arc<Journal>,
}

impl Limits {
    pub(super) fn new(journal: Arc<Journal>) -> Limits {
        Limits {
            fixed: StoreLimitsBuilder::new()
                .memory_size(MAX_MEMORY)
                .instances(INSTANCES as usize)
                .memories(MEMORIES as usize)
                .tables(TABLES as usize)
                .build(),
            journal,
        }
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
        if !allowed {
            self.journal.memory_refused();
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
