"""A call under way."""

import threading
import time


class Stopped(Exception):
    """The call ended without a result. `late` says whether because of its deadline."""

    def __init__(self, message, late=False):
        super().__init__(message)
        self.late = late


class Call:
    """A call under way: its deadline, how to abort what it waits for, and whether Consul may have applied a write."""

    def __init__(self, deadline):
        self.started, self.deadline = time.monotonic(), deadline
        self.doing = "computing"
        self.maybe_applied = False
        self.cause = None  # the last exception of a request
        self.abort = None  # called by `cancel`
        self.cancelled = False
        self.lock = threading.Lock()

    def left(self):
        """The seconds until the deadline. Raises Stopped if it has passed, or if the call was cancelled."""
        took = time.monotonic() - self.started
        if self.cancelled:
            raise Stopped("cancelled")
        if took >= self.deadline:
            raise self.late()
        return self.deadline - took

    def late(self):
        took = time.monotonic() - self.started
        return Stopped(f"no result in {took:.1f} s; the deadline of the call passed while {self.doing}", late=True)

    def sending(self, request):
        """Notes that the request is about to leave. After a cancellation it must not: the caller was told so."""
        with self.lock:
            self.left()
            self.maybe_applied |= request.writes

    def waits_for(self, abort):
        """Sets what a cancellation calls."""
        with self.lock:
            self.left()
            self.abort = abort

    def cancel(self):
        """Ends the call soon. Returns whether Consul may have applied a write."""
        with self.lock:
            self.cancelled, abort = True, self.abort
        if abort:
            abort()
        return self.maybe_applied
