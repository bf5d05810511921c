// One call: the steps of the component and the requests between them, until a deadline or an abort.

import { newInstance } from "./component.mjs";
import { Failed } from "./failed.mjs";
import { TransportError } from "./transport-error.mjs";

/** Runs an operation. `prepare` returns its arguments, and `send` sends a request. If the operation fails, throws the
 * error as the component returned it, which is not an `Error`. */
export async function call({ deadline, signal }, name, prepare, send) {
  const stop = new AbortController();
  const late = () => stop.abort(new DOMException(`no result in ${deadline} ms`, "TimeoutError"));
  const timer = setTimeout(late, deadline);
  const abort = () => stop.abort(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  // A `send` that obeys the signal reports first whether it sent the request. One that does not cannot delay the call.
  const stopped = new Promise((_, reject) => {
    stop.signal.addEventListener("abort", () => setImmediate(reject, stop.signal.reason));
  });
  stopped.catch(() => {});

  let last, wrote = false; // the last request, and whether Consul may have applied a write
  const exchange = async (request) => {
    stop.signal.throwIfAborted();
    const before = wrote;
    last = request;
    wrote ||= request.writes;
    const how = { signal: stop.signal, tls };
    const response = await Promise.race([respond(send, request, how), stopped]);
    if (response.tag === "err" && !response.val.maybeSent) wrote = before;
    stop.signal.throwIfAborted();
    return response;
  };

  let tls, began = false;
  try {
    const { start, steps, finish } = newInstance();
    const prepared = await Promise.race([prepare(start), stopped]);
    tls = prepared.tls;
    let request = start[name](...prepared.values);
    began = true;
    while (request) request = steps.resume(await exchange(request));
    return finish[name]();
  } catch (error) {
    if (stop.signal.aborted && error === stop.signal.reason) throw cutShort(error, last, wrote);
    // An error of JavaScript before the first step is about the arguments.
    if (!(error instanceof Error) || (!began && !(error instanceof WebAssembly.RuntimeError))) throw error;
    throw new Failed(`the component was stopped: ${error}`, { kind: "other", maybeApplied: wrote }, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Sends a request, and returns what the component's function `resume` takes. */
async function respond(send, request, how) {
  try {
    const response = await send(request, how);
    if (!(response?.body instanceof Uint8Array)) throw new TypeError("`send` must return a body of type Uint8Array");
    if (response.body.length > request.maxBody) throw new TransportError("body-too-large", undefined, true);
    return { tag: "ok", val: response };
  } catch (error) {
    const known = error instanceof TransportError ? error : new TransportError("other", String(error), true);
    return { tag: "err", val: { kind: known.kind, detail: known.detail, maybeSent: known.maybeSent } };
  }
}

function cutShort(reason, request, wrote) {
  const kind = reason?.name === "TimeoutError" ? "timeout" : "other";
  const [method, path] = [request?.method.toUpperCase(), request?.pathWithQuery];
  const where = request ? ` (${method} ${request.scheme}://${request.authority}${path})` : "";
  const hint = wrote ? "; Consul may have applied the write, so check before you try again" : "";
  const message = `${kind === "timeout" ? "" : "the call was stopped: "}${reason?.message ?? reason}${where}${hint}`;
  return new Failed(message, { kind, maybeApplied: wrote, ...(request && { method, path, text: "" }) }, reason);
}
