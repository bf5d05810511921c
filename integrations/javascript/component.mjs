// The component. Every call has an instance of its own, which takes about 0.3 ms, and imports nothing.

import { readFileSync } from "node:fs";
import { Failed } from "./failed.mjs";

const AGENT = ["address", "token", "datacenter", "namespace", "partition", "timeout"];
const SESSION = ["name", "node", "lockDelay", "behavior", "ttl", "nodeChecks", "serviceChecks", "checks"];
const DURATIONS = ["timeout", "lockDelay", "ttl"];
const LISTS = ["nodeChecks", "serviceChecks", "checks"];

const modules = new Map();
let instantiate, unloaded;
try {
  ({ instantiate } = await import("./embedded/embedded.js"));
} catch (error) {
  unloaded = error;
}

/** Returns the code of a file in the directory `embedded`, compiled once. */
function compiled(file) {
  if (!modules.has(file)) {
    modules.set(file, new WebAssembly.Module(readFileSync(new URL(`./embedded/${file}`, import.meta.url))));
  }
  return modules.get(file);
}

/** Returns a new instance: the interfaces `start`, `steps` and `finish` of wit/embedded.wit. */
export function newInstance() {
  try {
    if (unloaded) throw unloaded;
    return instantiate(compiled, {});
  } catch (error) {
    const hint = unloaded ? "; run `npm install && npm run transpile -- embedded.wasm`" : "";
    throw new Failed(`cannot load the component${hint}: ${error.message}`, { kind: "other" }, error);
  }
}

/** Refuses anything but an object that has only these fields. */
export function checkFields(kind, fields, record) {
  if (record === null || typeof record !== "object") throw new TypeError(`the ${kind} must be an object`);
  for (const field of Object.keys(record)) {
    if (fields.includes(field)) continue;
    throw new TypeError(`the ${kind} has no field ${field}; its fields are ${fields.join(", ")}`);
  }
}

/** Refuses values that jco's code would misread: a string as a list of letters, -1 as 2^64 - 1. */
function checkRecord(kind, fields, record) {
  checkFields(kind, fields, record);
  for (const [key, value] of Object.entries(record)) {
    if (value === null || value === undefined) continue;
    if (LISTS.includes(key) && !Array.isArray(value)) throw new TypeError(`${key} must be an array`);
    if (!DURATIONS.includes(key)) continue;
    if (!["bigint", "number"].includes(typeof value)) throw new TypeError(`${key} must be a bigint`);
    if (!(value >= 0 && value < 2n ** 64n)) throw new RangeError(`${key} must be an unsigned 64-bit integer: ${value}`);
  }
}

/** Refuses wrong arguments of a function of the interface `sessions`. */
export function checkArguments(functions, name, values) {
  if (!Object.hasOwn(functions, name) || name === "action") {
    throw new TypeError(`the interface sessions has no function ${name}`);
  }
  if (values.length > functions[name].length) throw new TypeError(`too many arguments for ${name}: ${values.length}`);
  checkRecord("agent", AGENT, values[0]);
  if (["create", "ensure"].includes(name)) checkRecord("session", SESSION, values[1]);
}

/** Returns the JSON text of an action's parameters. Refuses values that JSON would drop or turn into null. */
export function toJson(params) {
  if (params === null || typeof params !== "object") throw new TypeError("the parameters must be an object");
  return JSON.stringify(params, (key, value) => {
    const lost = typeof value === "number" ? !Number.isFinite(value) : ["function", "symbol"].includes(typeof value);
    if (lost) throw new TypeError(`${key} must be a JSON value, not ${String(value)}`);
    return value;
  });
}
