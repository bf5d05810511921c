"""Sends the requests of a call with the standard library. Follows no redirects and keeps no cookies."""

import http.client
import ssl
import time

from . import kinds
from .connection import connect
from .messages import Response, TransportError


class Exchange:
    """Sends the requests of one call. They use one connection, as long as the server keeps it open."""

    def __init__(self, trust):
        self.trust, self.context = trust, None
        self.stream, self.server = None, None

    def send(self, request, call):
        for name, value in request.headers:
            if any(character < " " or character == "\x7f" for character in name + value):
                raise TransportError("misconfigured", f"the header {name} contains a control character")
        if request.scheme == "https" and self.context is None:
            self.context = self.trust.context()
        server = request.scheme, request.authority
        kept = self.stream is not None and self.server == server and self.stream.is_idle()
        if not kept:
            self.close()
            self.stream, self.server = self.connect(request, call), server
        try:
            return self.exchange(request, call)
        except TransportError as error:
            nothing = error.kind == "connection-closed" and not self.stream.received
            self.close()
            if not kept or not nothing or request.method != "GET":
                raise
        # The server closed the connection while it was idle. To read again is harmless; to write again is not.
        self.stream = self.connect(request, call)
        return self.exchange(request, call)

    def connect(self, request, call):
        context = self.context if request.scheme == "https" else None
        return connect(request, call, context, self.trust.server_name)

    def exchange(self, request, call):
        stream = self.stream
        stream.begin(request, call, time.monotonic() + request.first_byte_timeout)
        connection = http.client.HTTPConnection(request.authority)
        connection.sock = stream
        try:
            response = round_trip(connection, stream, request)
            encoding = response.getheader("transfer-encoding", "chunked")
            if encoding.lower() != "chunked":
                raise TransportError("unsupported-coding", f"transfer-encoding {encoding}", maybe_sent=True)
            if response.msg.defects:
                raise TransportError("not-http", "a header is malformed", maybe_sent=True)
            stream.in_headers = False
            # Without `Transfer-Encoding: chunked`, `length` is what remains of `Content-Length`, or None.
            if (response.length or 0) > request.max_body:
                raise TransportError("body-too-large", maybe_sent=True)
            body = response.read(request.max_body + 1)
            if len(body) > request.max_body:
                raise TransportError("body-too-large", maybe_sent=True)
            if response.length:
                raise TransportError("incomplete", maybe_sent=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            call.left()  # raises if the deadline passed, or if the call was cancelled
            raise kinds.of_exchange(error, stream) from error
        if response.will_close:
            self.close()
        return Response(response.status, response.getheaders(), body)

    def close(self):
        if self.stream is not None:
            self.stream.sock.close()
            self.stream = None


def round_trip(connection, stream, request):
    target = request.path if stream.proxy is None else f"http://{request.authority}{request.path}"
    connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("host", request.authority)
    connection.putheader("accept-encoding", "identity")
    for name, value in [*request.headers, *(stream.proxy.headers if stream.proxy else ())]:
        if name != "content-length":
            connection.putheader(name, value if isinstance(value, bytes) else value.encode())
    if request.method != "GET":
        connection.putheader("content-length", str(len(request.body)))
    try:
        connection.endheaders(request.body if request.method != "GET" else None)
    except (ConnectionError, ssl.SSLEOFError):
        pass  # The server stopped reading. What it sent before, a response or a TLS alert, says why.
    stream.all_sent = True
    return connection.getresponse()
