// The thread that the component runs in. Answers each call with one of: `value`, the component's `error`, the `mistake` of
// the caller, or why it `stopped` and whether a request had been `sent`.

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
  unloaded = `cannot load the component; is \`npm install && npm run transpile -- plugin.wasm\` done? ${error.message}`;
}

/** Refuses what jco's code would take for something else: a text for a list of letters, -1 for 2^64 - 1. */
function check(kind, keys, record) {
  if (record === null || typeof record !== "object") throw new TypeError(`the ${kind} is to be an object`);
  for (const [key, value] of Object.entries(record)) {
    if (!keys.includes(key)) throw new TypeError(`the ${kind} has no ${key}; there are ${keys.join(", ")}`);
    if (value === null || value === undefined) continue;
    if (LISTS.includes(key) && !Array.isArray(value)) throw new TypeError(`${key} takes an array`);
    if (!DURATIONS.includes(key)) continue;
    if (!["bigint", "number"].includes(typeof value)) throw new TypeError(`${key} takes a bigint`);
    if (!(value >= 0 && value < 2n ** 64n)) throw new RangeError(`${key} is no unsigned number of 64 bits: ${value}`);
  }
}

function call(door, name, values) {
  const functions = plugin[door];
  if (!Object.hasOwn(functions, name)) throw new TypeError(`no function ${name} in ${door}`);
  if (values.length > functions[name].length) throw new TypeError(`${name} takes ${functions[name].length} values`);
  if (door === "sessions") check("agent", AGENT, values[0]);
  if (["create", "ensure"].includes(name)) check("session", SESSION, values[1]);
  return functions[name](...values);
}

parentPort.on("message", ([door, name, ...values]) => {
  sent = false;
  parentPort.postMessage(unloaded ? { stopped: unloaded, sent } : answer(door, name, values));
});

function answer(door, name, values) {
  try {
    return { value: call(door, name, values) };
  } catch (error) {
    if (!(error instanceof Error)) return { error }; // The error of a result is thrown as it is.
    // What else is thrown before a request goes out is about the values; the component has not run, and can be used on.
    if (!sent && !(error instanceof WebAssembly.RuntimeError)) return { mistake: error };
    return { stopped: `the component was stopped: ${error}`, sent };
  }
}
