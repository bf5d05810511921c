//! The wasmtime configuration.

use wasmtime::{Config, OptLevel};

/// Maximum size of each linear memory in bytes. The largest list that the component reads, 8 MiB or 36,000 short
/// sessions, takes 90 MiB.
pub const MAX_MEMORY: usize = 128 << 20;

/// The settings that affect compiled code.
///
/// `target` is a target triple. Naming one restricts the code to that target's baseline CPU; without one, the code uses the
/// features of the CPU at hand.
///
/// # Errors
///
/// Fails if wasmtime does not know the target.
pub fn engine_config(target: Option<&str>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    if let Some(target) = target {
        config.target(target)?;
    }
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        // Address space for the largest memory, instead of the default 4 GiB for each. The code checks bounds in exchange.
        .memory_reservation(MAX_MEMORY as u64)
        .memory_reservation_for_growth(0)
        .memory_guard_size(64 << 10)
        // No component needs these, and each adds code that could be wrong.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // Traps are reported by kind. The tables for file and line would be a third of the compiled component.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None);
    Ok(config)
}
