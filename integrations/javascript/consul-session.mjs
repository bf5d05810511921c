// Runs the transpiled component in a worker thread. A call blocks its thread until the response has arrived, which must
// not happen to the caller's thread, and only a thread can be stopped while a response arrives too slowly.
// Node cannot restrict where a component connects. Let only those people choose an address who may reach it from here.

import { once } from "node:events";
import { Worker } from "node:worker_threads";

const RETRYABLE = ["unavailable", "timeout", "transport"];
const READS = ["info", "node", "list"]; // functions and states

/** A failed call: `kind`, and `parameter` or `method`, `path`, `status` and `text`. If `maybeApplied`, look before you
 * repeat the write. A mistake of the caller throws another error, usually a TypeError. */
export class Failed extends Error {
  constructor(message, error, cause) {
    super(message, { cause }); // the error as the component returned it
    Object.assign(this, { maybeApplied: false, retryable: RETRYABLE.includes(error.kind), ...error });
  }
}

/** The component. Its calls run one after another. Tenants who must not share a connection need one instance each. */
export class ConsulSession {
  #deadline;
  #worker;
  #last = Promise.resolve();

  /** @param deadline of a call, in milliseconds. A silent server is given up after the call's own timeout (10 s). */
  constructor(deadline = 30_000) {
    this.#deadline = deadline;
  }

  /** Runs an action. Parameters and results are those of docs/parameters.md. */
  async action(params) {
    const reads = READS.includes(params.state) || params.check_mode === true;
    const { value, error } = await this.#call(reads, "action", "run", JSON.stringify(params));
    if (!error) return JSON.parse(value);
    const failure = JSON.parse(error);
    const { maybe_applied: maybeApplied, ...rest } = failure.error;
    throw new Failed(failure.msg, { ...rest, maybeApplied }, failure);
  }

  /** Calls a function of the interface `sessions`. Durations are nanoseconds (bigint). Fields may be omitted. */
  async sessions(name, ...values) {
    const { value, error } = await this.#call(READS.includes(name), "sessions", name, ...values);
    if (!error) return value;
    const { kind, message, exchange, maybeApplied } = error;
    throw new Failed(message, { ...exchange, kind: kind.tag, parameter: kind.val, maybeApplied }, error);
  }

  /** Stops the thread after the pending calls. */
  async close() {
    await this.#last;
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  #call(...call) {
    const reply = this.#last.then(() => this.#send(...call));
    this.#last = reply.catch(() => {});
    return reply;
  }

  async #send(reads, ...call) {
    const worker = (this.#worker ??= new Worker(new URL("./thread.mjs", import.meta.url)));
    worker.unref(); // The thread keeps the process alive only during a call.
    worker.postMessage(call);
    worker.ref();
    const signal = AbortSignal.timeout(this.#deadline);
    const [reply] = await once(worker, "message", { signal }).catch((error) => {
      const late = error.name === "AbortError" && `no result in ${this.#deadline} ms`;
      return [{ late, stopped: late || `the thread ended: ${error}`, sent: true }];
    });
    worker.unref();
    if (reply.mistake) throw reply.mistake;
    if (!reply.stopped) return reply;
    this.#worker = undefined; // The state of a stopped instance is unknown, so the next call starts another.
    await worker.terminate();
    throw new Failed(reply.stopped, { kind: reply.late ? "timeout" : "other", maybeApplied: reply.sent && !reads });
  }
}
