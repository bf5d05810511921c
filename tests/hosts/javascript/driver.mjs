// Runs operations.json through the JavaScript example. Prints a JSON line for each: {"name": …, "result": …}.

import { readFileSync } from "node:fs";
import { ConsulSession, Failed } from "./consul-session.mjs";

const env = process.env;
const url = env.CONSUL_HTTP_ADDR;
const words = {
  $run: env.RUN,
  $node: env.CONSUL_NODE,
  $refused: "http://127.0.0.1:1",
  $hanging: env.HANGING_ADDR,
  $acl: env.CONSUL_ACL_ADDR,
  $readonly: env.CONSUL_ACL_TOKEN_READONLY,
  $agent: { address: url },
};

const camel = (key) => key.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const snake = (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Rebuilds a value: keys by `rename`, anything that is no object or array by `change`. */
function map(value, rename, change) {
  if (Array.isArray(value)) return value.map((item) => map(item, rename, change));
  if (value === null || typeof value !== "object") return change(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [rename(key), map(item, rename, change)]));
}

function fill(value) {
  if (typeof value !== "string") return value;
  return Object.hasOwn(words, value) ? words[value] : value.replaceAll("$run", words.$run);
}

// The contract's numbers are all 64 bits wide, and null is undefined.
const typed = (value) => (typeof value === "number" ? BigInt(value) : (fill(value) ?? undefined));
const plain = (value) => (typeof value === "bigint" ? Number(value) : (value ?? null));

/** A failure as the component said it, and as the drivers of other hosts show it. */
function failure(error) {
  if (!(error instanceof Failed)) throw error;
  const { kind, exchange, ...rest } = error.cause;
  if (!kind) return error.cause;
  return { ...exchange, ...rest, kind: kind.tag, ...(kind.val && { parameter: kind.val }) };
}

const consul = new ConsulSession();

for (const operation of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const { action, sessions, many, not = [] } = operation;
  if (not.includes("javascript") || (JSON.stringify(operation).includes("$acl") && !words.$acl)) continue;
  let result;
  if (action) {
    result = await consul.action({ url, ...map(action, String, fill) }).catch(failure);
    words.$id = result.session_id ?? words.$id;
  } else if (many) {
    for (let made = 0; made < many.count; made++) {
      await consul.action({ url, name: fill(many.name), unique: false });
    }
    result = many.count;
  } else {
    result = map(await consul.sessions(...map(sessions, camel, typed)).catch(failure), snake, plain);
    if (typeof result === "string") words.$id = result;
  }
  console.log(JSON.stringify({ ...operation, result }));
}
