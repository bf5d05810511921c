"""Why a call failed."""

RETRYABLE = {"unavailable", "timeout", "transport"}


class Failed(Exception):
    """A failed call. `kind` says what went wrong; `error` adds `parameter`, or `method`, `path`, `status` and `text`.
    If `maybe_applied`, look before you repeat the write. A mistake of the caller is a TypeError or ValueError."""

    def __init__(self, message, error):
        super().__init__(message, error)  # both, so that the exception can be pickled
        self.error, self.kind, self.maybe_applied = error, error["kind"], error["maybe_applied"]
        self.status, self.retryable = error.get("status"), self.kind in RETRYABLE

    def __str__(self):
        return self.args[0]


def failed(kind, message, maybe_applied=False, **more):
    """A failure that the host found, in the form of the component's own."""
    return Failed(message, {"kind": kind, "retryable": kind in RETRYABLE, **more, "maybe_applied": maybe_applied})
