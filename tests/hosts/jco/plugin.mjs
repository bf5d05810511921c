// The plugin as jco transpiles it, with preview2-shim, behind the class of integrations/javascript. Each call blocks
// until the response has arrived.

import { action, sessions } from "./plugin/plugin.js";

/** A failed call. The cause is the error as the component returned it. */
export class Failed extends Error {}

export class ConsulSession {
  async action(params) {
    return JSON.parse(call(action.run, [JSON.stringify(params)], JSON.parse));
  }

  async sessions(name, ...values) {
    return call(sessions[name], values, (error) => error);
  }

  async close() {}
}

function call(run, values, decode) {
  try {
    return run(...values);
  } catch (error) {
    if (error instanceof Error) throw error;
    throw new Failed("failed", { cause: decode(error) });
  }
}
