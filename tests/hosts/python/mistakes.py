"""Tests what integrations/python reports for callers' mistakes, and for calls that were cut off. Needs
CONSUL_HTTP_ADDR, and integrations/python on PYTHONPATH.

usage: mistakes.py COMPONENT    embedded or plugin
"""

import concurrent.futures
import os
import pickle
import socket
import sys
import threading

from consul_session import ConsulSession, Failed

COMPONENT = sys.argv[1]
AGENT = {"address": os.environ["CONSUL_HTTP_ADDR"]}
NONE = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"


def raised(call, *values):
    try:
        return f"no exception, but {call(*values)!r}"
    except Exception as error:  # noqa: BLE001, because the caller checks it
        return error


def expect(kind, text, call, *values):
    error = raised(call, *values)
    assert type(error) is kind and text in str(error), f"{values}: no {kind.__name__} with `{text}`: {error!r}"
    return error


def cut_off(call, *values):
    """Expects the deadline to end a call. While a plugin waits, that happens only after its timeout of one second."""
    failure = expect(Failed, "no result in ", call, *values)
    assert float(str(failure).split()[3]) >= (0.2 if consul.embedded else 1), failure
    return failure


def child(call, *values):
    """Makes a call in a forked process. Returns 0 if it succeeds, 1 after a RuntimeError, 2 after any other error."""
    process = os.fork()
    if process == 0:
        error = raised(call, *values)
        os._exit(0 if isinstance(error, str) else 1 if isinstance(error, RuntimeError) else 2)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# Concurrent loads start one ticker. A failed load starts none.
expect(FileNotFoundError, "", ConsulSession, "/nowhere")
expect(ValueError, "not a component", ConsulSession, "/etc/hosts")
expect(ValueError, "not the component of consul-session", ConsulSession, b"\0asm\x0d\0\x01\0")
with concurrent.futures.ThreadPoolExecutor(10) as pool:
    consul, *_ = pool.map(lambda _: ConsulSession(COMPONENT), range(10))
assert threading.active_count() == 2, threading.enumerate()

# A fork before the first call works, with its deadline. After it, a plugin gets an error instead of waiting forever.
silent = socket.create_server(("127.0.0.1", 0))
SILENT = {"address": f"http://127.0.0.1:{silent.getsockname()[1]}", "timeout": 10**9}
hasty = ConsulSession(COMPONENT, deadline=0.2)
assert child(consul.sessions, "info", AGENT, NONE) == 0
assert child(lambda: cut_off(hasty.sessions, "list", SILENT)) == 0
assert consul.sessions("info", AGENT, NONE) is None
assert child(consul.sessions, "info", AGENT, NONE) == (0 if consul.embedded else 1)

for kind, text, *values in [
    (TypeError, "session.checks must be list or tuple, not str", "create", AGENT, {"checks": ""}),
    (TypeError, "session.node_checks must be list or tuple, not str", "create", AGENT, {"node_checks": "serfHealth"}),
    (ValueError, "session.ttl must be an unsigned 64-bit integer", "create", AGENT, {"ttl": 2**64 + 10**10}),
    (ValueError, "agent.timeout must be an unsigned 64-bit integer, not -1", "list", {**AGENT, "timeout": -1}),
    (TypeError, "session has no field tll", "create", AGENT, {"tll": 10**10}),
    (ValueError, "the interface sessions has no function 'nope'", "nope", AGENT),
    (ValueError, "the interface sessions has no function 'action'", "action", "{}"),
    (TypeError, "wrong number of arguments for info(agent, id): 1", "info", AGENT),
    (TypeError, "agent must be dict, not NoneType", "list", None),
    (ValueError, "on-difference must be one of refuse, recreate", "ensure", AGENT, {"name": "x"}, "nope"),
]:
    expect(kind, text, consul.sessions, *values)

expect(TypeError, "params must be dict, not list", consul.action, [])
expect(TypeError, "unexpected keyword argument 'capath'", lambda: ConsulSession(COMPONENT, capath="x"))
if not consul.embedded:
    expect(ValueError, "need the embedded component", lambda: ConsulSession(COMPONENT, validate_certs=False))
    expect(ValueError, "need the embedded component", lambda: ConsulSession(COMPONENT, send=print))
    expect(Failed, "`ca_path` cannot be set here", consul.action, {"ca_path": "/x", "url": AGENT["address"]})

for call, *values in [(consul.sessions, "create", AGENT, {"ttl": 5}), (consul.action, {"name": "x", "ttl": 5})]:
    failure = pickle.loads(pickle.dumps(expect(Failed, "`ttl` must be", call, *values)))
    assert (failure.kind, failure.error["parameter"], failure.maybe_applied) == ("invalid", "ttl", False), failure.error

# After a call was cut off, only a write may have been applied.
for applied, *values in [(False, "list", SILENT), (True, "create", SILENT, {})]:
    failure = cut_off(hasty.sessions, *values)
    assert (failure.kind, failure.retryable, failure.maybe_applied) == ("timeout", True, applied), failure.error
CHECK = {"unique": True, "check_mode": True}
params = {"unique": False, "url": SILENT["address"], "timeout": "1s"}
for applied, more in [(False, {"state": "list"}), (False, {**CHECK, "name": "x"}), (True, {})]:
    failure = cut_off(hasty.action, {**params, **more})
    assert failure.maybe_applied is applied, failure.error
