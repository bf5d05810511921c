/** A request that got no response: `kind` is a case of `transport-error-kind` in wit/embedded.wit, `detail` is one line
 * for people, and `maybeSent` says whether the server may have received the request. */
export class TransportError extends Error {
  constructor(kind, detail, maybeSent) {
    super(detail ?? kind);
    Object.assign(this, { kind, detail: detail?.split("\n")[0].slice(0, MAX_DETAIL), maybeSent });
  }
}

const MAX_DETAIL = 300;
const CLOSED = ["ECONNRESET", "ECONNABORTED", "EPIPE"];
const BEFORE_CONNECTION = {
  ENOTFOUND: "unresolved",
  ENODATA: "unresolved",
  ECONNREFUSED: "connection-refused",
  ETIMEDOUT: "connect-timeout",
  EMFILE: "too-many-connections",
  ENFILE: "too-many-connections",
};
// The kind says everything, and other hosts add no detail either.
const PLAIN = ["connection-refused", "connect-timeout", "connection-closed", "incomplete", "headers-too-large"];
// Under TLS 1.3, a server rejects the client's certificate after the client's side of the handshake, but before it
// reads a request.
const REJECTED = "certificate (required|revoked|expired|unknown)|(no|bad|unsupported) certificate|unknown ca";
const REJECTS_CLIENT = new RegExp(`alert (${REJECTED}|handshake failure|access denied|decrypt error)$`);

/** Translates an error of node:http or node:https. It is `stale` if an idle connection broke when it was reused. */
export function fromNode(error, { outgoing, secure, socket, before, connected, responded }) {
  const code = error.code ?? "";
  const tls = error.reason ?? /SSL routines:[^:]*:([^:]+)/.exec(error.message)?.[1]; // as OpenSSL says it
  const kind = connected ? duringExchange(code, tls, responded) : beforeConnection(code, tls, secure, socket);
  const detail = PLAIN.includes(kind) ? undefined : describe(kind, tls, error.message);
  const failure = new TransportError(kind, detail, connected && kind !== "tls-alert");
  failure.stale = kind === "connection-closed" && outgoing.reusedSocket && socket.bytesRead === before;
  return failure;
}

function beforeConnection(code, tls, secure, socket) {
  if (tls?.includes(" alert ")) return "tls-alert";
  if (socket?.authorizationError) return "untrusted-certificate";
  if (tls || code === "EPROTO" || (secure && CLOSED.includes(code))) return "tls-handshake";
  return BEFORE_CONNECTION[code] ?? (code.startsWith("EAI_") ? "unresolved" : "unreachable");
}

function duringExchange(code, tls, responded) {
  if (REJECTS_CLIENT.test(tls)) return "tls-alert";
  if (/^HPE_(HEADER|CHUNK_EXTENSIONS)_OVERFLOW$/.test(code)) return "headers-too-large";
  if (code === "ETIMEDOUT") return "response-timeout";
  if (code.startsWith("HPE_")) return "not-http";
  return responded ? "incomplete" : "connection-closed";
}

function describe(kind, tls, message) {
  if (kind === "tls-alert") return `${tls}; the server may require a client certificate`;
  if (kind !== "tls-handshake") return message;
  if (!tls) return "the server closed the connection during the handshake";
  const plain = /wrong version number|packet length too long/.test(tls);
  return plain ? "the server does not speak TLS; is the scheme right?" : tls;
}
