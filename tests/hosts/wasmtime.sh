#!/usr/bin/env bash
# Builds wasmtime's program under DIRECTORY, unless it is there already, and prints its path. The build takes about 5 CPU
# minutes. It has only the features that a command component needs, and little optimization, because it runs only for
# seconds.
#
# usage: wasmtime.sh DIRECTORY
set -euo pipefail
target=$(mkdir -p "${1:?usage: $0 DIRECTORY}" && cd "$1" && pwd)
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
