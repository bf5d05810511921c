"""Tests how integrations/python sends requests: TLS, proxies, broken servers, deadlines, cancellation, forks, and the
cache of compiled components. Needs integrations/python on PYTHONPATH, and the program `openssl`.

usage: exchange.py EMBEDDED
"""

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import pathlib
import socket
import stat
import sys
import tempfile
import threading
import time

import servers
from consul_session import AsyncConsulSession, ConsulSession, Failed, Response, TransportError, compiled
from consul_session import component as runtime
from consul_session.call import Call
from servers import BOUND, ID, Certificates, Consul, Proxy, Raw, ok, silent
from wasmtime import Engine, wat2wasm
from wasmtime.component import Component

EMBEDDED = sys.argv[1]
consul = ConsulSession(EMBEDDED, deadline=BOUND)
LIST, CREATE = {"state": "list"}, {"unique": False}


def failure(kind, text, params, applied=False, session=consul):
    """Expects a call to fail with a kind and a part of the message."""
    try:
        result = session.action(params)
    except Failed as error:
        assert (error.kind, error.maybe_applied) == (kind, applied) and text in str(error), (str(error), error.error)
        return error
    raise AssertionError(f"{params} succeeded: {result}")


def tls(certificates):
    path = certificates.path
    server = Consul(certificates.context("server"))
    by_file = [{"ca_path": path("ca.pem")}, {"ca_path": path("server.pem")}]
    for trusted in [*by_file, {"validate_certs": False}, {"validate_certs": "no"}]:
        assert consul.action({**LIST, "url": server.url, **trusted})["sessions"] == [], trusted
        if trusted.get("validate_certs") != "no":
            assert ConsulSession(EMBEDDED, **trusted).action({**LIST, "url": server.url})["sessions"] == []
    assert ConsulSession(EMBEDDED, ca_path=path("ca.pem")).sessions("info", {"address": server.url}, ID)["id"] == ID
    requests = len(server.seen)
    for untrusted in [{}, {"ca_path": path("other-ca.pem")}, {"validate_certs": True}, {"ca_path": ""}]:
        failure("tls", "the server's certificate is not trusted", {**CREATE, "url": server.url, **untrusted})
    # The parameters of an action win over the arguments of the class.
    lax = ConsulSession(EMBEDDED, validate_certs=False)
    failure("tls", "not trusted", {**LIST, "url": server.url, "validate_certs": "yes"}, session=lax)
    assert len(server.seen) == requests, "a request was sent to an untrusted server"

    failure("tls", "expired", {**LIST, "url": Consul(certificates.context("expired")).url, "ca_path": path("ca.pem")})
    named = Consul(certificates.context("named"))
    failure("tls", "mismatch", {**LIST, "url": named.url, "ca_path": path("ca.pem")})
    by_name = ConsulSession(EMBEDDED, ca_path=path("ca.pem"), server_name="consul.example")
    assert by_name.action({**LIST, "url": named.url})["sessions"] == []
    other_name = ConsulSession(EMBEDDED, ca_path=path("ca.pem"), server_name="other.example")
    failure("tls", "mismatch", {**LIST, "url": named.url}, session=other_name)

    for version in ("TLSv1_2", "TLSv1_3"):
        context = certificates.context("server", clients="other-ca")
        context.minimum_version = context.maximum_version = getattr(servers.ssl.TLSVersion, version)
        demanding = Consul(context)
        params = {**CREATE, "url": demanding.url, "ca_path": path("ca.pem")}
        own = {"client_cert": path("client.pem"), "client_key": path("client.key")}
        assert consul.action({**params, **own})["session_id"] == ID, version
        assert ConsulSession(EMBEDDED, **own).action(params)["session_id"] == ID, version
        failure("tls", "it may require a client certificate", params)
        failure("tls", "alert", {**params, "client_cert": path("stranger.pem"), "client_key": path("stranger.key")})
        both = pathlib.Path(path("both.pem"))
        both.write_text("".join(pathlib.Path(path(f"client.{part}")).read_text() for part in ("pem", "key")))
        assert consul.action({**params, "client_cert": str(both)})["session_id"] == ID, version

    plain = Consul().url.replace("http", "https")
    failure("tls", "does not speak TLS", {**LIST, "url": plain, "validate_certs": False})
    certificate = {"client_cert": path("client.pem")}
    (missing := pathlib.Path(path("empty.pem"))).write_text("")
    for parameter, text, settings in [
        ("ca_path", "cannot read the CA file /nowhere: No such file", {"ca_path": "/nowhere"}),
        ("ca_path", "cannot read the CA file /: Is a directory", {"ca_path": "/"}),
        ("ca_path", "contains no certificate", {"ca_path": str(missing)}),
        ("client_key", "`client_key` needs `client_cert`", {"client_key": path("client.key")}),
        ("client_cert", "cannot read the client certificate file /nowhere", {"client_cert": "/nowhere"}),
        ("client_key", "cannot read the key file", {**certificate, "client_key": "/nowhere"}),
        ("client_cert", "the key belongs to another", {**certificate, "client_key": path("ca.key")}),
        ("client_cert", "or the key has a passphrase", certificate),
        ("validate_certs", "must be true or false, not `banana`", {"validate_certs": "banana"}),
    ]:
        error = failure("invalid", text, {**LIST, "url": "http://127.0.0.1:1", **settings})
        assert error.error["parameter"] == parameter, error.error


