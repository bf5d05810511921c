"""Servers for exchange.py: a Consul that knows one session, servers that break off or stall, proxies and certificates.

usage: servers.py DIRECTORY    makes certificates, serves TLS for playbook.sh, and prints the address
"""

import contextlib
import http.server
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request

ID = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11"
INDEXES = {"CreateIndex": 1, "ModifyIndex": 1}
SESSION = {"ID": ID, "Name": "", "Node": "n", "LockDelay": 0, "Behavior": "release", "TTL": "", **INDEXES}
BOUND = 30  # seconds after which a test fails instead of waiting


class Consul(http.server.ThreadingHTTPServer):
    """Responds to every request. `seen` has the request lines, `addresses` those of the connections."""

    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.tls, self.seen, self.headers, self.addresses = tls, [], [], set()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"

    def finish_request(self, sock, address):
        if self.tls:
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            try:
                sock.do_handshake()
            except OSError:
                with contextlib.suppress(OSError):
                    while socket.socket.recv(sock, 1 << 16):
                        pass  # Closed earlier, the connection might break before the client has read the alert.
                return
        super().finish_request(sock, address)

    def handle_error(self, request, address):
        pass  # A client that gives up is no error.


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def respond(self):
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.server.seen.append(self.requestline)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.addresses.add(self.client_address)
        bodies = {"create": {"ID": ID}, "info": [SESSION], "renew": [SESSION], "destroy": True}
        body = json.dumps(bodies.get(self.path.split("/")[3], [])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = respond

    def log_message(self, *_):
        pass


class Proxy(Consul):
    """Forwards requests and connections. `refusing` refuses connections with 403."""

    def __init__(self, refusing=False):
        super().__init__()
        self.RequestHandlerClass, self.refusing = ProxyHandler, refusing


class ProxyHandler(Handler):
    def do_GET(self):
        self.server.seen.append(self.requestline)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(urllib.request.Request(self.path, headers=dict(self.headers))) as response:
            body = response.read()
            self.send_response(response.status)
            self.send_header("Content-Type", response.headers["content-type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        self.server.seen.append(self.requestline)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.refusing:
            self.send_error(403)
            return
        host, _, port = self.path.rpartition(":")
        upstream = socket.create_connection((host, int(port)))
        self.send_response(200)
        self.end_headers()
        threading.Thread(target=copy, args=(upstream, self.connection), daemon=True).start()
        copy(self.connection, upstream)
        self.close_connection = True


def copy(source, target):
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


class Raw:
    """Calls `respond(connection, request)` for each request. Each sets `arrived`; a client that closes its connection
    while `wait` responds sets `closed`."""

    def __init__(self, respond, tls=None):
        self.respond, self.seen = respond, []
        self.arrived, self.closed = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while request := read_request(connection):
                self.seen.append(request.split(b"\r\n")[0].decode())
                self.arrived.set()
                if self.respond(connection, request) is False:
                    return

    def wait(self, connection, _request=None):
        """Sends nothing until the client gives up."""
        with contextlib.suppress(OSError):
            connection.recv(1)
        self.closed.set()
        return False


def read_request(connection):
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(1 << 16)
        if not part:
            return b""
        request += part
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += connection.recv(1 << 16)
    return head


def silent():
    server = Raw(None)
    server.respond = server.wait
    return server


def ok(body, *headers, length=None):
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", *headers]
    if length is not False:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Certificates:
    """A CA, and certificates that it signed, made by the program `openssl` in a directory."""

    def __init__(self, directory):
        self.directory = directory
        for ca in ("ca", "other-ca"):
            self.openssl("req", "-x509", *key(ca), "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "2")
        self.sign("server", "ca", "IP:127.0.0.1")
        self.sign("named", "ca", "DNS:consul.example")
        self.sign("expired", "ca", "IP:127.0.0.1", "20200101000000Z")
        self.sign("client", "other-ca", "DNS:client")
        self.sign("stranger", "ca", "DNS:client")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def sign(self, name, ca, alternative, end="20990101000000Z"):
        self.openssl("req", *key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.directory / "extensions").write_text(f"[e]\nsubjectAltName={alternative}\n", "utf-8")
        (self.directory / "index").write_text("", "utf-8")
        config = "[ca] default_ca=d [d] database=index new_certs_dir=. rand_serial=yes default_md=sha256 policy=p"
        config = "\n".join([*config.split(), "[p]", "commonName=supplied", ""])
        (self.directory / "config").write_text(config, "utf-8")
        dates = ["-startdate", "20190101000000Z", "-enddate", end]
        files = ["-cert", f"{ca}.pem", "-keyfile", f"{ca}.key", "-in", f"{name}.csr", "-out", f"{name}.pem"]
        extensions = ["-extfile", "extensions", "-extensions", "e"]
        self.openssl("ca", "-batch", "-notext", "-config", "config", *dates, *files, *extensions)

    def path(self, name):
        return str(self.directory / name)

    def context(self, name, clients=None):
        """TLS settings of a server. `clients` is the CA of the certificates that it demands."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path(f"{clients}.pem"))
        return context


def key(name):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]


if __name__ == "__main__":
    made = Certificates(pathlib.Path(sys.argv[1]))
    print(Consul(made.context("named", clients="other-ca")).url, flush=True)
    threading.Event().wait()
