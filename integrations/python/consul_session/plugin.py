"""A call of the component that imports `wasi:http`: wasmtime sends its requests."""

import os

from .values import lift_result, lower_all

CALLED = {}  # the id of the process that made the first call


def run(instance, function, *values):
    """Calls a function. Returns whether it failed, and its value or error."""
    exported = instance.function(*function)
    if exported is None:
        raise ValueError("the interface {} has no function {!r}".format(*function))
    lowered = lower_all(exported.type(instance.store).params, values, function[1])
    if CALLED.setdefault("by", os.getpid()) != os.getpid():
        # A fork does not copy the threads of wasmtime's HTTP client, and the call would wait for them forever.
        raise RuntimeError("forked after the first call; start processes with `spawn`, or use the embedded component")
    return lift_result(instance.run(exported, *lowered))
