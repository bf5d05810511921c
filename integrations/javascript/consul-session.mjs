// Runs the transpiled component in a thread of its own. A call blocks its thread until the answer is there, which must
// not be the thread of the workflow engine; and only a thread can be ended when an answer drips in without end.
// Node cannot restrict where a component connects to: let only those choose an address who may reach it from here.

import { once } from "node:events";
import { Worker } from "node:worker_threads";

const RETRYABLE = ["unavailable", "timeout", "transport"];
const READS = ["info", "node", "list"]; // functions and states

/** What went wrong, in `kind`, with the `parameter` or with `method`, `path`, `status` and `text`. With `maybeApplied` a
 * write may have gone out, so look before repeating it. A mistake of the caller is none of these, but mostly a TypeError. */
export class Failed extends Error {
  constructor(message, error, cause) {
    super(message, { cause }); // as the component said it
    Object.assign(this, { maybeApplied: false, retryable: RETRYABLE.includes(error.kind), ...error });
  }
}

/** The component. Its calls wait for each other; tenants who must not share a connection get one each. */
export class ConsulSession {
  #deadline;
  #worker;
  #last = Promise.resolve();

  /** @param deadline for a call, in milliseconds. A silent server is given up after the call's own timeout, or 10 s. */
  constructor(deadline = 30_000) {
    this.#deadline = deadline;
  }

  /** Parameters and results as in the automation module. */
  async action(params) {
    const reads = READS.includes(params.state) || params.check_mode === true;
    const { value, error } = await this.#call(reads, "action", "run", JSON.stringify(params));
    if (!error) return JSON.parse(value);
    const said = JSON.parse(error);
    const { maybe_applied: maybeApplied, ...rest } = said.error;
    throw new Failed(said.msg, { ...rest, maybeApplied }, said);
  }

  /** A function of `sessions`. Durations are nanoseconds and bigint; what is left out is none. */
  async sessions(name, ...values) {
    const { value, error } = await this.#call(READS.includes(name), "sessions", name, ...values);
    if (!error) return value;
    const { kind, message, exchange, maybeApplied } = error;
    throw new Failed(message, { ...exchange, kind: kind.tag, parameter: kind.val, maybeApplied }, error);
  }

  /** Ends the thread, after the calls under way. */
  async close() {
    await this.#last;
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  #call(...call) {
    const answer = this.#last.then(() => this.#send(...call));
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #send(reads, ...call) {
    const worker = (this.#worker ??= new Worker(new URL("./thread.mjs", import.meta.url)));
    worker.unref(); // Only while a call is under way, the process waits for it.
    worker.postMessage(call);
    worker.ref();
    const signal = AbortSignal.timeout(this.#deadline);
    const [answer] = await once(worker, "message", { signal }).catch((error) => {
      const late = error.name === "AbortError" && `no result in ${this.#deadline} ms`;
      return [{ late, stopped: late || `the thread ended: ${error}`, sent: true }];
    });
    worker.unref();
    if (answer.mistake) throw answer.mistake;
    if (!answer.stopped) return answer;
    this.#worker = undefined; // An instance that was stopped is in no known state.
    await worker.terminate();
    throw new Failed(answer.stopped, { kind: answer.late ? "timeout" : "other", maybeApplied: answer.sent && !reads });
  }
}
