"""Runs the component `plugin` on wasmtime-py: every call in a sandbox of its own, with an HTTP client and nothing else."""

import functools
import threading
import time

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, ListType, OptionType, Record, RecordType, Variant

TICK = 0.1  # seconds between two looks at the deadlines
MEMORY = 128 << 20  # bytes for a call; the largest answer that the component reads takes 90 MiB


@functools.cache
def load(path):
    """Compiles the component, once per process. Calls and threads share its code and nothing else."""
    config = Config()
    config.epoch_interruption = True
    linker = Linker(Engine(config))
    linker.add_wasip2()  # wasi:io, which wasi:http builds on; the component imports nothing else of it
    linker.add_wasi_http()
    threading.Thread(target=tick, args=(linker.engine,), daemon=True).start()
    return linker, Component.from_file(linker.engine, path)


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
    function = instance.get_func(store, instance.get_export_index(store, name, exports))
    types = [kind for _, kind in function.type(store).params]
    result = function(store, *(lower(kind, value) for kind, value in zip(types, values, strict=True)))
    # wasmtime-py drops the tag of a result where the Python types of both cases differ. Here those are the functions
    # that return a text, a list or nothing, so a record without a tag is an error.
    if isinstance(result, Variant):
        return result.tag == "err", lift(result.payload)
    return isinstance(result, Record), lift(result)


def lower(kind, value):
    """A parameter. A dict may leave out what is optional; an unknown key is refused, not ignored."""
    if isinstance(kind, OptionType):
        return None if value is None else lower(kind.payload, value)
    if isinstance(kind, ListType):
        return [lower(kind.element, item) for item in value]
    if not isinstance(kind, RecordType):
        return value
    fields = {name.replace("-", "_"): (name, field) for name, field in kind.fields}
    if unknown := value.keys() - fields:
        raise TypeError(f"no field {', '.join(unknown)}; there are {', '.join(fields)}")
    record = Record()
    for key, (name, field) in fields.items():
        setattr(record, name, lower(field, value.get(key)))
    return record


def lift(value):
    """A result. Records become dicts, cases of a variant their name."""
    if isinstance(value, Record):
        return {name.replace("-", "_"): lift(item) for name, item in vars(value).items()}
    if isinstance(value, Variant):
        return value.tag
    return [lift(item) for item in value] if isinstance(value, list) else value
