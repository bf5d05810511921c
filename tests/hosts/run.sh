#!/usr/bin/env bash
# Runs operations.json on a host, after setup.sh, and prints a JSON line for each. Two hosts are to print the same lines for
# the operations that both run.
#
# usage: run.sh python|javascript|ansible TARGET_FOLDER COMPONENT
#        run.sh native TARGET_FOLDER PROGRAM
#
# CONSUL_HTTP_ADDR is an agent without access control, HANGING_ADDR a server that accepts and never answers. Optional:
# CONSUL_ACL_ADDR, an agent that denies by default, with CONSUL_ACL_TOKEN_READONLY, which may read sessions.
set -euo pipefail

host=$1
target=$(cd "$2" && pwd)
component=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)
python=$target/venv/bin/python

export PYTHONDONTWRITEBYTECODE=1 no_proxy=127.0.0.1,localhost
export RUN=run-$$-$RANDOM
CONSUL_NODE=$("$python" -c '
import json, os, urllib.request
print(json.load(urllib.request.urlopen(os.environ["CONSUL_HTTP_ADDR"] + "/v1/agent/self"))["Config"]["NodeName"])')
export CONSUL_NODE

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case $host in
python | native) "$python" "$here/python/driver.py" "$host" "$component" ;;
javascript)
    cp "$here"/../../integrations/javascript/*.mjs "$here/javascript/driver.mjs" "$work"
    ln -s "$target/javascript/node_modules" "$work"
    (cd "$work" && node transpile.mjs "$component" && node driver.mjs "$here/operations.json")
    ;;
ansible)
    "$python" "$here/python/driver.py" ansible >"$work/operations"
    ANSIBLE_LIBRARY=$here/../../integrations/ansible/library ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INJECT_FACT_VARS=false \
        "$target/venv/bin/ansible-playbook" "$here/ansible/driver.yml" --inventory localhost, \
        -e ansible_connection=local -e ansible_python_interpreter="$python" \
        -e operations="$work/operations" -e component="$component" -e results="$work/results" >"$work/log" || {
        cat "$work/log" >&2
        exit 1
    }
    cat "$work/results"
    ;;
*)
    echo "run.sh: no host $host" >&2
    exit 2
    ;;
esac | "$python" "$here/normalise.py"
