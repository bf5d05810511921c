const NEEDED = /^(content-type|content-encoding|location|x-consul-.*)$/i; // headers, by the component

/** Whether node:http decodes the transfer coding of a response. */
export function isReadable({ headers }) {
  return /^(chunked)?$/i.test(headers["transfer-encoding"] ?? "");
}

/** A body of limited size. Its parts are copied, because each keeps much memory if a server sends single bytes. */
export class Body {
  #bytes = Buffer.alloc(0);
  #length = 0;
  #maximum;

  constructor(maximum) {
    this.#maximum = maximum;
  }

  /** Adds a part. Returns whether the body is within its limit. */
  add(part) {
    const length = this.#length + part.length;
    if (length > this.#maximum) return false;
    if (length > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], Math.max(length, 2 * this.#length));
    this.#bytes.set(part, this.#length);
    this.#length = length;
    return true;
  }

  /** Returns the response with this body, as wit/embedded.wit describes it. */
  of({ statusCode, rawHeaders }) {
    const headers = [];
    for (let at = 0; at < rawHeaders.length; at += 2) {
      if (NEEDED.test(rawHeaders[at])) headers.push({ name: rawHeaders[at], value: rawHeaders[at + 1] });
    }
    return { status: statusCode, headers, body: this.#bytes.subarray(0, this.#length) };
  }
}
