"""Runs operations.json and prints a line of JSON for each operation: {"name": …, "result": …}.

usage: driver.py python COMPONENT    with integrations/python
       driver.py native PROGRAM      with the program `consul-session`, actions only
       driver.py ansible             only prints the actions for driver.yml, with every placeholder but $id replaced
"""

import json
import os
import pathlib
import subprocess
import sys

HOSTS = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(HOSTS.parent.parent / "integrations" / "python"))
from consul_session import ConsulSession, Failed

URL = os.environ["CONSUL_HTTP_ADDR"]
placeholders = {
    "$run": os.environ["RUN"],
    "$node": os.environ["CONSUL_NODE"],
    "$refused": "http://127.0.0.1:1",
    "$hanging": os.environ["HANGING_ADDR"],
    "$acl": os.environ.get("CONSUL_ACL_ADDR"),
    "$readonly": os.environ.get("CONSUL_ACL_TOKEN_READONLY"),
    "$agent": {"address": URL},
    "$id": "$id",  # the id in the latest result that had one
}


def fill(value):
    if isinstance(value, dict):
        return {key: fill(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item) for item in value]
    if isinstance(value, str):
        return placeholders[value] if value in placeholders else value.replace("$run", placeholders["$run"])
    return value


def operations(host):
    for operation in json.loads((HOSTS / "operations.json").read_text("utf-8")):
        without_acl = "$acl" in json.dumps(operation) and not placeholders["$acl"]
        without_types = "sessions" in operation and host != "python"
        if host not in operation.get("not", []) and not without_acl and not without_types:
            if "action" in operation:
                operation["action"] = {"url": URL, **operation["action"]}
            yield fill(operation)


def action(host, params):
    if host == "python":
        try:
            return ConsulSession(sys.argv[2]).action(params)
        except Failed as failure:
            return {"failed": True, "msg": str(failure), "error": failure.error}
    command = [sys.argv[2], "apply"]
    return json.loads(subprocess.run(command, input=json.dumps(params), stdout=subprocess.PIPE, text=True, check=False).stdout)


def main():
    host = sys.argv[1]
    if host == "ansible":
        print(json.dumps(list(operations(host))))
        return
    for operation in operations(host):
        if "action" in operation:
            result = action(host, operation["action"])
            placeholders["$id"] = result.get("session_id") or placeholders["$id"]
        elif "many" in operation:
            name, result = operation["many"]["name"], operation["many"]["count"]
            for _ in range(result):
                action(host, {"url": URL, "name": name, "unique": False})
        else:
            try:
                result = ConsulSession(sys.argv[2]).sessions(*operation["sessions"])
            except Failed as failure:
                result = {"message": str(failure), **failure.error}
            placeholders["$id"] = result if isinstance(result, str) else placeholders["$id"]
        print(json.dumps({**operation, "result": result}), flush=True)


main()
