"""Consul sessions for a job runner written in Python, through either interface of the component.

wasmtime-py cannot restrict where a component connects. Let only those people choose an address who may reach it from
this machine. The Rust library `consul-session` has an allow-list of addresses, and TLS settings.
"""

import json
import os
import sys
import time

import plugin
from wasmtime import WasmtimeError

RETRYABLE = {"unavailable", "timeout", "transport"}
READS = ("info", "node", "list")  # functions and states


class Failed(Exception):
    """A failed call. `kind` says what went wrong; `error` adds `parameter`, or `method`, `path`, `status` and `text`.
    If `maybe_applied`, look before you repeat the write. A mistake of the caller is a TypeError or ValueError."""

    def __init__(self, message, error):
        super().__init__(message, error)  # both, so that the exception can be pickled
        self.error, self.kind, self.maybe_applied = error, error["kind"], error["maybe_applied"]
        self.status, self.retryable = error.get("status"), self.kind in RETRYABLE

    def __str__(self):
        return self.args[0]


class ConsulSession:
    def __init__(self, component, deadline=30):
        """`deadline`, in seconds, ends a call that computes forever or whose response arrives too slowly. A server that
        sends nothing is given up after the call's own timeout, which is 10 s by default."""
        plugin.load(component)  # fails here if the component cannot be loaded
        self.component, self.deadline = component, deadline

    def action(self, params):
        """Runs an action. Parameters and results are those of docs/parameters.md."""
        reads = params.get("state") in READS or params.get("check_mode") is True
        failed, text = self._call(reads, "action", "run", json.dumps(params))
        result = json.loads(text)
        if failed:
            raise Failed(result["msg"], result["error"])
        return result

    def sessions(self, function, *values):
        """Calls a function of the interface `sessions`. Records are dicts, durations are in nanoseconds."""
        failed, result = self._call(function in READS, "sessions", function, *values)
        if failed:
            raise Failed(result.pop("message"), {**(result.pop("exchange") or {}), **result})
        return result

    def _call(self, reads, *call):
        started = time.monotonic()
        try:
            return plugin.call(self.component, self.deadline, *call)
        except WasmtimeError as trap:
            late, took = "wasm trap: interrupt" in str(trap), time.monotonic() - started
            message = f"no result in {took:.1f} s" if late else f"the component was stopped: {trap}"
            raise Failed(message, {"kind": "timeout" if late else "other", "maybe_applied": not reads}) from trap


if __name__ == "__main__":
    consul = ConsulSession(sys.argv[1])
    url = os.environ["CONSUL_HTTP_ADDR"]
    for _ in range(2):  # The second call finds the session and changes nothing.
        job = consul.action({"name": "job", "ttl": "30s", "url": url})
        print("changed" if job["changed"] else "unchanged", job["session_id"])
    agent = {"address": url}
    session = consul.sessions("create", agent, {"name": "typed", "lock_delay": 5 * 10**9})
    print(consul.sessions("info", agent, session))
    consul.sessions("destroy", agent, session)
    print("removed", consul.sessions("remove", agent, "job", None))
    try:
        consul.action({"state": "renew", "name": "job", "url": url})
    except Failed as failure:
        print(f"{failure.kind}, status {failure.status}, retryable {failure.retryable}: {failure}")
