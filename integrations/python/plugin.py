"""Runs the component on wasmtime-py. Every call has a sandbox of its own, with an HTTP client and nothing else."""

import os
import threading
import time

from values import lift, lower
from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

TICK = 0.1  # seconds between two checks of the deadlines
MEMORY = 128 << 20  # bytes per call; the largest response that the component reads takes 90 MiB

# Keyed by process id: a fork copies neither the thread that ticks, nor the thread that may hold the lock.
LOADED = {}
LOCKS = {}
CALLED = {}  # the id of the process that made the first call


def load(path):
    """Compiles the component, once per process. Calls and threads share the compiled code and nothing else."""
    process = os.getpid()
    with LOCKS.setdefault(process, threading.Lock()):
        if (process, path) not in LOADED:
            config = Config()
            config.epoch_interruption = True
            config.parallel_compilation = False  # its threads would be missing after a fork
            linker = Linker(Engine(config))
            linker.add_wasip2()  # for wasi:io, which wasi:http needs; the component imports nothing else of it
            linker.add_wasi_http()
            component = Component.from_file(linker.engine, path)
            threading.Thread(target=tick, args=(linker.engine,), daemon=True).start()
            LOADED[process, path] = linker, component
        return LOADED[process, path]


def tick(engine):
    # One ticker for all calls: the epoch belongs to the engine, so a timer per call would also end the other calls.
    while True:
        time.sleep(TICK)
        engine.increment_epoch()


def call(path, deadline, interface, name, *values):
    """Calls a function. Returns whether it failed, and its value or error."""
    linker, component = load(path)
    store = Store(linker.engine)
    store.set_wasi(WasiConfig())  # no environment, arguments, directories or standard streams
    store.set_wasi_http()
    store.set_limits(memory_size=MEMORY)
    store.set_epoch_deadline(int(deadline / TICK) + 1)
    instance = linker.instantiate(store, component)
    exports = instance.get_export_index(store, f"consul:session/{interface}@0.1.0")
    index = instance.get_export_index(store, name, exports)
    if index is None:
        raise ValueError(f"the interface {interface} has no function {name!r}")
    function = instance.get_func(store, index)
    parameters = function.type(store).params
    if len(values) != len(parameters):
        names = ", ".join(parameter for parameter, _ in parameters)
        raise TypeError(f"wrong number of arguments for {name}({names}): {len(values)}")
    lowered = [lower(kind, value, parameter) for (parameter, kind), value in zip(parameters, values)]
    if CALLED.setdefault("by", os.getpid()) != os.getpid():
        # A fork does not copy the threads of wasmtime's HTTP client, and the call would wait for them forever.
        raise RuntimeError("forked after the first call; start processes with `spawn`, or fork before the first call")
    result = function(store, *lowered)
    # wasmtime-py drops the tag of a result if the Python types of its two cases differ. Here this happens for functions
    # that return a string, a list or nothing, so a record without a tag is an error.
    if isinstance(result, Variant):
        return result.tag == "err", lift(result.payload)
    return isinstance(result, Record), lift(result)
