// The thread that runs the component. It replies to each call with one of: the `value`, the component's `error`, the
// caller's `mistake`, or why the component `stopped` and whether a request had been `sent`.

import { parentPort } from "node:worker_threads";

const AGENT = ["address", "token", "datacenter", "namespace", "partition", "timeout"];
const SESSION = ["name", "node", "lockDelay", "behavior", "ttl", "nodeChecks", "serviceChecks", "checks"];
const DURATIONS = ["timeout", "lockDelay", "ttl"];
const LISTS = ["nodeChecks", "serviceChecks", "checks"];

let plugin, unloaded, sent;
try {
  const { outgoingHandler } = await import("@bytecodealliance/preview2-shim/http");
  const { handle } = outgoingHandler;
  outgoingHandler.handle = (...request) => {
    sent = true;
    return handle(...request);
  };
  plugin = await import("./plugin/plugin.js");
} catch (error) {
  unloaded = `cannot load the component; run \`npm install && npm run transpile -- plugin.wasm\`: ${error.message}`;
}

/** Refuses values that jco's code would misread: a string as a list of letters, -1 as 2^64 - 1. */
function check(kind, keys, record) {
  if (record === null || typeof record !== "object") throw new TypeError(`the ${kind} must be an object`);
  for (const [key, value] of Object.entries(record)) {
    if (!keys.includes(key)) throw new TypeError(`the ${kind} has no field ${key}; its fields are ${keys.join(", ")}`);
    if (value === null || value === undefined) continue;
    if (LISTS.includes(key) && !Array.isArray(value)) throw new TypeError(`${key} must be an array`);
    if (!DURATIONS.includes(key)) continue;
    if (!["bigint", "number"].includes(typeof value)) throw new TypeError(`${key} must be a bigint`);
    if (!(value >= 0 && value < 2n ** 64n)) throw new RangeError(`${key} must be an unsigned 64-bit integer: ${value}`);
  }
}

function call(exported, name, values) {
  const functions = plugin[exported];
  if (!Object.hasOwn(functions, name)) throw new TypeError(`the interface ${exported} has no function ${name}`);
  if (values.length > functions[name].length) throw new TypeError(`too many arguments for ${name}: ${values.length}`);
  if (exported === "sessions") check("agent", AGENT, values[0]);
  if (["create", "ensure"].includes(name)) check("session", SESSION, values[1]);
  return functions[name](...values);
}

parentPort.on("message", ([exported, name, ...values]) => {
  sent = false;
  parentPort.postMessage(unloaded ? { stopped: unloaded, sent } : reply(exported, name, values));
});

function reply(exported, name, values) {
  try {
    return { value: call(exported, name, values) };
  } catch (error) {
    if (!(error instanceof Error)) return { error }; // The error case of a result is thrown as it is.
    // Any other error before a request is about the values. The component has not run, so it stays usable.
    if (!sent && !(error instanceof WebAssembly.RuntimeError)) return { mistake: error };
    return { stopped: `the component was stopped: ${error}`, sent };
  }
}
