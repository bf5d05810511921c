#!/usr/bin/env bash
# Runs operations.json on a host and prints a line of JSON for each operation. For operations that two hosts both run, they
# must print the same lines. Needs setup.sh.
#
# usage: run.sh python|javascript|jco|ansible DIRECTORY COMPONENT
#        run.sh native DIRECTORY PROGRAM
#
# CONSUL_HTTP_ADDR is the address of an agent without ACLs, and HANGING_ADDR that of a server that accepts connections
# and never responds. Optional: CONSUL_ACL_ADDR, an agent that denies by default, and CONSUL_ACL_TOKEN_READONLY, one of
# its tokens, which may read sessions.
set -euo pipefail

host=$1
target=$(cd "$2" && pwd)
component=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)
python=$target/venv/bin/python

export PYTHONDONTWRITEBYTECODE=1 no_proxy=127.0.0.1,localhost XDG_CACHE_HOME=$target/cache
mkdir -p "$XDG_CACHE_HOME"
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
    (cd "$work" && node transpile.mjs "$component" && node driver.mjs "$here/operations.json" ./consul-session.mjs)
    ;;
jco)
    cp "$here/jco/plugin.mjs" "$here/javascript/driver.mjs" "$work"
    ln -s "$target/jco/node_modules" "$work"
    (cd "$work" &&
        node_modules/.bin/jco transpile "$component" --quiet --no-component-error-wrapping --name plugin -o plugin &&
        node driver.mjs "$here/operations.json" ./plugin.mjs)
    ;;
ansible)
    "$python" "$here/python/driver.py" ansible >"$work/operations"
    ANSIBLE_LIBRARY=$here/../../integrations/ansible/library \
        ANSIBLE_MODULE_UTILS=$here/../../integrations/ansible/module_utils \
        ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INJECT_FACT_VARS=false \
        "$target/venv/bin/ansible-playbook" "$here/ansible/driver.yml" --inventory localhost, \
        -e ansible_connection=local -e ansible_python_interpreter="$python" \
        -e operations="$work/operations" -e component="$component" -e results="$work/results" >"$work/log" || {
        cat "$work/log" >&2
        exit 1
    }
    cat "$work/results"
    ;;
*)
    echo "run.sh: unknown host $host" >&2
    exit 2
    ;;
esac | "$python" "$here/normalise.py"
