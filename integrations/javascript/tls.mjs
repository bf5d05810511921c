// TLS settings: those of a ConsulSession, and those among the parameters of an action. The component does not see them.

import { X509Certificate } from "node:crypto";
import { createReadStream } from "node:fs";
import { createSecureContext } from "node:tls";
import { checkFields } from "./component.mjs";
import { Failed } from "./failed.mjs";

const OPTIONS = ["ca", "cert", "key", "passphrase", "servername", "rejectUnauthorized"];
const MAX_FILE = 4 << 20; // Also bounds reads from endless devices such as /dev/zero.
const BOOLEANS = new Map();
for (const text of ["yes", "y", "on", "true", "t", "1"]) BOOLEANS.set(text, true);
for (const text of ["no", "n", "off", "false", "f", "0"]) BOOLEANS.set(text, false);

/** Refuses TLS options that node:tls does not accept. */
export function checkTls(tls) {
  checkFields("tls option", OPTIONS, tls);
  createSecureContext(tls);
}

/** Separates the TLS parameters of an action from the rest. They win over the options of the ConsulSession. */
export async function takeTls({ ca_path, client_cert, client_key, validate_certs, ...rest }, options) {
  const tls = { ...options };
  const verify = boolean("validate_certs", validate_certs);
  if (verify !== undefined) tls.rejectUnauthorized = verify;
  const ca = string("ca_path", ca_path);
  if (ca) {
    tls.ca = await read("ca_path", "CA", ca);
    usable("ca_path", `the CA file ${ca}`, "no certificate", tls.ca, () => new X509Certificate(tls.ca));
  }
  const cert = string("client_cert", client_cert);
  const key = string("client_key", client_key) ?? cert;
  if (key && !cert) throw invalid("client_key", "`client_key` needs `client_cert`");
  if (cert) {
    tls.cert = await read("client_cert", "client certificate", cert);
    tls.key = await read("client_key", "client key", key);
    const what = `the client certificate ${cert} with the key ${key}`;
    usable("client_cert", what, "no client certificate", tls.cert, () => createSecureContext(tls));
  }
  return { tls, rest };
}

function usable(parameter, what, nothing, pem, use) {
  try {
    if (!pem.includes("-----BEGIN CERTIFICATE-----")) throw new Error(`the PEM data contains ${nothing}`);
    use();
  } catch (error) {
    throw invalid(parameter, `cannot use ${what}: ${error.message}`);
  }
}

async function read(parameter, what, path) {
  try {
    const chunks = await createReadStream(path, { end: MAX_FILE }).toArray();
    const bytes = Buffer.concat(chunks);
    if (bytes.length > MAX_FILE) throw new Error("it is larger than 4 MiB");
    return bytes.toString();
  } catch (error) {
    throw invalid(parameter, `cannot read the ${what} file ${path}: ${error.message}`);
  }
}

function string(parameter, value) {
  if (typeof value === "object" && value !== null) throw invalid(parameter, `\`${parameter}\` must be a string`);
  return value === null || value === undefined || value === "" ? undefined : String(value);
}

function boolean(parameter, value) {
  const text = typeof value === "object" && value !== null ? typeof value : String(value ?? "").trim().toLowerCase();
  if (value !== null && value !== undefined && !BOOLEANS.has(text)) {
    throw invalid(parameter, `\`${parameter}\` must be true or false`);
  }
  return BOOLEANS.get(text);
}

const invalid = (parameter, message) => new Failed(message, { kind: "invalid", parameter });
