"""Runs the component `plugin` on wasmtime-py: every call in a sandbox of its own, with an HTTP client and nothing else."""

import os
import threading
import time

from values import lift, lower
from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

TICK = 0.1  # seconds between two looks at the deadlines
MEMORY = 128 << 20  # bytes for a call; the largest answer that the component reads takes 90 MiB

# By process: a fork copies neither the clock of what is loaded, nor the thread that holds the lock.
LOADED = {}
LOCKS = {}
CALLED = {}  # by which process first


def load(path):
    """Compiles the component, once per process. Calls and threads share its code and nothing else."""
    process = os.getpid()
    with LOCKS.setdefault(process, threading.Lock()):
        if (process, path) not in LOADED:
            config = Config()
            config.epoch_interruption = True
            config.parallel_compilation = False  # by threads that a fork would not copy either
            linker = Linker(Engine(config))
            linker.add_wasip2()  # wasi:io, which wasi:http builds on; the component imports nothing else of it
            linker.add_wasi_http()
            component = Component.from_file(linker.engine, path)
            threading.Thread(target=tick, args=(linker.engine,), daemon=True).start()
            LOADED[process, path] = linker, component
        return LOADED[process, path]


def tick(engine):
    # One clock for all calls: the epoch is the engine's, so a timer per call would end the other calls too.
    while True:
        time.sleep(TICK)
        engine.increment_epoch()


def call(path, deadline, interface, name, *values):
    """Calls a function. Returns whether it failed, and its value or error."""
    linker, component = load(path)
    store = Store(linker.engine)
    store.set_wasi(WasiConfig())  # no environment, arguments, folders or standard streams
    store.set_wasi_http()
    store.set_limits(memory_size=MEMORY)
    store.set_epoch_deadline(int(deadline / TICK) + 1)
    instance = linker.instantiate(store, component)
    exports = instance.get_export_index(store, f"consul:session/{interface}@0.1.0")
    index = instance.get_export_index(store, name, exports)
    if index is None:
        raise ValueError(f"no function {name!r} in {interface}")
    function = instance.get_func(store, index)
    parameters = function.type(store).params
    if len(values) != len(parameters):
        names = ", ".join(parameter for parameter, _ in parameters)
        raise TypeError(f"{name} takes {names}; {len(values)} values were given")
    lowered = [lower(kind, value, parameter) for (parameter, kind), value in zip(parameters, values)]
    if CALLED.setdefault("by", os.getpid()) != os.getpid():
        # wasmtime's HTTP client has threads, which a fork does not copy, and would wait for them without end.
        raise RuntimeError("forked from a process that has called already: start processes by `spawn`, or fork before")
    result = function(store, *lowered)
    # wasmtime-py drops the tag of a result where the Python types of both cases differ. Here those are the functions
    # that return a text, a list or nothing, so a record without a tag is an error.
    if isinstance(result, Variant):
        return result.tag == "err", lift(result.payload)
    return isinstance(result, Record), lift(result)
