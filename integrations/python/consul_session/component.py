"""Compiles the component, and runs it on wasmtime-py. Every call gets an instance and a store of its own."""

import ctypes
import math
import os
import threading
import time

from wasmtime import Config, Engine, Store, WasiConfig, WasmtimeError, _ffi
from wasmtime.component import Component, Linker

from . import compiled
from .call import Stopped
from .values import set_body

TICK = 0.05  # seconds between two checks of the deadlines
MEMORY = 128 << 20  # bytes per call; the largest response that the component reads takes 90 MiB
SETTINGS = {"epoch_interruption": True, "parallel_compilation": False}  # whose threads would be missing after a fork

# By process id: a fork copies neither the thread that ticks, nor the thread that may hold a lock.
PROCESSES = {}


class Process:
    """What the calls of a process share: an engine, compiled code, and a thread that makes deadlines pass."""

    def __init__(self):
        config = Config()
        for name, value in SETTINGS.items():
            setattr(config, name, value)
        self.engine = Engine(config)
        self.components = {}
        self.lock = threading.Lock()
        self.converting = threading.Lock()
        self.ticker = None

    def tick(self):
        # One ticker for all calls: the epoch belongs to the engine, so a timer per call would also end the other calls.
        due = time.monotonic()
        while True:
            due += TICK
            time.sleep(max(0, due - time.monotonic()))
            self.engine.increment_epoch()

    def load(self, wasm, cache):
        """Compiles the component once. Returns its linker, the component, and whether it imports nothing."""
        with self.lock:
            if wasm not in self.components:
                try:
                    component = compiled.load(self.engine, SETTINGS, wasm) if cache else Component(self.engine, wasm)
                except WasmtimeError as error:
                    raise ValueError(f"this is not a component for this version of wasmtime: {error}") from error
                linker, embedded = Linker(self.engine), component.get_export_index(interface("steps")) is not None
                if not embedded:
                    if component.get_export_index(interface("action")) is None:
                        raise ValueError("this is not the component of consul-session, or of another version")
                    linker.add_wasip2()  # for wasi:io, which wasi:http needs; the component imports nothing else of it
                    linker.add_wasi_http()
                self.components[wasm] = linker, component, embedded
            if self.ticker is None:
                self.ticker = threading.Thread(target=self.tick, daemon=True)
                self.ticker.start()
            return self.components[wasm]


def process():
    return PROCESSES.get(os.getpid()) or PROCESSES.setdefault(os.getpid(), Process())


def interface(name):
    return f"consul:session/{name}@0.2.0"


class Instance:
    """An instance of the component, for one call."""

    def __init__(self, wasm, cache, call):
        self.process, self.call = process(), call
        linker, component, self.embedded = self.process.load(wasm, cache)
        self.store = Store(self.process.engine)
        self.store.set_limits(memory_size=MEMORY)
        if not self.embedded:
            self.store.set_wasi(WasiConfig())  # no environment, arguments, directories or standard streams
            self.store.set_wasi_http()
        self.instance = self.guarded(linker.instantiate, self.store, component)

    def function(self, interface_name, name):
        """Looks up an exported function, or returns None."""
        exports = self.instance.get_export_index(self.store, interface(interface_name))
        index = exports and self.instance.get_export_index(self.store, name, exports)
        return index and self.instance.get_func(self.store, index)

    def run(self, function, *values, body=b""):
        """Calls a function. In a response among the values, `body` replaces the empty body. Like wasmtime-py's own
        `function(store, *values)`, except for two defects: bytes take 1.2 s per MiB there, and threads that convert
        arguments at the same time disturb each other, in rare cases."""
        kind = function.type(self.store)
        arguments, count = (_ffi.wasmtime_component_val_t * len(values))(), 0
        try:
            with self.process.converting:
                for (_, parameter), value in zip(kind.params, values):
                    parameter.convert_to_c(self.store, value, ctypes.pointer(arguments[count]))
                    count += 1
            if body:
                set_body(arguments[0], body)
            result = _ffi.wasmtime_component_val_t()
            called = ctypes.byref(function._func), self.store._context()
            self.guarded(call_function, *called, arguments, count, ctypes.byref(result), 1)
            return kind.result.convert_from_c(result)
        finally:
            for argument in arguments[:count]:
                _ffi.wasmtime_component_val_delete(ctypes.byref(argument))

    def guarded(self, run, *values):
        """Runs the component, under what is left of the call's deadline."""
        self.store.set_epoch_deadline(math.ceil(self.call.left() / TICK) + 1)
        try:
            return run(*values)
        except WasmtimeError as trap:
            if "wasm trap: interrupt" in str(trap):
                raise self.call.late() from trap
            raise Stopped(f"the component was stopped: {trap}") from trap


def call_function(*arguments):
    if error := _ffi.wasmtime_component_func_call(*arguments):
        raise WasmtimeError._from_ptr(error)
