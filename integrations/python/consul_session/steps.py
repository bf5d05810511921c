"""A call of the component that imports nothing: it says what to request, and the host requests it."""

from wasmtime.component import Record, Variant

from .call import Stopped
from .messages import Request, Response, TransportError
from .values import lift, lift_result, lower_all

NEEDED = ("content-type", "content-encoding", "location")  # of a response's headers, and those of Consul


def run(instance, call, send, function, *values):
    """Carries out an operation. Returns whether it failed, and its value or error."""
    name = "action" if function == ("action", "run") else function[1]
    start = instance.function("start", name)
    if start is None or function == ("sessions", "action"):
        raise ValueError("the interface {} has no function {!r}".format(*function))
    resume, finish = instance.function("steps", "resume"), instance.function("finish", name)
    wanted = instance.run(start, *lower_all(start.type(instance.store).params, values, name))
    while wanted is not None:
        request = outgoing(lift(wanted))
        before, call.doing = call.maybe_applied, f"waiting for {request.method} {request.url}"
        try:
            response = send(request, call)
            result, body = Variant("ok", incoming(response)), response.body
        except TransportError as error:
            call.cause = error
            if not error.maybe_sent:
                call.maybe_applied = before
            reason = record(kind=error.kind, detail=error.detail, maybe_sent=error.maybe_sent)
            result, body = Variant("err", reason), b""
        call.doing = "computing"
        wanted = instance.run(resume, result, body=body)
    return lift_result(instance.run(finish))


def outgoing(wanted):
    seconds = {f"{name}_timeout": duration / 10**9 for name, duration in wanted["timeouts"].items()}
    headers = [(header["name"], header["value"]) for header in wanted["headers"]]
    same = {name: wanted[name] for name in ("scheme", "authority", "body", "max_body", "writes")}
    return Request(method=wanted["method"].upper(), path=wanted["path_with_query"], headers=headers, **seconds, **same)


def incoming(response):
    headers = [(name.lower(), value) for name, value in response.headers]
    needed = [header for header in headers if header[0] in NEEDED or header[0].startswith("x-consul-")]
    return record(status=response.status, headers=[record(name=name, value=value) for name, value in needed], body=b"")


def by_own_function(send):
    """Sends requests with a function of the caller's, whose responses and errors are checked."""

    def checked(request, call):
        call.sending(request)
        try:
            response = send(request)
        except (TransportError, Stopped):
            raise
        except Exception as error:
            raise TransportError("other", f"{type(error).__name__}: {error}", maybe_sent=True) from error
        if not isinstance(response, Response) or not isinstance(response.body, bytes):
            raise TypeError(f"`send` must return a Response with a body of bytes, not {type(response).__name__}")
        if len(response.body) > request.max_body:
            raise TransportError("body-too-large", maybe_sent=True)
        return response

    return checked


def record(**fields):
    made = Record()
    for name, value in fields.items():
        setattr(made, name.replace("_", "-"), value)
    return made
