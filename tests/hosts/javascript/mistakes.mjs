// Tests what integrations/javascript reports for callers' mistakes, for calls that were cut off, and to a worker whose
// session has ended. Runs in a copy of that directory, with CONSUL_HTTP_ADDR set.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { ConsulSession, Failed } from "./consul-session.mjs";
import { withSession } from "./workflow.mjs";

const agent = { address: process.env.CONSUL_HTTP_ADDR };
const consul = new ConsulSession();

for (const [name, text, ...values] of [
  ["TypeError", "checks must be an array", "create", agent, { checks: "" }],
  ["TypeError", "nodeChecks must be an array", "create", agent, { nodeChecks: "serfHealth" }],
  ["RangeError", "ttl must be an unsigned 64-bit integer", "create", agent, { ttl: 2n ** 64n + 10n ** 10n }],
  ["RangeError", "timeout must be an unsigned 64-bit integer", "list", { ...agent, timeout: -1n }],
  ["TypeError", "the session has no field lock_delay", "create", agent, { lock_delay: 1n }],
  ["TypeError", "the interface sessions has no function nope", "nope", agent],
  ["TypeError", "the agent must be an object", "list"],
  ["TypeError", "the agent must be an object", "list", null],
  ["TypeError", '"nope" is not one of the cases', "ensure", agent, { name: "x" }, "nope"],
  ["TypeError", "expected a string", "create", agent, { name() {} }],
  ["TypeError", "the interface sessions has no function action", "action", agent],
  ["TypeError", "too many arguments for list: 2", "list", agent, {}],
]) {
  const error = await consul.sessions(...values).then(JSON.stringify, (error) => error);
  assert(error.name === name && error.message.includes(text), `${values[0]}: no ${name} with "${text}": ${error}`);
}

for (const [text, mistake] of [
  ["the parameters must be an object", () => consul.action(null)],
  ["name must be a JSON value", () => consul.action({ name() {} })],
  ["ttl must be a JSON value, not NaN", () => consul.action({ ttl: Number("1m") })],
  ["the options argument must be an object", async () => new ConsulSession(30_000)],
  ["the options argument has no field dedline", async () => new ConsulSession({ dedline: 1 })],
  ["deadline must be 1 to 2^31 - 1 ms: 2147483648", async () => new ConsulSession({ deadline: 2 ** 31 })],
  ["the tls option has no field verify", async () => new ConsulSession({ tls: { verify: false } })],
  ["tls has no effect with send", async () => new ConsulSession({ tls: {}, send: fetch })],
  ["the options argument has no field tls", async () => consul.with({ tls: {} })],
]) {
  await assert.rejects(mistake, (error) => !(error instanceof Failed) && error.message.includes(text), text);
}

const failed = (wanted) => (error) => {
  assert(error instanceof Failed, error);
  assert.deepEqual({ ...error, ...wanted }, { ...error }, error.message);
  return true;
};
const invalid = failed({ kind: "invalid", parameter: "ttl", maybeApplied: false });
await assert.rejects(consul.sessions("create", agent, { ttl: 5n }), invalid);
await assert.rejects(consul.action({ name: "x", ttl: 5 }), invalid);

const silent = createServer(() => {}).listen(0, "127.0.0.1");
await new Promise((listening) => silent.once("listening", listening));
silent.unref();
const url = `http://127.0.0.1:${silent.address().port}`;
const hasty = new ConsulSession({ deadline: 2000 }); // the call's own timeout is 10 s
const cutShort = [
  [false, () => hasty.sessions("list", { address: url })],
  [true, () => hasty.sessions("create", { address: url }, {})],
  [false, () => hasty.action({ url, state: "info", name: "x" })],
  [false, () => hasty.action({ url, name: "x", check_mode: true })],
  [true, () => hasty.action({ url, name: "x", unique: false })],
];
const late = ([maybeApplied, call]) => assert.rejects(call, failed({ kind: "timeout", retryable: true, maybeApplied }));
await Promise.all(cutShort.map(late));

// Of several workers that claim a job at the same time, one runs, and its signal is aborted when its session ends.
const wanted = { name: `claim-${process.pid}`, ttl: 10n ** 10n };
let [worked, taken] = [0, 0];
const work = async (session, signal) => {
  worked++;
  while (taken < 4) await new Promise((passed) => setTimeout(passed, 10));
  await consul.sessions("destroy", agent, session.id);
  await new Promise((aborted) => signal.addEventListener("abort", aborted));
  failed({ kind: "not-found" })(signal.reason);
};
const refused = (error) => failed({ kind: "conflict", maybeApplied: false })(error) && taken++;
await Promise.all(Array.from({ length: 5 }, () => withSession(agent, wanted, work).catch(refused)));
assert.deepEqual([worked, taken], [1, 4]);
