// One exchange with node:http or node:https, which neither follow redirects nor decode bodies.

import http from "node:http";
import https from "node:https";
import { Body, isReadable } from "./response.mjs";
import { TransportError, fromNode } from "./transport-error.mjs";

/** The delay of a timer. One of 2^31 ms or more would fire at once. */
const milliseconds = (nanoseconds) => Math.min(Math.ceil(Number(nanoseconds) / 1e6), 2 ** 31 - 1);

function begin({ scheme, authority, timeouts, ...request }, agent, tls) {
  const secure = scheme === "https";
  const { hostname, port } = new URL(`${scheme}://${authority}`);
  const outgoing = (secure ? https : http).request({
    agent,
    method: request.method.toUpperCase(),
    host: hostname.replace(/^\[|\]$/g, ""),
    port: port || (secure ? 443 : 80),
    path: request.pathWithQuery,
    // For each address of a name except the last. Node's own 250 ms is too short for a slow network.
    autoSelectFamilyAttemptTimeout: Math.max(250, Math.floor(milliseconds(timeouts.connect) / 4)),
    maxHeaderSize: 16_384, // bytes; Consul sends less than 1 KiB
    // NODE_TLS_REJECT_UNAUTHORIZED has no effect. As in other hosts, `ca` may contain the server's own certificate.
    ...(secure && { rejectUnauthorized: true, allowPartialTrustChain: true, ...tls }),
  });
  for (const { name, value } of request.headers) outgoing.setHeader(name, value);
  return outgoing;
}

/** Sends a request and returns the response with its whole body. Throws a TransportError. */
export function exchange(request, { agent, tls, signal }) {
  return new Promise((resolve, reject) => {
    const state = { secure: request.scheme === "https", connected: false, responded: false };
    let outgoing, timer;
    try {
      signal.throwIfAborted();
      outgoing = begin(request, agent, tls);
    } catch (error) {
      return reject(new TransportError("other", error?.message, false));
    }
    const settle = (settled, value) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      settled(value); // Only the first call has an effect.
    };
    const fail = (kind, detail) => broken(new TransportError(kind, detail, state.connected));
    const broken = (error) => {
      settle(reject, error instanceof TransportError ? error : fromNode(error, { ...state, outgoing }));
      outgoing.destroy();
    };
    const abort = () => fail("timeout", "the call was stopped");
    const wait = (timeout, kind) => {
      clearTimeout(timer);
      timer = setTimeout(() => fail(kind()), milliseconds(timeout));
    };
    signal.addEventListener("abort", abort);
    wait(request.timeouts.connect, () => "connect-timeout");
    outgoing.on("error", broken).on("close", () => broken(new Error("closed")));
    outgoing.on("socket", (socket) => {
      const connected = () => {
        state.connected = true;
        wait(request.timeouts.firstByte, () => (outgoing.writableFinished ? "response-timeout" : "write-timeout"));
      };
      Object.assign(state, { socket, before: socket.bytesRead });
      if (outgoing.reusedSocket || !(socket.secureConnecting ?? socket.pending)) connected();
      else socket.once(state.secure ? "secureConnect" : "connect", connected);
    });
    outgoing.on("response", (incoming) => {
      state.connected = state.responded = true;
      if (!isReadable(incoming)) return fail("unsupported-coding");
      const next = () => wait(request.timeouts.betweenBytes, () => "response-timeout");
      const body = new Body(request.maxBody);
      next();
      incoming.on("error", broken).on("data", (part) => (body.add(part) ? next() : fail("body-too-large")));
      incoming.on("end", () => settle(resolve, body.of(incoming)));
    });
    outgoing.end(request.method === "get" ? undefined : request.body);
  });
}
