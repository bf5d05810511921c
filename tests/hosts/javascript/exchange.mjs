// Tests how integrations/javascript sends requests: TLS, bad servers, timeouts, aborts, proxies, calls side by side.
// Runs in a copy of that directory. Needs the program `openssl`.
//
// usage: exchange.mjs [--times]

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttp, request as httpRequest } from "node:http";
import { createServer as createHttps } from "node:https";
import { connect, createServer as createTcp } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { Connections } from "./connections.mjs";
import { ConsulSession, Failed, TransportError } from "./consul-session.mjs";

const ID = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
const SESSION = { ID, Name: "x", Node: "n", LockDelay: 0, Behavior: "release", TTL: "", CreateIndex: 1 };
const SECOND = 10n ** 9n;
for (const name of Object.keys(process.env)) if (/_proxy$/i.test(name)) delete process.env[name];
const warnings = [];
process.on("warning", (warning) => warnings.push(warning.name));

// Servers.

async function listening(server, host = "127.0.0.1") {
  await once(server.listen(0, host).unref(), "listening");
  return server.address().port;
}

/** Starts a server that counts what it receives. `respond` handles the requests. */
async function serve(respond, create = createHttp, host = "127.0.0.1") {
  const seen = { requests: [], connections: 0 };
  const server = create((request, response) => {
    seen.requests.push(request);
    request.resume();
    respond(request, response, seen.requests.length);
  });
  server.keepAliveTimeout = 0;
  server.on("connection", (socket) => (seen.connections++, socket.unref()));
  return Object.assign(seen, { server, port: await listening(server, host) });
}

/** Starts a server for raw connections. */
async function serveRaw(connected) {
  const server = createTcp((socket) => connected(socket.unref().on("error", () => {})));
  return { server, port: await listening(server) };
}

const json = (response, value) => response.setHeader("content-type", "application/json").end(JSON.stringify(value));

/** The part of Consul that the tests need: without sessions, and every session can be created. */
function consul({ method, url }, response) {
  if (method === "GET") return json(response, url.startsWith("/v1/session/info/") ? [SESSION] : []);
  json(response, url.startsWith("/v1/session/create") ? { ID } : true);
}

// Certificates.

const folder = mkdtempSync(join(tmpdir(), "consul-session-"));
process.on("exit", () => rmSync(folder, { recursive: true }));
const file = (name) => join(folder, name);
const pem = (name) => readFileSync(file(`${name}.pem`), "utf8");

