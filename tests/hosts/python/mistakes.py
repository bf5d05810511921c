"""What a caller of the Python example can do wrong, and what may be said of a call that was cut off.

usage: mistakes.py PLUGIN, with CONSUL_HTTP_ADDR set and the example on PYTHONPATH
"""

import concurrent.futures
import os
import pickle
import socket
import sys
import threading

from consul_session import ConsulSession, Failed

PLUGIN = sys.argv[1]
AGENT = {"address": os.environ["CONSUL_HTTP_ADDR"]}
NONE = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"


def raised(call, *values):
    try:
        return f"nothing but {call(*values)!r}"
    except Exception as error:  # noqa: BLE001, to be shown
        return error


def expect(kind, words, call, *values):
    error = raised(call, *values)
    assert type(error) is kind and words in str(error), f"{values}: no {kind.__name__} with `{words}`: {error!r}"
    return error


def cut_off(call, *values):
    """A call that its deadline ends, and not before the second for which it wants to wait for the server is over."""
    failure = expect(Failed, "no result in ", call, *values)
    assert float(str(failure).split()[3]) >= 1, failure
    return failure


def child(call, *values):
    """What a forked process says to a call, in its status: 0 nothing wrong, 1 a RuntimeError, 2 anything else."""
    process = os.fork()
    if process == 0:
        error = raised(call, *values)
        os._exit(0 if isinstance(error, str) else 1 if isinstance(error, RuntimeError) else 2)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# One clock for all that load at once, and none for what cannot be loaded.
expect(FileNotFoundError, "", ConsulSession, "/nowhere")
with concurrent.futures.ThreadPoolExecutor(10) as pool:
    consul, *_ = pool.map(lambda _: ConsulSession(PLUGIN), range(10))
assert threading.active_count() == 2, threading.enumerate()

# A fork before the first call is as good as new, deadline and all; one after it is told so instead of waiting without end.
silent = socket.create_server(("127.0.0.1", 0))
SILENT = {"address": f"http://127.0.0.1:{silent.getsockname()[1]}", "timeout": 10**9}
hasty = ConsulSession(PLUGIN, deadline=0.2)
assert child(consul.sessions, "info", AGENT, NONE) == 0
assert child(lambda: cut_off(hasty.sessions, "list", SILENT)) == 0
assert consul.sessions("info", AGENT, NONE) is None
assert child(consul.sessions, "info", AGENT, NONE) == 1

for kind, words, *values in [
    (TypeError, "session.checks takes list", "create", AGENT, {"checks": ""}),
    (TypeError, "session.node_checks takes list", "create", AGENT, {"node_checks": "serfHealth"}),
    (ValueError, "session.ttl is 18446744083709551616,", "create", AGENT, {"ttl": 2**64 + 10**10}),
    (ValueError, "agent.timeout is -1,", "list", {**AGENT, "timeout": -1}),
    (TypeError, "session has no tll", "create", AGENT, {"tll": 10**10}),
    (ValueError, "no function 'nope'", "nope", AGENT),
    (TypeError, "info takes agent, id; 1 values", "info", AGENT),
    (TypeError, "agent takes dict", "list", None),
    (ValueError, "on-difference is one of refuse, recreate", "ensure", AGENT, {"name": "x"}, "nope"),
]:
    expect(kind, words, consul.sessions, *values)

for call, *values in [(consul.sessions, "create", AGENT, {"ttl": 5}), (consul.action, {"name": "x", "ttl": 5})]:
    failure = pickle.loads(pickle.dumps(expect(Failed, "`ttl` must be", call, *values)))
    assert (failure.kind, failure.error["parameter"], failure.maybe_applied) == ("invalid", "ttl", False), failure.error

# What was cut off: only a write may have been carried out. The server is waited for as long as the call's timeout says.
for applied, *values in [(False, "list", SILENT), (True, "create", SILENT, {})]:
    failure = cut_off(hasty.sessions, *values)
    assert (failure.kind, failure.retryable, failure.maybe_applied) == ("timeout", True, applied), failure.error
params = {"name": "x", "url": SILENT["address"], "timeout": "1s"}
for applied, more in [(False, {"state": "info"}), (False, {"check_mode": True}), (True, {})]:
    failure = cut_off(hasty.action, {**params, **more})
    assert failure.maybe_applied is applied, failure.error
