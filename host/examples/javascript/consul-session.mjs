// Runs the transpiled component in a thread of its own. A call blocks its thread until the answer is there, which must
// not be the thread of the workflow engine; and only a thread can be ended when an answer drips in without end.
// Node cannot restrict where a component connects to: let only those choose an address who may reach it from here.

import { once } from "node:events";
import { Worker, parentPort, workerData } from "node:worker_threads";

const THREAD = import.meta.url;
const RETRYABLE = ["unavailable", "timeout", "transport"];

/** What went wrong, in `kind`. With `maybeApplied` a write may have gone out, so look before repeating it. */
export class Failed extends Error {
  constructor(message, { kind, status, maybeApplied = false, retryable = RETRYABLE.includes(kind) }, cause) {
    super(message, { cause }); // as the component said it
    Object.assign(this, { kind, status, maybeApplied, retryable });
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
    const { value, error } = await this.#call("action", "run", JSON.stringify(params));
    if (!error) return JSON.parse(value);
    const said = JSON.parse(error);
    throw new Failed(said.msg, { ...said.error, maybeApplied: said.error.maybe_applied }, said);
  }

  /** A function of `sessions`. Durations are nanoseconds and bigint; what is left out is none, and so is a misspelt key. */
  async sessions(name, ...values) {
    const { value, error } = await this.#call("sessions", name, ...values);
    if (!error) return value;
    throw new Failed(error.message, { ...error, kind: error.kind.tag, status: error.exchange?.status }, error);
  }

  #call(...call) {
    const answer = this.#last.then(() => this.#send(call));
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #send(call) {
    const worker = (this.#worker ??= new Worker(new URL(import.meta.url), { workerData: THREAD }));
    const signal = AbortSignal.timeout(this.#deadline);
    worker.ref(); // While a call is under way, the process waits for it.
    worker.postMessage(call);
    try {
      const [answer] = await once(worker, "message", { signal });
      worker.unref();
      return answer;
    } catch (error) {
      this.#worker = undefined; // After a trap an instance is in no known state.
      await worker.terminate();
      if (!signal.aborted) throw new Failed(`the call broke off: ${error}`, { kind: "other", maybeApplied: true }, error);
      throw new Failed(`no result in ${this.#deadline} ms`, { kind: "timeout", maybeApplied: true });
    }
  }
}

if (workerData === THREAD) {
  const plugin = await import("./plugin/plugin.js");
  parentPort.on("message", ([door, name, ...values]) => {
    try {
      parentPort.postMessage({ value: plugin[door][name](...values) });
    } catch (error) {
      if (error instanceof Error) throw error; // a trap; the error of a result is thrown as it is
      parentPort.postMessage({ error });
    }
  });
}