function certificate(name, issuer, extensions) {
  const openssl = (...given) => execFileSync("openssl", given, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
  openssl("req", "-new", ...key, "-subj", `/CN=${name}`, "-out", `${name}.csr`);
  writeFileSync(file("extensions"), extensions);
  const own = ["-signkey", `${name}.key`];
  const by = issuer ? ["-CA", `${issuer}.pem`, "-CAkey", `${issuer}.key`, "-CAcreateserial"] : own;
  const how = ["-days", "2", "-extfile", "extensions"];
  openssl("x509", "-req", "-in", `${name}.csr`, ...by, ...how, "-out", `${name}.pem`);
}

certificate("ca", null, "basicConstraints=critical,CA:TRUE");
certificate("other-ca", null, "basicConstraints=critical,CA:TRUE");
certificate("server", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1");
certificate("misnamed", "ca", "subjectAltName=DNS:consul.example");
certificate("client", "ca", "extendedKeyUsage=clientAuth");
const [ca, otherCa] = [pem("ca"), pem("other-ca")];
const client = { cert: pem("client"), key: readFileSync(file("client.key"), "utf8") };
const https = (name, options) => (respond) => {
  const server = createHttps({ cert: pem(name), key: readFileSync(file(`${name}.key`)), ...options }, respond);
  return server.on("tlsClientError", () => {});
};

// Single exchanges.

const request = (port, more = {}) => {
  const timeouts = { connect: 9n * SECOND, firstByte: 9n * SECOND, betweenBytes: 9n * SECOND, ...more.timeouts };
  const line = { method: "get", scheme: "http", authority: `127.0.0.1:${port}`, pathWithQuery: "/v1/session/list" };
  const rest = { headers: [], body: new Uint8Array(), maxBody: 1n << 20n, writes: more.method === "put" };
  return { ...line, ...rest, ...more, timeouts };
};

/** Sends one request, and returns the status, or the error as `kind sent` or `kind unsent`. */
async function outcome(port, { tls, connections = new Connections(), ...more } = {}) {
  const { signal } = new AbortController();
  try {
    return (await connections.send(request(port, more), { tls, signal })).status;
  } catch (error) {
    assert(error instanceof TransportError, error);
    outcome.detail = error.detail;
    return `${error.kind} ${error.maybeSent ? "sent" : "unsent"}`;
  }
}

const tests = {
  async "certificates are verified"() {
    const right = await serve(consul, https("server"));
    const of = (tls, more) => outcome(right.port, { scheme: "https", tls, method: "put", ...more });
    assert.equal(await of({ ca }), 200);
    assert.equal(await of({ ca: otherCa, rejectUnauthorized: false }), 200);
    assert.equal(await of({ ca: pem("server") }), 200, "the server's own certificate as CA");
    assert.equal(right.requests.length, 3);
    assert.equal(await of({ ca: otherCa }), "untrusted-certificate unsent");
    assert.match(outcome.detail, /unable to (get local issuer|verify the first) certificate/);
    assert.equal(await of(undefined), "untrusted-certificate unsent");
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    assert.equal(await of(undefined), "untrusted-certificate unsent", "NODE_TLS_REJECT_UNAUTHORIZED");
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    assert.equal(right.requests.length, 3, "a server that is not trusted received a request");
    const misnamed = await serve(consul, https("misnamed"));
    const named = (tls) => outcome(misnamed.port, { scheme: "https", tls, method: "put" });
    assert.equal(await named({ ca }), "untrusted-certificate unsent");
    assert.match(outcome.detail, /IP: 127\.0\.0\.1 is not in the cert's list/);
    assert.equal(misnamed.requests.length, 0);
    assert.equal(await named({ ca, servername: "consul.example" }), 200);
  },

  async "client certificates"() {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"]) {
      const strict = { ca, requestCert: true, rejectUnauthorized: true, maxVersion };
      const server = await serve(consul, https("server", strict));
      const of = (tls) => outcome(server.port, { scheme: "https", tls, method: "put" });
      assert.equal(await of({ ca }), "tls-alert unsent", maxVersion);
      assert.match(outcome.detail, /alert.*may require a client certificate/);
      assert.equal(await of({ ca, ...client }), 200, maxVersion);
      assert.equal(server.requests.length, 1);
    }
  },

  async "the TLS parameters of an action"() {
    const server = await serve(consul, https("server", { ca, requestCert: true, rejectUnauthorized: false }));
    const params = { state: "list", url: `https://127.0.0.1:${server.port}` };
    const authorized = [];
    server.server.on("request", ({ socket }) => authorized.push(socket.authorized));
    const [plain, wrong] = [new ConsulSession(), new ConsulSession({ tls: { ca: otherCa } })];
    const given = { ca_path: file("ca.pem"), client_cert: file("client.pem"), client_key: file("client.key") };
    await wrong.action({ ...params, ...given });
    await wrong.action({ ...params, validate_certs: "no", ca_path: null });
    await new ConsulSession({ tls: { ca, ...client } }).action({ ...params, validate_certs: true });
    await new ConsulSession({ tls: { ca, ...client } }).sessions("list", { address: params.url });
    assert.deepEqual(authorized, [true, false, true, true]);
    const insecure = new ConsulSession({ tls: { rejectUnauthorized: false } });
    const untrusted = failed({ kind: "tls", maybeApplied: false }, /certificate is not trusted: (unable|self-signed)/);
    await assert.rejects(wrong.action(params), untrusted);
    await assert.rejects(plain.action(params), untrusted);
    await assert.rejects(insecure.action({ ...params, validate_certs: true }), untrusted);
    for (const [parameter, value, message] of [
      ["ca_path", file("none"), /^cannot read the CA file .*none: ENOENT/],
      ["ca_path", file("ca.key"), /^cannot use the CA file .*: the PEM data contains no certificate$/],
      ["ca_path", "/dev/zero", /larger than 4 MiB$/],
      ["ca_path", ["x"], /^`ca_path` must be a string/],
      ["client_key", file("ca.key"), /^`client_key` needs `client_cert`$/],
      ["client_cert", file("ca.key"), /^cannot use the client certificate .* contains no client certificate$/],
      ["validate_certs", "perhaps", /^`validate_certs` must be true or false$/],
    ]) {
      const call = plain.action({ ...params, [parameter]: value });
      await assert.rejects(call, failed({ kind: "invalid", parameter }, message));
    }
    const mixed = plain.action({ ...params, client_cert: file("client.pem"), client_key: file("ca.key") });
    await assert.rejects(mixed, failed({ kind: "invalid", parameter: "client_cert" }, /key values mismatch/));
    assert.equal(authorized.length, 4);
  },

  async "a server that does not speak TLS, and one that closes during the handshake"() {
    const plain = await serve(consul);
    assert.equal(await outcome(plain.port, { scheme: "https", method: "put" }), "tls-handshake unsent");
    assert.match(outcome.detail, /does not speak TLS/);
    const closing = await serveRaw((socket) => socket.once("data", () => socket.destroy()));
    assert.equal(await outcome(closing.port, { scheme: "https", method: "put" }), "tls-handshake unsent");
    const silent = await serveRaw(() => {});
    const soon = { connect: SECOND / 4n };
    const late = await outcome(silent.port, { scheme: "https", method: "put", timeouts: soon });
    assert.equal(late, "connect-timeout unsent");
  },

  async "no connection"() {
    const closed = await serve(consul);
    closed.server.close();
    await once(closed.server, "close");
    assert.equal(await outcome(closed.port, { method: "put" }), "connection-refused unsent");
    const unknown = `${"x".repeat(64)}.invalid:1`; // too long to be sent to a name server
    assert.equal(await outcome(1, { authority: unknown, method: "put" }), "unresolved unsent");
    assert.equal(await outcome(1, { authority: "255.255.255.255:1", method: "put" }), "unreachable unsent");
    assert.equal(await outcome(1, { pathWithQuery: "/ä ", method: "put" }), "other unsent");
  },

  async "bad responses"() {
    for (const [wanted, ...parts] of [
      ["connection-closed sent"],
      ["connection-closed sent", "HTTP/1.1 200 OK\r\nContent-Le"],
      ["not-http sent", "SSH-2.0-OpenSSH_9.2\r\n"],
      ["headers-too-large sent", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}\r\nContent-Length: 0\r\n\r\n`],
      ["headers-too-large sent", `HTTP/1.1 200 OK\r\n${"X: x\r\n".repeat(10_000)}Content-Length: 0\r\n\r\n`],
      ["incomplete sent", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]"],
      ["incomplete sent", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n"],
      ["not-http sent", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
      ["unsupported-coding sent", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n[]"],
      ["connection-closed sent", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
      ["body-too-large sent", `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(2 << 20)}`],
      [200, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n[]"],
    ]) {
      let connections = 0;
      const server = await serveRaw((socket) => {
        connections++;
        socket.once("data", () => socket.end(parts.join("")));
      });
      const shown = `${wanted}: ${parts.join("").slice(0, 60)}`;
      assert.equal(await outcome(server.port, { method: "put" }), wanted, shown);
      assert.equal(await outcome(server.port), wanted, shown);
      assert.equal(connections, 2, `${shown}: a request was repeated`);
    }
  },

  async "an endless body ends the connection"() {
    const server = await serve((_, response) => {
      const more = () => response.write("x".repeat(1 << 16)) && setImmediate(more);
      response.on("drain", more).on("error", () => {});
      more();
    });
    const closed = new Promise((resolve) => server.server.on("connection", (socket) => socket.on("close", resolve)));
    assert.equal(await outcome(server.port), "body-too-large sent");
    await closed;
  },

  async "timeouts"() {
    const soon = SECOND / 4n;
    const silent = await serveRaw(() => {});
    assert.equal(await outcome(silent.port, { timeouts: { firstByte: soon } }), "response-timeout sent");
    for (const beginning of ["", "["]) {
      const started = performance.now();
      const head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
      const stalled = await serveRaw((socket) => socket.write(`${head}${beginning}`));
      assert.equal(await outcome(stalled.port, { timeouts: { betweenBytes: soon } }), "response-timeout sent");
      assert(performance.now() - started < 6000, "the timeout for the first byte ended the request");
    }
    const deaf = await serveRaw((socket) => socket.pause());
    const body = { method: "put", body: new Uint8Array(64 << 20) };
    assert.equal(await outcome(deaf.port, { ...body, timeouts: { firstByte: soon } }), "write-timeout sent");
    // Node would turn a delay of 2^31 ms or more into 1 ms, with a warning.
    const server = await serve(consul);
    await new ConsulSession().sessions("list", { address: `http://127.0.0.1:${server.port}`, timeout: 2n ** 64n - 1n });
  },

  async "what is sent"() {
    const server = await serve(consul);
    const pathWithQuery = "/v1/%2E%2E/../a%2Fb?dc=%20&x='()";
    const headers = [{ name: "x-consul-token", value: "t" }];
    const body = Buffer.from("{}");
    assert.equal(await outcome(server.port, { method: "put", pathWithQuery, headers, body }), 200);
    assert.equal(await outcome(server.port, { method: "put" }), 200);
    assert.equal(await outcome(server.port, { authority: `localhost:${server.port}` }), 200);
    const [full, empty, get] = server.requests;
    const host = `127.0.0.1:${server.port}`;
    assert.equal(full.url, pathWithQuery);
    assert.deepEqual(full.headers, { host, "x-consul-token": "t", "content-length": "2", connection: "keep-alive" });
    assert.deepEqual(empty.headers, { host, "content-length": "0", connection: "keep-alive" });
    assert.deepEqual(get.headers, { host: `localhost:${server.port}`, connection: "keep-alive" });
    const interfaces = Object.values(networkInterfaces()).flat();
    if (!interfaces.some(({ address }) => address === "::1")) return; // a machine without IPv6
    const six = await serve(consul, createHttp, "::1");
    assert.equal(await outcome(six.port, { authority: `[::1]:${six.port}` }), 200);
  },

  async "a response in many parts, and only the headers that are needed"() {
    const items = JSON.stringify(Array.from({ length: 500 }, () => SESSION));
    const server = await serve(async (_, response) => {
      response.setHeader("X-Consul-Index", "7").setHeader("Set-Cookie", "a=b");
      for (let at = 0; at < items.length; at += 100) {
        await new Promise((written) => response.write(items.slice(at, at + 100), written));
      }
      response.end();
    });
    const signal = new AbortController().signal;
    const response = await new Connections().send(request(server.port), { signal });
    assert.equal(Buffer.from(response.body).toString(), items);
    assert.deepEqual(response.headers, [{ name: "X-Consul-Index", value: "7" }]);
  },

  async "redirects are not followed, and bodies are not decoded"() {
    const target = await serve(consul);
    const server = await serve(({ url }, response) => {
      if (url.includes("list")) response.writeHead(301, { location: `http://127.0.0.1:${target.port}${url}` }).end();
      else response.setHeader("content-encoding", "gzip").end("[]");
    });
    const session = new ConsulSession();
    const agent = { address: `http://127.0.0.1:${server.port}`, token: "secret-token" };
    const protocol = (status, text) => failed({ kind: "protocol", status }, text);
    await assert.rejects(session.sessions("list", agent), protocol(301, /redirects are never followed/));
    await assert.rejects(session.sessions("node", agent, "n"), protocol(200, /compressed \(gzip\)/));
    assert.deepEqual([server.requests.length, target.connections], [2, 0]);
  },

  async "connections are reused, and a read is repeated if an idle one broke"() {
    const server = await serve((request, response) => {
      request.socket.uses = (request.socket.uses ?? 0) + 1;
      if (request.socket.uses < 3) consul(request, response);
      else request.socket.destroy();
    });
    const connections = new Connections();
    for (const expected of [200, 200, 200]) assert.equal(await outcome(server.port, { connections }), expected);
    assert.deepEqual([server.connections, server.requests.length], [2, 4], "the third request was sent twice");
    assert.equal(await outcome(server.port, { connections, method: "put" }), 200);
    assert.equal(await outcome(server.port, { connections, method: "put" }), "connection-closed sent");
    assert.deepEqual([server.connections, server.requests.length], [2, 6], "a write was repeated");

    // A read that breaks after the first bytes is not repeated. Several idle connections may have broken.
    const partial = await serve((request, response, count) => {
      if (count < 3) consul(request, response);
      else if (count === 3) request.socket.end("HTTP/1.1 200 OK\r\n");
      else if (count < 6) consul(request, response);
      else if (request.socket.used) request.socket.destroy();
      else consul(request, response);
      request.socket.used = true;
    });
    const pool = { connections: new Connections() };
    assert.deepEqual([await outcome(partial.port, pool), await outcome(partial.port, pool)], [200, 200]);
    assert.equal(await outcome(partial.port, pool), "connection-closed sent");
    assert.equal(partial.requests.length, 3);
    assert.deepEqual(await Promise.all([outcome(partial.port, pool), outcome(partial.port, pool)]), [200, 200]);
    assert.equal(await outcome(partial.port, pool), 200, "two idle connections broke");
  },

  async "connections are shared by `with`, and closed after the pending calls"() {
    const held = [];
    const other = await serve((request, response) => {
      if (request.url.startsWith("/v1/session/node/")) held.push(() => json(response, [])), received();
      else consul(request, response);
    });
    let received;
    const pending = new Promise((resolve) => (received = resolve));
    const session = new ConsulSession();
    const address = `http://127.0.0.1:${other.port}`;
    const closed = new Promise((resolve) => other.server.once("connection", (socket) => socket.on("close", resolve)));
    await session.sessions("list", { address });
    await session.with({ deadline: 9000 }).sessions("list", { address });
    assert.equal(other.connections, 1);
    await new ConsulSession().sessions("list", { address });
    assert.equal(other.connections, 2);
    const hanging = session.sessions("node", { address }, "n");
    await pending;
    const [started, closing] = [performance.now(), session.close()];
    held[0]();
    assert.deepEqual((await hanging).sessions, []);
    await closing;
    await closed;
    assert(performance.now() - started < 15_000, "the connection was closed because it was idle");
  },

  async "an instance needs no promise integration of V8"() {
    // jco's code would try it 10 times per instance; transpile.mjs says what that costs.
    const { promising } = WebAssembly;
    let used = 0;
    Object.defineProperty(WebAssembly, "promising", { configurable: true, get: () => void used++ });
    await assert.rejects(new ConsulSession().sessions("list", { address: "" }), failed({ kind: "invalid" }));
    Object.defineProperty(WebAssembly, "promising", { configurable: true, writable: true, value: promising });
    assert.equal(used, 0);
  },

  async "a process with an idle connection ends"() {
    const server = await serve(consul);
    const code = `import { ConsulSession } from "./consul-session.mjs";
      await new ConsulSession().sessions("list", { address: "http://127.0.0.1:${server.port}" });`;
    const { execFile } = await import("node:child_process");
    const child = execFile(process.execPath, ["--input-type=module", "--eval", code], { timeout: 15_000 });
    const [status] = await once(child, "exit");
    // The idle connection is closed after 30 s, so the process would be killed by then.
    assert.deepEqual([status, server.requests.length], [0, 1]);
  },

  async "aborts"() {
    // The server responds to the first requests, and tells when it has received the next.
    for (const [responses, maybeApplied, method, ...call] of [
      [0, false, "GET", "list"],
      [0, true, "PUT", "create", {}],
      [1, true, "PUT", "ensure", { name: "x" }, "refuse"],
      [0, false, "GET", "ensure", { name: "x" }, "refuse"],
      [2, true, "GET", "ensure", { name: "x" }, "refuse"],
    ]) {
      const stop = new AbortController();
      const server = await serve((request, response, count) => {
        if (count <= responses) consul(request, response);
        else stop.abort(new Error("enough"));
      });
      const agent = { address: `http://127.0.0.1:${server.port}` };
      const [name, ...values] = call;
      const session = new ConsulSession().with({ signal: stop.signal });
      const wanted = { kind: "other", retryable: false, maybeApplied, method };
      const aborted = failed(wanted, /^the call was stopped: enough \(/);
      await assert.rejects(session.sessions(name, agent, ...values), aborted, name);
      assert.equal(server.requests.length, responses + 1);
      await assert.rejects(session.sessions(name, agent, ...values), failed({ kind: "other", maybeApplied: false }));
      assert.equal(server.requests.length, responses + 1, "a request after the abort");
    }
    // An abort between the request and its connection.
    const never = await serve(consul);
    const sent = new Connections().send(request(never.port, { method: "put" }), { signal: AbortSignal.abort() });
    await assert.rejects(sent, { kind: "other", maybeSent: false });
    assert.equal(never.connections, 0);
    // Nothing was written before the connection was made.
    const stop = new AbortController();
    const handshake = await serveRaw((socket) => socket.once("data", () => stop.abort()));
    const address = `https://127.0.0.1:${handshake.port}`;
    const create = new ConsulSession({ signal: stop.signal }).sessions("create", { address }, {});
    await assert.rejects(create, failed({ kind: "other", maybeApplied: false }, /aborted/));
  },

  async "failed writes"() {
    const incomplete = { "content-length": 9 };
    for (const [maybeApplied, kind, respond] of [
      [true, "transport", ({ socket }) => socket.destroy()],
      [true, "transport", (_, response) => response.writeHead(200, incomplete).write("{", () => response.destroy())],
      [true, "unavailable", (_, response) => response.writeHead(500).end("rpc error")],
      [false, "denied", (_, response) => response.writeHead(403).end("Permission denied")],
    ]) {
      const server = await serve(respond);
      const url = `http://127.0.0.1:${server.port}`;
      const session = new ConsulSession();
      await assert.rejects(session.sessions("create", { address: url }, {}), failed({ kind, maybeApplied }));
      await assert.rejects(session.action({ url }), failed({ kind, maybeApplied }));
      await assert.rejects(session.action({ url, state: "list" }), failed({ kind, maybeApplied: false }));
    }
  },

  async "calls run side by side"() {
    const held = [];
    let both;
    const arrived = new Promise((resolve) => (both = resolve));
    const server = await serve((request, response) => {
      if (!/[ab]$/.test(request.url.split("?")[0])) return consul(request, response);
      held.push([request, response]);
      if (held.length === 2) both();
    });
    const address = `http://127.0.0.1:${server.port}`;
    const session = new ConsulSession();
    const finished = [];
    const node = async (name) => {
      const { sessions } = await session.sessions("node", { address }, name);
      finished.push(name);
      return sessions[0].name;
    };
    const hanging = [node("a"), node("b")];
    await arrived;
    const working = Array.from({ length: 50 }, () => session.action({ state: "list", url: address }));
    assert.equal((await Promise.all(working)).length, 50);
    assert.deepEqual(finished, []);
    for (const [{ url }, response] of held.reverse()) json(response, [{ ...SESSION, Name: `session of ${url}` }]);
    const names = await Promise.all(hanging);
    assert.match(names[0], /session of \/v1\/session\/node\/a/);
    assert.match(names[1], /session of \/v1\/session\/node\/b/);
  },

  async "a `send` of the caller"() {
    const agent = { address: "http://consul.invalid:1" };
    const ok = { status: 200, headers: [], body: Buffer.from("[]") };
    const large = { ...ok, body: Buffer.alloc((8 << 20) + 1) };
    const sends = (send) => new ConsulSession({ send });
    const listed = await sends(async ({ method, authority }, { signal }) => {
      assert.deepEqual([method, authority, signal.aborted], ["get", "consul.invalid:1", false]);
      return ok;
    }).sessions("list", agent);
    assert.deepEqual(listed.sessions, []);
    for (const [wanted, send, message] of [
      [{ kind: "transport", maybeApplied: false }, () => Promise.reject(new TransportError("unreachable", "x", false))],
      [{ kind: "other", maybeApplied: true }, () => Promise.reject(new Error("x"))],
      [{ kind: "other", maybeApplied: true }, async () => ({ ...ok, body: "[]" })],
      [{ kind: "other", maybeApplied: true }, async () => ({ ...ok, headers: null })],
      [{ kind: "other", maybeApplied: true }, () => Promise.reject(new TransportError("nope", "x", true))],
      [{ kind: "protocol", maybeApplied: true }, async () => large, /too large/],
    ]) {
      const call = sends(send).sessions("create", agent, {});
      await assert.rejects(call, failed(wanted, message), JSON.stringify(wanted));
    }
    const stop = new AbortController();
    const stubborn = sends(() => (stop.abort(), new Promise(() => {}))).with({ signal: stop.signal });
    await assert.rejects(stubborn.sessions("create", agent, {}), failed({ kind: "other", maybeApplied: true }));
    const refused = sends(async () => ok).action({ state: "list", validate_certs: false });
    await assert.rejects(refused, failed({ kind: "unsupported" }, /`validate_certs` cannot be set here/));
  },

  async "proxies"() {
    const [plain, secure] = [await serve(consul), await serve(consul, https("server"))];
    const asked = [];
    const proxy = await serve(({ method, url, headers }, response) => {
      asked.push(url);
      const { pathname, search } = new URL(url);
      httpRequest({ port: plain.port, method, path: pathname + search, headers }, (incoming) => {
        response.writeHead(incoming.statusCode, incoming.headers);
        incoming.pipe(response);
      }).end();
    });
    proxy.server.on("connect", ({ url }, socket) => {
      asked.push(`CONNECT ${url}`);
      const target = connect(secure.port, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        target.pipe(socket).pipe(target);
      });
      target.unref();
    });
    const address = `http://127.0.0.1:${proxy.port}`;
    Object.assign(process.env, { http_proxy: address, https_proxy: address, no_proxy: "127.0.0.1" });
    try {
      const session = new ConsulSession({ tls: { ca, servername: "localhost" } });
      await session.sessions("list", { address: "http://consul.example:8500" });
      await session.sessions("create", { address: "http://consul.example:8500" }, {});
      await session.sessions("list", { address: "https://consul.example:8501" });
      await session.sessions("list", { address: `http://127.0.0.1:${plain.port}` });
      const [list, create] = ["list", "create"].map((name) => `http://consul.example:8500/v1/session/${name}`);
      assert.deepEqual(asked, [list, create, "CONNECT consul.example:8501"]);
      assert.deepEqual([plain.requests.length, secure.requests.length], [3, 1]);
      const distrusting = new ConsulSession({ tls: { ca: otherCa, servername: "localhost" } });
      const call = distrusting.sessions("create", { address: "https://consul.example:8501" }, {});
      await assert.rejects(call, failed({ kind: "tls", maybeApplied: false }));
      process.env.http_proxy = "socks5://user:secret@127.0.0.1:1";
      const other = new ConsulSession().sessions("list", { address: "http://consul.example:8500" });
      await assert.rejects(other, failed({ kind: "other" }, /neither http:\/\/ nor https:\/\//));
    } finally {
      for (const name of ["http_proxy", "https_proxy", "no_proxy"]) delete process.env[name];
    }
  },
};

function failed(wanted, message = /./) {
  return (error) => {
    assert(error instanceof Failed, error);
    assert.deepEqual({ ...error, ...wanted }, { ...error }, error.message);
    assert.match(error.message, message);
    assert(!error.message.includes("secret"), error.message);
    return true;
  };
}

const watchdog = setTimeout(() => assert.fail("a test hangs"), 60_000); // Keeps the process alive, too.
for (const [name, test] of Object.entries(tests)) {
  const started = performance.now();
  await test().catch((error) => {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  });
  if (process.argv.includes("--times")) console.log(`${Math.round(performance.now() - started)} ms: ${name}`);
}
clearTimeout(watchdog);
assert(!warnings.includes("TimeoutOverflowWarning"), warnings.join());
assert(!process.getActiveResourcesInfo().includes("Timeout"), "a timer was not stopped");
