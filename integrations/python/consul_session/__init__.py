"""Consul sessions, by the WebAssembly component `consul-session`.

| file | content |
|---|---|
| `session.py` | the classes `ConsulSession` and `AsyncConsulSession` |
| `failure.py` | the exception `Failed` |
| `messages.py` | requests, responses and transport errors, for a `send` function of your own |
| `call.py` | a call under way: its deadline, and whether Consul may have applied a write |
| `steps.py` | a call of the component that imports nothing: the host sends its requests |
| `plugin.py` | a call of the component that imports `wasi:http`: wasmtime sends its requests |
| `exchange.py` | sends a request and reads the response |
| `connection.py` | connects to a server, directly or through a proxy, and bounds every wait |
| `proxy.py` | the proxy for an address, from the environment |
| `trust.py` | TLS settings |
| `component.py` | compiles the component, and runs it on wasmtime-py |
| `compiled.py` | keeps compiled components in the user's cache directory |
| `values.py` | converts values between Python and the component |
"""

from .failure import Failed
from .messages import Request, Response, TransportError
from .session import AsyncConsulSession, ConsulSession

__all__ = ["AsyncConsulSession", "ConsulSession", "Failed", "Request", "Response", "TransportError"]
