// The connections of a ConsulSession: pools of them, direct and through the proxies that the environment names.

import http from "node:http";
import https from "node:https";
import { exchange } from "./http.mjs";
import { TransportError } from "./transport-error.mjs";

const POOL = { keepAlive: true, maxFreeSockets: 32, timeout: 30_000 }; // Idle connections are closed after 30 s.
const PROXY_VARIABLE = /^(http|https|all)_proxy$/i;

export class Connections {
  #agents = new Map();
  #proxyVariable = Object.keys(process.env).find((name) => PROXY_VARIABLE.test(name) && process.env[name]);

  /** Sends a request and returns the response. Throws a TransportError. */
  async send(request, { signal, tls }) {
    try {
      return await exchange(request, { agent: await this.#agent(request), signal, tls });
    } catch (error) {
      // A server may close an idle connection just when it is used again. Only a read can be repeated without harm.
      if (!error.stale || request.writes || signal.aborted) throw error;
      return exchange(request, { agent: await this.#agent(request, true), signal, tls });
    }
  }

  close() {
    for (const agent of this.#agents.values()) agent.destroy();
  }

  async #agent({ scheme, authority }, fresh = false) {
    const variable = this.#proxyVariable;
    const proxy = variable ? await proxyFor(`${scheme}://${authority}`, variable) : "";
    const key = `${scheme} ${proxy}`;
    if (fresh || !this.#agents.has(key)) this.#agents.set(key, await newAgent(scheme, proxy));
    return this.#agents.get(key);
  }
}

async function proxyFor(url, variable) {
  const { getProxyForUrl } = await proxyPackage("proxy-from-env", variable);
  const proxy = getProxyForUrl(url);
  if (proxy && !/^https?:\/\//i.test(proxy)) {
    throw new TransportError("misconfigured", `${variable} names a proxy that is neither http:// nor https://`, false);
  }
  return proxy;
}

async function newAgent(scheme, proxy) {
  if (!proxy) return scheme === "https" ? new https.Agent(POOL) : new http.Agent(POOL);
  const name = `${scheme}-proxy-agent`;
  const { HttpProxyAgent, HttpsProxyAgent } = await proxyPackage(name, `${scheme}_proxy`);
  return scheme === "https" ? new HttpsProxyAgent(proxy, POOL) : new HttpProxyAgent(proxy, POOL);
}

/** Imports a package that is needed only with a proxy. */
async function proxyPackage(name, variable) {
  try {
    return await import(name);
  } catch (error) {
    const hint = `run \`npm install ${name}\``;
    throw new TransportError("misconfigured", `${variable} is set; ${hint}: ${error.message}`, false);
  }
}
