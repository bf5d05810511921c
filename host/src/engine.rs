//! The configuration of wasmtime, shared by the build script, which compiles the built-in component ahead of time, and
//! the runtime, which loads it: code compiled under one configuration is refused under another.

use wasmtime::{Config, OptLevel};

/// The settings that go into compiled code. `target` is a target triple; naming one keeps the code to that target's
/// baseline CPU, where none means the features of the CPU at hand.
pub(crate) fn config(target: Option<&str>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    if let Some(target) = target {
        config.target(target)?;
    }
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        // No guest that this runs needs either, and each is code that could be wrong.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // Traps are reported by kind; the tables for file and line would be a third of the compiled component.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None);
    Ok(config)
}
