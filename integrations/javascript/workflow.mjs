// An example of a workflow step: one worker at a time per job. The session named after the job is the claim, and Consul
// ends it if the worker dies.
//
// The claim keeps work from being done twice, as long as workers stop when their signal is aborted. It does not protect
// data: a worker that was paused or cut off may still write when the next worker has begun. That takes a lock on a key
// and a fencing token that is checked with each write; the component does not offer locks yet.
//
//     npm install && npm run transpile -- embedded.wasm && CONSUL_HTTP_ADDR=http://127.0.0.1:8500 node workflow.mjs

import { ConsulSession, Failed } from "./consul-session.mjs";

const SECOND = 1_000_000_000n;

/** Runs `work` if no session of this name exists, and renews the session meanwhile. `work` receives the session and a
 * signal, which is aborted when the session has ended or may have. If the name is taken, fails with `conflict`. */
export async function withSession(agent, { ttl = 30n * SECOND, ...wanted }, work) {
  const lifetime = Number(ttl / 1_000_000n); // in milliseconds
  const third = Math.floor(lifetime / 3);
  const consul = new ConsulSession({ deadline: third });
  const lost = new AbortController();
  let [session, renewal, expiry] = [];
  const renewed = (sentAt) => {
    clearTimeout(expiry); // Consul may end the session at any time after its TTL.
    expiry = setTimeout(() => lost.abort(new Error("not renewed within the TTL")), sentAt + lifetime - Date.now());
  };
  const renew = () => {
    const sentAt = Date.now();
    const failed = (error) => error.kind === "not-found" && lost.abort(error); // after other errors, try again later
    consul.sessions("renew", agent, session.id).then(() => renewed(sentAt), failed);
  };
  try {
    const sentAt = Date.now();
    const ensured = await consul.sessions("ensure", agent, { ttl, ...wanted }, "refuse");
    if (!ensured.created) throw new Failed(`${wanted.name} is taken: ${ensured.session.id}`, { kind: "conflict" });
    session = ensured.session;
    renewed(sentAt);
    renewal = setInterval(renew, third);
    return await work(session, lost.signal);
  } finally {
    clearInterval(renewal);
    // If this fails, the session ends by its TTL.
    if (session) await consul.sessions("destroy", agent, session.id).catch(console.error);
    clearTimeout(expiry);
    await consul.close();
  }
}

const consul = new ConsulSession();
const url = process.env.CONSUL_HTTP_ADDR;
if (!url) throw new Error("CONSUL_HTTP_ADDR is not set");
const agent = { address: url, timeout: 5n * SECOND };

// The typed interface: values as in wit/types.wit, in camelCase.
await withSession(agent, { name: "nightly", behavior: "delete" }, async (session, signal) => {
  console.log(`${session.name} on ${session.node}, created at index ${session.createIndex}`);
  const { sessions } = await consul.sessions("list", agent);
  console.log(`${sessions.length} sessions`);
  await withSession(agent, { name: "nightly" }, () => console.log("never")).catch(({ message }) => console.log(message));
  signal.throwIfAborted(); // call it between two steps, or pass the signal on: fetch(url, { signal })
});

// The action interface: the parameters of a playbook, for workflow steps that people fill in.
const parameters = { name: "workflow", delay: "20s", ttl: 600, url };
for (const run of ["first", "second"]) {
  const { changed, session_id } = await consul.action(parameters);
  console.log(`${run} run: changed ${changed}, ${session_id}`);
}
await consul.action({ state: "absent", name: "workflow", url });

// A workflow can branch on the kind of an error.
try {
  await consul.action({ state: "renew", name: "workflow", url });
} catch (error) {
  if (!(error instanceof Failed)) throw error;
  console.log(`${error.kind}, ${error.retryable ? "retry" : "no retry"}: ${error.message}`);
}
