"""Consul sessions for a job runner in Python, by either interface of the component.

wasmtime-py cannot restrict where a component connects to: let only those choose an address who may reach it from here.
The host crate `consul-session` has an allow-list, and settings for certificates.
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
    """What went wrong, in `kind`; `error` holds all of it: `parameter`, or `method`, `path`, `status`, `text`. With
    `maybe_applied` a write went out, so look before repeating it. A caller's mistake is a TypeError or ValueError."""

    def __init__(self, message, error):
        super().__init__(message, error)  # both, so that it can be pickled
        self.error, self.kind, self.maybe_applied = error, error["kind"], error["maybe_applied"]
        self.status, self.retryable = error.get("status"), self.kind in RETRYABLE

    def __str__(self):
        return self.args[0]


class ConsulSession:
    def __init__(self, component, deadline=30):
        """`deadline`, in seconds, ends a call that computes without end or whose answer drips in. A server that is silent
        is given up after the call's own timeout, 10 s if it sets none."""
        plugin.load(component)  # what cannot be loaded fails here
        self.component, self.deadline = component, deadline

    def action(self, params):
        """Parameters and results as in the automation module."""
        reads = params.get("state") in READS or params.get("check_mode") is True
        failed, text = self._call(reads, "action", "run", json.dumps(params))
        result = json.loads(text)
        if failed:
            raise Failed(result["msg"], result["error"])
        return result

    def sessions(self, function, *values):
        """A function of the interface `sessions`: records as dicts, durations in nanoseconds."""
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
    for _ in range(2):  # The second time it is there already.
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
