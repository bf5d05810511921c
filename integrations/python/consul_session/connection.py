"""Connections to servers, directly or through a proxy. Every wait is bounded."""

import http.client
import io
import socket
import threading
import time

from . import kinds
from .messages import TransportError
from .proxy import proxy_for

HEADERS = 64 << 10  # bytes of a response's headers


class Stream:
    """A connection, with the methods of a socket that http.client calls."""

    def __init__(self, sock, proxy=None):
        """`proxy` is the one that forwards the requests, if any."""
        self.sock, self.proxy = sock, proxy

    def begin(self, request, call, until):
        """Prepares for a request, whose response must begin before the time `until`."""
        self.request, self.call, self.until = request, call, until
        self.sent, self.all_sent, self.received, self.in_headers = False, False, 0, True

    def is_idle(self):
        """Whether the server has neither closed the connection nor sent anything that was not asked for."""
        try:
            self.sock.settimeout(0)
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK)  # of the socket itself, below TLS
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def wait(self, seconds):
        """Bounds the next wait, also by the deadline of the call."""
        if seconds <= 0:
            raise socket.timeout
        self.sock.settimeout(min(seconds, self.call.left()))

    def sendall(self, data):
        if not self.sent:
            self.call.sending(self.request)
            self.sent = True
        view = memoryview(data)
        while view:
            self.wait(self.until - time.monotonic())
            view = view[self.sock.send(view) :]

    def receive(self, buffer):
        self.wait(self.request.between_bytes_timeout if self.received else self.until - time.monotonic())
        count = self.sock.recv_into(buffer)
        if not count and self.received and self.in_headers:
            # http.client would take this for the end of the headers.
            raise TransportError("incomplete", maybe_sent=True)
        self.received += count
        if self.in_headers and self.received > HEADERS:
            raise TransportError("headers-too-large", maybe_sent=True)
        return count

    def makefile(self, _mode):
        return io.BufferedReader(Reader(self))

    def close(self):
        pass  # http.client closes before it reads the body


class Reader(io.RawIOBase):
    """The response on a connection. Closing it leaves the connection open."""

    def __init__(self, stream):
        self.stream = stream

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.stream.receive(buffer)


def connect(request, call, context, server_name):
    """Connects to the server of a request."""
    until = time.monotonic() + request.connect_timeout
    proxy = proxy_for(request.scheme, request.authority)
    host, _, port = request.authority.rpartition(":")
    host = host.strip("[]")
    if proxy is None:
        sock = dial(host, int(port), call, until)
    else:
        sock = dial_proxy(proxy, call, until)
    try:
        if context is None:
            return Stream(sock, proxy)
        if proxy is not None:
            tunnel(Stream(sock), request, call, until, proxy)
        return Stream(handshake(sock, context, server_name or host, call, until))
    except BaseException:
        sock.close()
        raise


def dial(host, port, call, until):
    """Tries the addresses of a name in turn. Each gets an equal share of the time that is left."""
    addresses = resolve(host, port, call, until)
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share = (until - time.monotonic()) / (len(addresses) - tried)
        try:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(max(0.001, min(share, call.left())))
                call.waits_for(lambda: wake(sock))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            call.left()
            last = error
    raise kinds.of_dialing(last) from last


def resolve(host, port, call, until):
    """Looks up a name in a thread of its own, because the system's resolver has no timeout."""
    found = []

    def look_up(flags=0):
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
        except (OSError, UnicodeError) as error:
            found.append(error)

    look_up(socket.AI_NUMERICHOST)
    if not isinstance(found[0], list):
        found.clear()
        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(max(0, min(until - time.monotonic(), call.left())))
    if not found:
        call.left()
        raise TransportError("connect-timeout", "resolving the name took too long")
    if isinstance(found[0], Exception):
        raise TransportError("unresolved", getattr(found[0], "strerror", None) or str(found[0])) from found[0]
    return found[0]


def dial_proxy(proxy, call, until):
    try:
        return dial(proxy.host, proxy.port, call, until)
    except TransportError as error:
        why = f": {error.detail}" if error.detail else ""
        raise TransportError(error.kind, f"the proxy {proxy.host}:{proxy.port}{why}") from error


def tunnel(stream, request, call, until, proxy):
    """Asks a proxy to connect to the server."""
    stream.begin(request, call, until)
    stream.sent = True  # Nothing of the request itself is sent here.
    try:
        connection = http.client.HTTPConnection(proxy.host)
        connection.sock = stream
        connection.putrequest("CONNECT", request.authority, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", request.authority), *proxy.headers]:
            connection.putheader(name, value)
        connection.endheaders()
        response = http.client.HTTPResponse(stream, method="CONNECT")
        response.begin()
    except (OSError, http.client.HTTPException) as error:
        call.left()
        kind = "connect-timeout" if isinstance(error, socket.timeout) else "unreachable"
        detail = f"the proxy {proxy.host}:{proxy.port} did not connect"
        raise TransportError(kind, detail) from error
    if not 200 <= response.status < 300:
        refusal = f"the proxy {proxy.host}:{proxy.port} refused to connect: {response.status} {response.reason}"
        raise TransportError("unreachable", refusal)


def handshake(sock, context, name, call, until):
    try:
        # An end of the connection that the server did not announce is an error, because an attacker can cause it.
        tls = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    except (OSError, ValueError) as error:
        raise TransportError("misconfigured", f"`{name}` is not a name that a certificate can have") from error
    try:
        call.waits_for(lambda: wake(tls))
        tls.settimeout(max(0.001, min(until - time.monotonic(), call.left())))
        tls.do_handshake()
        return tls
    except BaseException as error:
        tls.close()
        if not isinstance(error, OSError):
            raise
        call.left()
        raise kinds.of_handshake(error) from error


def wake(sock):
    """Ends the wait of another thread for this socket."""
    try:
        # Not the method of a TLS socket, which would also discard its state under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # It is not connected, or closed already.
