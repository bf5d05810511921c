#!/usr/bin/env bash
# Puts wasmtime's program under the given folder and prints its path: about 5 CPU-minutes the first time, nothing after.
# As little of it as runs a command component, and hardly optimized: it is compiled once and runs for seconds.
set -euo pipefail
target=$(mkdir -p "${1:?usage: $0 FOLDER}" && cd "$1" && pwd)
version=48.0.8
program=$target/wasmtime-$version/bin/wasmtime
if [ ! -x "$program" ]; then
    CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 cargo install wasmtime-cli --version "$version" --locked --debug \
        --no-default-features \
        --features run,compile,cranelift,component-model,component-model-async,wasi-http,logging,pooling-allocator,gc,gc-drc,clap/default \
        --root "$target/wasmtime-$version" --target-dir "$target/wasmtime-build" >&2
    rm -rf "$target/wasmtime-build"
fi
echo "$program"
