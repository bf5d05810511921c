"""Makes the results of drivers comparable: reads the lines of JSON that a driver prints, and prints them without what
differs between runs (ids, indexes, addresses, names, sessions of others) and between hosts (extra keys of Ansible)."""

import json
import os
import re
import sys

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ANSIBLE = {"invocation", "exception"}
TEXTS = {
    os.environ["CONSUL_HTTP_ADDR"]: "$consul",
    os.environ["HANGING_ADDR"]: "$hanging",
    os.environ.get("CONSUL_ACL_ADDR", "$acl"): "$acl",
    os.environ["RUN"]: "$run",
    os.environ["CONSUL_NODE"]: "$node",
}
ids = {}


def main():
    for line in sys.stdin:
        operation = json.loads(line)
        result = tidy(operation["result"])
        if "compare" in operation:
            error = result.get("error", result)
            result = {key: error[key] for key in operation["compare"]}
        text = json.dumps(result, ensure_ascii=False, sort_keys=True)
        for value, placeholder in TEXTS.items():
            text = text.replace(value, placeholder)
        text = UUID.sub(lambda uuid: ids.setdefault(uuid[0], f"$id{len(ids) + 1}"), text)
        print(json.dumps({"operation": operation["name"], "result": json.loads(text)}, ensure_ascii=False), flush=True)


def tidy(value):
    if isinstance(value, list):
        items = [tidy(item) for item in value]
        # Not the items: Consul orders sessions by id, which is random.
        return f"{len(items)} items" if len(items) > 20 else items
    if not isinstance(value, dict):
        return value
    tidied = {}
    for key, item in value.items():
        # Ansible adds `failed` to successes, and `changed` to failures.
        if key in ANSIBLE or key == "failed" and not item or key == "changed" and value.get("failed"):
            continue
        if key == "sessions":
            own = [session for session in item if name(session).startswith(os.environ["RUN"])]
            item = sorted(own, key=lambda session: session.get("CreateIndex", session.get("create_index")))
        if key == "diff":
            item = {side: json.loads(text) if isinstance(text, str) else text for side, text in item.items()}
        if key in ("session_ids", "replaced"):
            item = sorted(item, key=lambda id: int(ids.get(id, "$id0")[3:]))
        tidied[key] = "$index" if key.lower().replace("_", "") in ("createindex", "modifyindex") else tidy(item)
    return tidied


def name(session):
    return session.get("Name", session.get("name"))


main()