@contextlib.contextmanager
def environment(**variables):
    before = {name: os.environ.pop(name, None) for name in ("http_proxy", "https_proxy", "no_proxy")}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def proxies(certificates):
    plain, secure, proxy = Consul(), Consul(certificates.context("server")), Proxy()
    address = proxy.url.replace("//", "//user:pass%20word@")
    params = {**LIST, "token": "sesame-open", "ca_path": certificates.path("ca.pem")}
    with environment(http_proxy=address, https_proxy=address):
        for server in (plain, secure):
            assert consul.action({**params, "url": server.url})["sessions"] == []
            assert proxy.headers[-1]["proxy-authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ=", proxy.headers[-1]
            assert server.headers[-1]["x-consul-token"] == "sesame-open", server.headers[-1]
        host = secure.url[8:]
        assert proxy.seen == [f"GET {plain.url}/v1/session/list HTTP/1.1", f"CONNECT {host} HTTP/1.1"], proxy.seen
        assert "sesame" not in str(proxy.headers[-1]), "the proxy of a TLS connection saw the token"
        failure("tls", "not trusted", {**LIST, "url": secure.url})  # The proxy does not vouch for the server.
        seen = len(proxy.seen)
        with environment(http_proxy=address, https_proxy=address, no_proxy="127.0.0.1"):
            for server in (plain, secure):
                assert consul.action({**params, "url": server.url})["sessions"] == []
        assert len(proxy.seen) == seen, "no_proxy was ignored"
    refusing = Proxy(refusing=True).url
    with environment(https_proxy=refusing):
        failure("transport", f"the proxy {refusing[7:]} refused to connect: 403", {**CREATE, "url": secure.url})
    with environment(http_proxy="127.0.0.1:1"):
        failure("transport", "connection refused: the proxy 127.0.0.1:1", {**CREATE, "url": plain.url})
    stalled = silent()
    with environment(https_proxy=stalled.url):
        failure("timeout", "", {**CREATE, "url": secure.url, "timeout": "100ms"})
        hasty = ConsulSession(EMBEDDED, deadline=0.2)
        failure("timeout", "no result in", {**CREATE, "url": secure.url}, session=hasty)
    with environment(http_proxy="socks5://user:sesame@127.0.0.1:1"):
        error = failure("other", "the proxy in http_proxy must be http://host:port", {**LIST, "url": plain.url})
        assert "sesame" not in str(error)


def responses():
    """What servers may send, and what must not follow from it."""
    other = Consul()
    redirect = f"HTTP/1.1 301 Moved\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode()
    moved = Raw(lambda connection, _: connection.sendall(redirect))
    failure("protocol", "redirect", {**LIST, "url": moved.url})
    assert other.seen == [] and len(moved.seen) == 1, "a redirect was followed"

    body = b"[" + b" " * (1 << 20) + b"]"
    chunked = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in (body[:70000], body[70000:])) + b"0\r\n\r\n"
    big = 8 << 20
    big_chunk = b"%x\r\n" % (2 * big) + b" " * (big + 1)
    for kind, text, response in [
        (None, "", ok(body)),
        (None, "", ok(chunked, "Transfer-Encoding: chunked", length=False)),
        (None, "", ok(b"[]", "Connection: close", length=False)),
        ("protocol", "too large", ok(b"", length=big + 1)),
        ("protocol", "too large", ok(b" " * (big + 1), length=False)),
        ("protocol", "too large", ok(big_chunk, "Transfer-Encoding: chunked", length=False)),
        ("protocol", "headers are too large", ok(b"[]", *[f"X-{number}: {'x' * 900}" for number in range(90)])),
        ("protocol", "headers are too large", ok(b"[]", *[f"X-{number}: x" for number in range(300)])),
        ("protocol", "headers are too large", ok(b"[]", f"X: {'x' * 70000}")),
        ("protocol", "headers are too large", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000),
        ("transport", "ended too early", ok(b"[]", length=100)),
        ("transport", "ended too early", ok(b"5\r\n[", "Transfer-Encoding: chunked", length=False)),
        ("transport", "", b"HTTP/1.1 200 OK\r\nContent-"),
        ("transport", "", b""),
        ("protocol", "", b"SSH-2.0-OpenSSH_9\r\n"),
        ("protocol", "", b"HTTP/1.1 abc\r\n\r\n"),
        ("protocol", "malformed", ok(b"[]", "nonsense")),
        ("protocol", "coding", ok(b"[]", "Transfer-Encoding: gzip", length=False)),
    ]:

        def respond(connection, _, response=response):
            with contextlib.suppress(OSError):
                connection.sendall(response)
            return False

        server = Raw(respond)
        if kind is None:
            assert consul.action({**LIST, "url": server.url})["sessions"] == [], response[:100]
        else:
            try:
                failure(kind, text, {**LIST, "url": server.url})
            except AssertionError as error:
                raise AssertionError(response[:100]) from error
            failure(kind, text, {**CREATE, "url": server.url}, applied=True)
    hostile = Consul()
    consul.action({"state": "node", "node": "a/b?c%2F ü", "url": hostile.url})
    assert hostile.seen == ["GET /v1/session/node/a%2Fb%3Fc%252F%20%C3%BC HTTP/1.1"], hostile.seen
    assert "deflate" not in str(hostile.headers) and hostile.headers[0]["accept-encoding"] == "identity"
    assert hostile.headers[0]["host"] == hostile.url[7:], hostile.headers


