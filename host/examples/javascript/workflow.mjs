// A node of a workflow: one worker at a time for each job. The session is the claim, and ends by itself with the worker.
//
//     npm install && npm run transpile -- plugin.wasm && CONSUL_HTTP_ADDR=http://127.0.0.1:8500 node workflow.mjs

import { ConsulSession, Failed } from "./consul-session.mjs";

const SECOND = 1_000_000_000n;

/** Runs `work` while this workflow has a session, which it renews; `work` gets the session. */
export async function withSession(consul, agent, wanted, work) {
  const id = await consul.sessions("create", agent, { ttl: 30n * SECOND, ...wanted });
  const renewal = setInterval(() => consul.sessions("renew", agent, id).catch(console.error), 10_000);
  try {
    return await work(await consul.sessions("info", agent, id));
  } finally {
    clearInterval(renewal);
    await consul.sessions("destroy", agent, id);
  }
}

const consul = new ConsulSession();
const url = process.env.CONSUL_HTTP_ADDR;
if (!url) throw new Error("CONSUL_HTTP_ADDR is not set");
const agent = { address: url, timeout: 5n * SECOND };

// Typed: values as the contract has them, in camelCase.
await withSession(consul, agent, { name: "nightly", behavior: "delete" }, async (session) => {
  console.log(`${session.name} on ${session.node}, created at index ${session.createIndex}`);
  const { sessions } = await consul.sessions("list", agent);
  console.log(`${sessions.length} sessions`);
});

// The action door: the words of a playbook, for nodes that people fill in.
const parameters = { name: "workflow", delay: "20s", ttl: 600, url };
for (const run of ["first", "second"]) {
  const { changed, session_id } = await consul.action(parameters);
  console.log(`${run} run: changed ${changed}, ${session_id}`);
}
await consul.action({ state: "absent", name: "workflow", url });

// What went wrong is a word that a workflow can branch on.
try {
  await consul.action({ state: "renew", name: "workflow", url });
} catch (error) {
  if (!(error instanceof Failed)) throw error;
  console.log(`${error.kind}, ${error.retryable ? "retry" : "no retry"}: ${error.message}`);
}
