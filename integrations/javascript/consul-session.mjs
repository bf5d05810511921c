// The class ConsulSession: the operations of the component as functions that return promises.

import { call } from "./call.mjs";
import { checkArguments, checkFields, toJson } from "./component.mjs";
import { Connections } from "./connections.mjs";
import { Failed } from "./failed.mjs";
import { checkTls, takeTls } from "./tls.mjs";
import { TransportError } from "./transport-error.mjs";

export { Failed, TransportError };

/** The component. Its calls run side by side. Tenants who must not share a connection need a ConsulSession each. */
export class ConsulSession {
  #options;
  #connections = new Connections();
  #pending = new Set();

  /** Options: `deadline` of a call in milliseconds, `signal` to stop calls, `tls` as in node:tls, and `send` to send
   * the requests in another way. README.md describes them. */
  constructor(options = {}) {
    checkFields("options argument", ["deadline", "signal", "tls", "send"], options);
    const { deadline = 30_000, tls, send } = options;
    if (!(deadline >= 1 && deadline < 2 ** 31)) throw new RangeError(`deadline must be 1 to 2^31 - 1 ms: ${deadline}`);
    if (tls && send) throw new TypeError("tls has no effect with send; omit one of them");
    if (tls) checkTls(tls);
    this.#options = { ...options, deadline };
  }

  /** Returns a ConsulSession with the same connections and another `deadline` or `signal`. */
  with(options) {
    checkFields("options argument", ["deadline", "signal"], options);
    const other = new ConsulSession({ ...this.#options, ...options });
    other.#connections = this.#connections;
    other.#pending = this.#pending;
    return other;
  }

  /** Runs an action. Parameters and results are those of docs/parameters.md. */
  async action(params) {
    const { tls, send } = this.#options;
    const result = await this.#call("action", async () => {
      const text = toJson(params);
      if (send) return { values: [text] }; // The component refuses the parameters for TLS.
      const taken = await takeTls(JSON.parse(text), tls);
      return { values: [JSON.stringify(taken.rest)], tls: taken.tls };
    });
    return JSON.parse(result);
  }

  /** Calls a function of the interface `sessions`. Durations are nanoseconds (bigint). Fields may be omitted. */
  sessions(name, ...values) {
    return this.#call(name, async (functions) => {
      checkArguments(functions, name, values);
      return { values, tls: this.#options.tls };
    });
  }

  /** Closes the connections after the pending calls. */
  async close() {
    await Promise.allSettled(this.#pending);
    this.#connections.close();
  }

  async #call(name, prepare) {
    const { send = (request, how) => this.#connections.send(request, how) } = this.#options;
    const pending = call(this.#options, name, prepare, send);
    this.#pending.add(pending);
    try {
      return await pending;
    } catch (error) {
      throw error instanceof Error ? error : Failed.from(error);
    } finally {
      this.#pending.delete(pending);
    }
  }
}
