// Runs operations.json and prints a line of JSON for each operation: {"name": …, "result": …}.
//
// usage: driver.mjs OPERATIONS ./consul-session.mjs    with integrations/javascript
//        driver.mjs OPERATIONS ./plugin.mjs            with the plugin as jco runs it

import { readFileSync } from "node:fs";

const { ConsulSession, Failed } = await import(process.argv[3]);
const env = process.env;
const url = env.CONSUL_HTTP_ADDR;
const placeholders = {
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

/** Copies a value, with `rename` applied to its keys and `change` to everything except objects and arrays. */
function map(value, rename, change) {
  if (Array.isArray(value)) return value.map((item) => map(item, rename, change));
  if (value === null || typeof value !== "object") return change(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [rename(key), map(item, rename, change)]));
}

function fill(value) {
  if (typeof value !== "string") return value;
  return Object.hasOwn(placeholders, value) ? placeholders[value] : value.replaceAll("$run", placeholders.$run);
}

// All numbers of the interface have 64 bits, and null becomes undefined.
const typed = (value) => (typeof value === "number" ? BigInt(value) : (fill(value) ?? undefined));
const plain = (value) => (typeof value === "bigint" ? Number(value) : (value ?? null));

/** A failure as the component returned it, in the form that the drivers of other hosts print. */
function failure(error) {
  if (!(error instanceof Failed)) throw error;
  if (!error.cause) {
    const { kind, retryable, parameter, maybeApplied: maybe_applied, message: msg } = error;
    return { failed: true, msg, error: { kind, retryable, parameter, maybe_applied } };
  }
  const { kind, exchange, ...rest } = error.cause;
  if (!kind) return error.cause;
  return { ...exchange, ...rest, kind: kind.tag, ...(kind.val && { parameter: kind.val }) };
}

const consul = new ConsulSession();

for (const operation of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const { action, sessions, many, not = [] } = operation;
  if (not.includes("javascript") || (JSON.stringify(operation).includes("$acl") && !placeholders.$acl)) continue;
  let result;
  if (action) {
    result = await consul.action({ url, ...map(action, String, fill) }).catch(failure);
    placeholders.$id = result.session_id ?? placeholders.$id;
  } else if (many) {
    for (let made = 0; made < many.count; made++) {
      await consul.action({ url, name: fill(many.name), unique: false });
    }
    result = many.count;
  } else {
    result = map(await consul.sessions(...map(sessions, camel, typed)).catch(failure), snake, plain);
    if (typeof result === "string") placeholders.$id = result;
  }
  console.log(JSON.stringify({ ...operation, result }));
}
await consul.close();
