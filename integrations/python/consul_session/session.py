"""Consul sessions for programs in Python, through either interface of the component."""

import json
import threading

from .call import Call, Stopped
from .failure import Failed, failed
from .trust import Trust

READS = ("info", "node", "list")  # functions and states


class ConsulSession:
    """Runs the component. Threads may share an object, and a forked process may go on using it."""

    def __init__(self, component, deadline=30, *, send=None, cache=True, **tls):
        """`component` is the path of the component, or its bytes. `deadline`, in seconds, bounds each call as a whole.

        TLS settings are `validate_certs`, `ca_path`, `client_cert`, `client_key` and `server_name`, as in
        docs/parameters.md. `send` is a function that takes a Request and returns a Response or raises a TransportError,
        in place of the HTTP client here. `cache=False` does not keep the compiled component in the cache directory."""
        from . import component as runtime  # here, because it takes 60 ms

        if not isinstance(component, bytes):
            with open(component, "rb") as file:
                component = file.read()
        if send and tls:
            raise ValueError("TLS settings have no effect with `send`; omit one of them")
        self.deadline, self.send, self.trust = deadline, send, Trust(**tls)
        self.component, self.cache = component, cache
        _, _, self.embedded = runtime.process().load(component, cache)  # fails here if the component cannot be used
        if not self.embedded and (tls or send):
            raise ValueError("a plugin sends its requests itself; `send` and TLS settings need the embedded component")

    def action(self, params):
        """Runs an action. Parameters and results are those of docs/parameters.md."""
        return self._action(Call(self.deadline), self.send, params)

    def sessions(self, function, *values):
        """Calls a function of the interface `sessions`. Records are dicts, durations are in nanoseconds."""
        return self._sessions(Call(self.deadline), self.send, function, *values)

    def _action(self, call, send, params):
        if not isinstance(params, dict):
            raise TypeError(f"params must be dict, not {type(params).__name__}")
        reads = params.get("state") in READS or params.get("check_mode") is True
        trust = self.trust
        if self.embedded and not send:  # Otherwise the component refuses TLS settings itself.
            trust, params = trust.take_from(params)
        has_failed, text = self._run(call, send, trust, reads, ("action", "run"), json.dumps(params))
        result = json.loads(text)
        if has_failed:
            raise Failed(result["msg"], result["error"]) from call.cause
        return result

    def _sessions(self, call, send, function, *values):
        reads = function in READS
        has_failed, result = self._run(call, send, self.trust, reads, ("sessions", function), *values)
        if has_failed:
            raise Failed(result.pop("message"), {**(result.pop("exchange") or {}), **result}) from call.cause
        return result

    def _run(self, call, send, trust, reads, function, *values):
        from . import component, plugin, steps
        from .exchange import Exchange

        exchange = Exchange(trust)
        try:
            instance = component.Instance(self.component, self.cache, call)
            if not self.embedded:
                call.maybe_applied = not reads  # because only wasmtime knows what it sent
                return plugin.run(instance, function, *values)
            trust.check()
            send = steps.by_own_function(send) if send else exchange.send
            return steps.run(instance, call, send, function, *values)
        except Stopped as stopped:
            raise failed("timeout" if stopped.late else "other", str(stopped), call.maybe_applied) from stopped
        finally:
            exchange.close()


class AsyncConsulSession:
    """Like ConsulSession, for asyncio. `send` may be a coroutine function.

    Each call takes a thread of its own while it is under way, so a call that hangs holds up no other; bound their
    number with an `asyncio.Semaphore` if there may be many. Cancelling the task cancels the call, and the
    CancelledError gets the attribute `maybe_applied`."""

    def __init__(self, component, deadline=30, **options):
        self.session = ConsulSession(component, deadline, **options)

    async def action(self, params):
        return await self._in_thread(self.session._action, params)

    async def sessions(self, function, *values):
        return await self._in_thread(self.session._sessions, function, *values)

    async def _in_thread(self, function, *values):
        import asyncio  # here, because it takes 40 ms, and programs without it need not wait for it

        loop, call = asyncio.get_running_loop(), Call(self.session.deadline)
        done, send = loop.create_future(), self.session.send

        def run():
            try:
                finish, value = done.set_result, function(call, send and by_loop(send, loop, call), *values)
            except BaseException as error:
                finish, value = done.set_exception, error
            try:
                loop.call_soon_threadsafe(lambda: done.cancelled() or finish(value))
            except RuntimeError:
                pass  # The loop was closed, so nobody waits for the result.

        threading.Thread(target=run, daemon=True).start()
        try:
            return await done
        except asyncio.CancelledError as cancelled:
            cancelled.maybe_applied = call.cancel()
            raise


def by_loop(send, loop, call):
    """Awaits the coroutine of `send` on the loop that the call was made on."""
    import asyncio
    import concurrent.futures

    def wait(request):
        response = send(request)
        if not asyncio.iscoroutine(response):
            return response
        future = asyncio.run_coroutine_threadsafe(response, loop)
        call.waits_for(future.cancel)
        if not concurrent.futures.wait([future], call.left()).done:
            future.cancel()
            raise call.late()
        return future.result()

    return wait