def connections():
    """One connection for the requests of a call; a read may be repeated, and a write may not."""
    server = Consul()
    consul.action({**CREATE, "url": server.url})
    assert len(server.seen) == 2 and len(server.addresses) == 1, (server.seen, server.addresses)

    def second_closes(connection, request):
        if len(server.seen) == 2:
            return False
        name = request.split(b"/")[3].split(b" ")[0]
        connection.sendall(ok({b"create": b'{"ID":"%s"}' % ID.encode()}.get(name, b"[]")))

    server = Raw(second_closes)
    assert consul.action({**CREATE, "url": server.url})["session_id"] == ID
    assert [line.split()[0] for line in server.seen] == ["PUT", "GET", "GET"], server.seen
    server = Raw(second_closes)
    failure("transport", "", {"state": "present", "name": "x", "url": server.url}, applied=True)
    assert [line.split()[0] for line in server.seen] == ["GET", "PUT"], server.seen


def timeouts():
    """Each timeout, and the deadline of the call, in every place where a server can stall."""
    hasty = ConsulSession(EMBEDDED, deadline=0.3)
    half = lambda connection, _: connection.sendall(ok(b"[", length=2))  # noqa: E731

    def drip(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x")
                time.sleep(0.02)
        return False

    for server in (silent(), Raw(half)):
        failure("timeout", "", {**LIST, "url": server.url, "timeout": "100ms"})
        failure("timeout", "too long", {**CREATE, "url": server.url, "timeout": "100ms"}, applied=True)
    for server in (silent(), Raw(half), Raw(drip)):
        for applied, params in [(False, LIST), (True, CREATE)]:
            started = time.monotonic()
            error = failure("timeout", "no result in 0.", {**params, "url": server.url}, applied=applied, session=hasty)
            took = time.monotonic() - started
            assert 0.3 <= took < 5, took
            assert error.retryable and error.error["retryable"] and "PUT" in str(error) or not applied, error

    # A server whose queue of connections is full neither accepts nor refuses.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    clients = [socket.socket() for _ in range(3)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    url = f"http://127.0.0.1:{full.getsockname()[1]}"
    failure("timeout", "could not connect in time", {**CREATE, "url": url, "timeout": "200ms"})
    failure("timeout", "no result in", {**CREATE, "url": url}, session=hasty)
    stalled = silent().url.replace("http", "https")
    failure("timeout", "handshake took too long", {**CREATE, "url": stalled, "timeout": "100ms"})
    failure("timeout", "no result in", {**CREATE, "url": stalled}, session=hasty)

    look_up, release = socket.getaddrinfo, threading.Event()

    def hanging(host, *values, flags=0, **options):
        if not flags:
            release.wait(BOUND)
        return look_up(host, *values, flags=flags, **options)

    socket.getaddrinfo = hanging
    try:
        params = {**CREATE, "url": "http://consul.example:1"}
        failure("timeout", "resolving the name took too long", {**params, "timeout": "100ms"})
        failure("timeout", "no result in", params, session=hasty)
    finally:
        socket.getaddrinfo = look_up
        release.set()
    failure("transport", "cannot resolve the name", {**CREATE, "url": f"http://{'x' * 64}.example:1"})
    failure("transport", "connection refused", {**CREATE, "url": "http://127.0.0.1:1"})


COMPUTING = """
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "run") (param i32 i32) (result i32) (loop br 0) unreachable))
  (core instance $i (instantiate $m))
  (func $run (param "params" string) (result (result string (error string)))
    (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance (export "consul:session/action@0.2.0") (export "run" (func $run))))
"""


def computing():
    """A component that computes forever is stopped at the deadline."""
    session = ConsulSession(bytes(wat2wasm(COMPUTING)), deadline=0.2, cache=False)
    started = time.monotonic()
    failure("timeout", "while computing", CREATE, applied=True, session=session)
    assert 0.2 <= time.monotonic() - started < 5


def threads():
    """A call that hangs holds up no other thread."""
    released, working = threading.Event(), Consul()
    hanging = Raw(lambda *_: not released.wait(BOUND))
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        waiting = pool.submit(failure, "transport", "connection closed", {**LIST, "url": hanging.url})
        assert hanging.arrived.wait(BOUND)
        for done in pool.map(lambda _: consul.action({**LIST, "url": working.url}), range(100)):
            assert done["sessions"] == []
        assert not waiting.done()
        released.set()
        waiting.result(BOUND)


async def tasks():
    """A call that hangs holds up no other task, and can be cancelled."""
    parallel, working = AsyncConsulSession(EMBEDDED, deadline=BOUND), Consul()
    patient = AsyncConsulSession(EMBEDDED, deadline=3600)
    loop = asyncio.get_running_loop()
    for applied, params in [(False, LIST), (True, CREATE)]:
        hanging = silent()
        params = {**params, "timeout": "1h"}
        task = asyncio.create_task(patient.action({**params, "url": hanging.url}))
        assert await loop.run_in_executor(None, hanging.arrived.wait, BOUND)
        # More than the threads of asyncio's own executor.
        crowd = [asyncio.create_task(patient.action({**params, "url": hanging.url})) for _ in range(40)]
        agent = {"address": working.url}
        calls = [parallel.action({**LIST, "url": working.url}) for _ in range(50)]
        calls += [parallel.sessions("info", agent, ID) for _ in range(50)]
        for result in await asyncio.wait_for(asyncio.gather(*calls), BOUND):
            assert result["id"] == ID if "id" in result else result["sessions"] == []
        assert not task.done()
        caught = []

        async def watch(params=params, caught=caught, url=(second := silent()).url):
            try:
                await patient.action({**params, "url": url})
            except asyncio.CancelledError as cancelled:
                caught.append(cancelled.maybe_applied)
                raise

        watched = asyncio.create_task(watch())
        assert await loop.run_in_executor(None, second.arrived.wait, BOUND)
        for each in (task, watched, *crowd):
            each.cancel()
        results = await asyncio.gather(task, watched, *crowd, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
        assert caught == [applied], caught
        for server in (hanging, second):
            assert await loop.run_in_executor(None, server.closed.wait, BOUND), "the connection stayed open"

    for problem, call in [
        (Failed, parallel.action({"state": "info", "url": working.url})),
        (TypeError, parallel.sessions("info", {"address": working.url})),
    ]:
        [error] = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(error, problem), error
    hasty, hanging = AsyncConsulSession(EMBEDDED, deadline=0.2), silent()
    [error] = await asyncio.gather(hasty.action({**CREATE, "url": hanging.url}), return_exceptions=True)
    assert (error.kind, error.maybe_applied) == ("timeout", True), error

    # A coroutine in place of the HTTP client.
    seen, forever = [], asyncio.Event()

    async def send(request):
        assert asyncio.get_running_loop() is loop
        seen.append(f"{request.method} {request.url}")
        if "node" in request.path:
            await forever.wait()
        if request.method == "PUT":
            raise TransportError("connection-closed", maybe_sent=False)
        return Response(200, [("Content-Type", "application/json")], b"[]")

    own = AsyncConsulSession(EMBEDDED, deadline=0.3, send=send)
    assert (await own.action({**LIST, "url": "http://nowhere:1"}))["sessions"] == []
    [write, late] = await asyncio.gather(
        own.action({**CREATE, "url": "http://nowhere:1"}),
        own.action({"state": "node", "node": "x", "url": "http://nowhere:1"}),
        return_exceptions=True,
    )
    assert (write.kind, write.maybe_applied) == ("transport", False), write.error
    assert (late.kind, late.maybe_applied) == ("timeout", False), late.error
    assert "GET http://nowhere:1/v1/session/list" in seen, seen


def own_function():
    def send(request):
        problem = next(problems)
        if isinstance(problem, Exception):
            raise problem
        return problem

    own = ConsulSession(EMBEDDED, send=send)
    params = {**CREATE, "url": "https://nowhere:1", "token": "sesame-open"}
    json = [("content-type", "application/json")]
    problems = iter([Response(200, json, b"x" * (9 << 20))])
    failure("protocol", "too large", params, applied=True, session=own)
    problems = iter([KeyError("x")])
    error = failure("other", "KeyError", params, applied=True, session=own)
    assert isinstance(error.__cause__.__cause__, KeyError), error.__cause__
    problems = iter([TransportError("untrusted-certificate", "pinned", maybe_sent=False)])
    failure("tls", "not trusted: pinned", params, session=own)
    problems, call = iter([TransportError("unreachable")]), Call(BOUND)
    with contextlib.suppress(Failed):
        own._action(call, own.send, params)
    assert not call.maybe_applied, "a write that was not sent counts as one that may have been applied"
    problems = iter([Response(403, json, b"Permission denied")])
    failure("denied", "", params, session=own)
    for wrong in (None, Response(200, [], "text")):
        problems = iter([wrong])
        try:
            own.action(params)
        except TypeError as error:
            assert "`send` must return a Response" in str(error), error
        else:
            raise AssertionError(f"{wrong} was accepted")


def forks(certificates):
    """A child that was forked after calls, and while another thread makes one, makes calls of its own."""
    server, hanging = Consul(certificates.context("server")), silent()
    params = {**LIST, "url": server.url, "ca_path": certificates.path("ca.pem")}
    consul.action(params)
    other = threading.Thread(target=failure, args=("timeout", "", {**LIST, "url": hanging.url, "timeout": "1s"}))
    other.start()
    assert hanging.arrived.wait(BOUND)
    hasty = ConsulSession(EMBEDDED, deadline=0.2)
    process = os.fork()
    if process == 0:
        try:
            assert consul.action(params)["sessions"] == []
            assert runtime.process().ticker.is_alive(), "no thread makes deadlines pass"
            failure("timeout", "no result in", {**LIST, "url": hanging.url}, session=hasty)
            os._exit(0)
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    other.join()


def cache(directory):
    """Only a file that nobody else can have written is loaded."""
    engine, empty, compilations = Engine(), b"\0asm\x0d\0\x01\0", []
    folder, elsewhere = directory / "consul-session", directory / "elsewhere"

    class Counted(Component):
        def __init__(self, *values):
            compilations.append(values)
            super().__init__(*values)

    def compiles(times, why):
        compilations.clear()
        assert compiled.load(engine, {}, empty) is not None
        assert len(compilations) == times, f"{why}: compiled {len(compilations)} times, not {times}"

    os.environ["XDG_CACHE_HOME"] = str(directory)
    compiled.Component, before = Counted, compiled.Component
    try:
        compiles(1, "first")
        compiles(0, "second")
        (file,) = folder.iterdir()
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, file)]
        assert modes == [0o700, 0o600], modes
        good = file.read_bytes()
        for why, spoil in [
            ("writable by the group", lambda: file.chmod(0o620)),
            ("writable by others", lambda: file.chmod(0o602)),
            ("other bytes", lambda: file.write_bytes(good[:-1] + b"x")),
            ("truncated", lambda: file.write_bytes(good[:-100])),
            ("empty", lambda: file.write_bytes(b"")),
            ("no machine code", lambda: file.write_bytes(compiled.hashlib.sha256(b"x").digest() + b"x")),
            ("a link", lambda: (file.rename(elsewhere), file.symlink_to(elsewhere))),
            ("a pipe", lambda: (file.unlink(), os.mkfifo(file, 0o600))),
            ("another owner", lambda: os.chown(file, 1, -1) if os.geteuid() == 0 else file.unlink()),
        ]:
            spoil()
            compiles(1, why)
            compiles(0, f"after {why}")
        elsewhere.unlink()
        for why, spoil, mend in [
            ("directory writable by the group", lambda: folder.chmod(0o770), lambda: folder.chmod(0o700)),
            ("another owner", lambda: os.chown(folder, 1, -1), lambda: os.chown(folder, os.geteuid(), -1)),
            (
                "link to a directory",
                lambda: (folder.rename(elsewhere), folder.symlink_to(elsewhere)),
                lambda: (folder.unlink(), elsewhere.rename(folder)),
            ),
        ]:
            if "another" in why and os.geteuid() != 0:
                continue
            spoil()
            compiles(1, why)
            compiles(1, f"{why}, which must not be written to")
            mend()
            compiles(0, f"no longer: {why}")
        compilations.clear()
        compiled.load(engine, {"other": "settings"}, empty)
        compiled.load(engine, {}, empty + b"\0\x02\x01x")  # with a custom section
        assert len(compilations) == 2, "another key loaded the same code"
        for number in range(2 * compiled.KEPT):
            compiled.load(engine, {"number": number}, empty)
        assert len(list(folder.iterdir())) == compiled.KEPT
        for name, value in [("XDG_CACHE_HOME", "/proc/none"), ("XDG_CACHE_HOME", None), ("HOME", None)]:
            before_value = os.environ.pop(name, None)
            if value:
                os.environ[name] = value
            elif name == "XDG_CACHE_HOME":
                os.environ["HOME"] = str(directory / "home")
                (directory / "home").mkdir()
            compiles(1, f"{name}={value}")
            assert before_value is not None or name == "HOME"
        assert list((directory / "home" / ".cache" / "consul-session").iterdir()), "not stored below HOME"
    finally:
        compiled.Component = before


def main():
    os.environ["no_proxy"] = "*"
    home = dict(os.environ)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        certificates = Certificates(directory)
        for test in (tls, proxies, forks):
            timed(test, certificates)
        for test in (responses, connections, timeouts, computing, threads, own_function):
            timed(test)
        timed(lambda: asyncio.run(tasks()))
        (directory / "cache").mkdir()
        timed(cache, directory / "cache")
    os.environ.clear()
    os.environ.update(home)
    gc.collect()


def timed(test, *values):
    started = time.monotonic()
    test(*values)
    if os.environ.get("VERBOSE"):
        print(f"{time.monotonic() - started:.1f} s {test.__name__}", file=sys.stderr)


main()
