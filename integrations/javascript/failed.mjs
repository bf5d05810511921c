const RETRYABLE = ["unavailable", "timeout", "transport"];

/** A failed call: `kind`, and `parameter` or `method`, `path`, `status` and `text`. If `maybeApplied`, look before you
 * repeat the write. A mistake of the caller throws another error, usually a TypeError. */
export class Failed extends Error {
  constructor(message, error, cause) {
    super(message, { cause }); // the error as the component returned it, or what stopped the call
    Object.assign(this, { maybeApplied: false, retryable: RETRYABLE.includes(error.kind), ...error });
  }

  /** Converts an error of the component: a record, or the JSON text of an action. */
  static from(cause) {
    if (typeof cause === "string") {
      const failure = JSON.parse(cause);
      const { maybe_applied: maybeApplied, ...rest } = failure.error;
      return new Failed(failure.msg, { ...rest, maybeApplied }, failure);
    }
    const { kind, message, exchange, maybeApplied } = cause;
    return new Failed(message, { ...exchange, kind: kind.tag, parameter: kind.val, maybeApplied }, cause);
  }
}
