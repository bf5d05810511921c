//! The component's memory. Growing it costs the host a system call in every sandbox, so the initial memory has room for a
//! usual call, and the allocator uses that first. (The allocator of Rust's standard library uses only what it grows. That
//! of WASI's C library does use the initial memory, so this one must not run beside it.)
#![allow(unsafe_code, reason = "an allocator deals in raw memory")]

use core::alloc::Layout;
use core::arch::wasm32::{memory_grow, memory_size};
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

const PAGE: usize = 64 << 10;
/// What the allocator needs for itself in each piece of memory, rounded up.
const OVERHEAD: usize = 1 << 10;

#[global_allocator]
static ALLOCATOR: TalcSyncCell<Memory, WasmBinning> = TalcSyncCell::new_wasm(Memory {
    used_initial: false,
});

/// Where the allocator gets its memory.
#[derive(Debug)]
struct Memory {
    used_initial: bool,
}

// SAFETY: `acquire` allocates nothing.
unsafe impl Source for Memory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        unsafe extern "C" {
            /// The end of static data, and the beginning of the unused initial memory. Set by the linker.
            static __heap_base: u8;
        }
        let (start, size) = if talc.source.used_initial {
            // At least an eighth more, so that a large result needs few pieces.
            let needed = (layout.size() + layout.align() + OVERHEAD).div_ceil(PAGE);
            let wanted = needed.max(memory_size::<0>() / 8);
            let grow = |pages| match memory_grow::<0>(pages) {
                usize::MAX => None,
                end => Some((end * PAGE, pages * PAGE)),
            };
            grow(wanted).or_else(|| grow(needed)).ok_or(())?
        } else {
            talc.source.used_initial = true;
            let start = &raw const __heap_base as usize;
            (start, memory_size::<0>() * PAGE - start)
        };
        // SAFETY: nobody else uses the memory from `__heap_base` to the end, or what this has grown.
        unsafe { talc.claim(start as *mut u8, size) };
        Ok(())
    }
}
