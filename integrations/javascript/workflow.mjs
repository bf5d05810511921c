// A node of a workflow: one worker at a time for each job. The session of the job's name is the claim, and ends by itself
// with the worker.
//
// That keeps work from being done twice, as long as workers stop when they are told to. It guards no data: a worker that
// was cut off, or asleep, may still be writing when the next one begins. Locks on keys do, held by the session and checked
// with the write; the component has none yet.
//
//     npm install && npm run transpile -- plugin.wasm && CONSUL_HTTP_ADDR=http://127.0.0.1:8500 node workflow.mjs

import { ConsulSession, Failed } from "./consul-session.mjs";

const SECOND = 1_000_000_000n;

/** Runs `work` if nobody else has a session of this name, and renews it meanwhile. `work` gets the session and a signal,
 * which is aborted once the session is gone or may be. If the name is taken, this fails with the kind `conflict`. */
export async function withSession(agent, { ttl = 30n * SECOND, ...wanted }, work) {
  const lifetime = Number(ttl / 1_000_000n); // in milliseconds
  const third = Math.floor(lifetime / 3);
  const consul = new ConsulSession(third); // its own, so that no call of the work holds up a renewal
  const lost = new AbortController();
  let [session, renewal, expiry] = [];
  const renewed = (asked) => {
    clearTimeout(expiry); // Consul may end the session at any time after its TTL.
    expiry = setTimeout(() => lost.abort(new Error("not renewed within the TTL")), asked + lifetime - Date.now());
  };
  const renew = () => {
    const asked = Date.now();
    const failed = (error) => error.kind === "not-found" && lost.abort(error); // what else fails may work the next time
    consul.sessions("renew", agent, session.id).then(() => renewed(asked), failed);
  };
  try {
    const asked = Date.now();
    const ensured = await consul.sessions("ensure", agent, { ttl, ...wanted }, "refuse");
    if (!ensured.created) throw new Failed(`${wanted.name} is taken: ${ensured.session.id}`, { kind: "conflict" });
    session = ensured.session;
    renewed(asked);
    renewal = setInterval(renew, third);
    return await work(session, lost.signal);
  } finally {
    clearInterval(renewal);
    // If this fails, its TTL ends it.
    if (session) await consul.sessions("destroy", agent, session.id).catch(console.error);
    clearTimeout(expiry);
    await consul.close();
  }
}

const consul = new ConsulSession();
const url = process.env.CONSUL_HTTP_ADDR;
if (!url) throw new Error("CONSUL_HTTP_ADDR is not set");
const agent = { address: url, timeout: 5n * SECOND };

// Typed: values as the contract has them, in camelCase.
await withSession(agent, { name: "nightly", behavior: "delete" }, async (session, signal) => {
  console.log(`${session.name} on ${session.node}, created at index ${session.createIndex}`);
  const { sessions } = await consul.sessions("list", agent);
  console.log(`${sessions.length} sessions`);
  await withSession(agent, { name: "nightly" }, () => console.log("never")).catch((error) => console.log(error.message));
  signal.throwIfAborted(); // between two steps of the work, or given to what takes a signal: fetch(url, { signal })
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
