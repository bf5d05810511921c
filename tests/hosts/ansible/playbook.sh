#!/usr/bin/env bash
# Tests the module with ansible-playbook: check mode, diff, second runs, loops, messages, and the example playbook.
# Needs ../setup.sh, CONSUL_HTTP_ADDR and CONSUL_NODE.
#
# usage: playbook.sh DIRECTORY EMBEDDED
set -euo pipefail

target=$(cd "$1" && pwd)
mkdir -p "$target/cache"
component=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
example=$here/../../../integrations/ansible

export ANSIBLE_LIBRARY=$example/library ANSIBLE_MODULE_UTILS=$example/module_utils
export XDG_CACHE_HOME=$target/cache no_proxy=127.0.0.1
export ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_NOCOLOR=true

play() {
    "$target/venv/bin/ansible-playbook" --inventory localhost, -e ansible_connection=local \
        -e ansible_python_interpreter="$target/venv/bin/python" -e component="$component" -e prefix="playbook-$$" "$@" 2>&1
}

# expect TEXT PLAYBOOK…: checks that the output of ansible-playbook contains the text.
expect() {
    local text=$1 output
    shift
    output=$(play "$@") || true
    grep --quiet --fixed-strings -- "$text" <<<"$output" || fail "no \`$text\`" "$output" "$@"
    grep --quiet DEPRECAT <<<"$output" && fail 'a deprecation' "$output" "$@"
    return 0
}

fail() {
    echo "$2" >&2
    echo "playbook.sh: $1 in the output of ansible-playbook ${*:3}" >&2
    exit 1
}

desired=$here/desired.yml
expect 'changed=1    unreachable=0    failed=0' "$desired" --check
expect "+    \"Name\": \"playbook-$$-units\"," "$desired" --check --diff # the run before wrote nothing
expect 'changed=1    unreachable=0    failed=0' "$desired"
expect 'changed=0    unreachable=0    failed=0' "$desired"
expect 'changed=0    unreachable=0    failed=0' "$desired" --check
expect "-    \"Name\": \"playbook-$$-units\"," "$desired" --check --diff -e state=absent
expect 'changed=1    unreachable=0    failed=0' "$desired" -e state=absent
expect 'changed=0    unreachable=0    failed=0' "$desired" -e state=absent
expect 'failed=0' "$here/failures.yml"
expect 'changed=2    unreachable=0    failed=0' "$example/playbook.yml" -e url="$CONSUL_HTTP_ADDR" --check --diff
expect 'ok=7    changed=3    unreachable=0    failed=0' "$example/playbook.yml" -e url="$CONSUL_HTTP_ADDR"

# The example as its first line says, without a warning.
bare=(-i localhost, "$example/playbook.yml" -e component="$component" -e url="$CONSUL_HTTP_ADDR")
output=$(env -u ANSIBLE_LIBRARY -u ANSIBLE_MODULE_UTILS -u ANSIBLE_LOCALHOST_WARNING "$target/venv/bin/ansible-playbook" "${bare[@]}" 2>&1) ||
    fail 'a failure' "$output" "${bare[@]}"
grep --quiet WARNING <<<"$output" && fail 'a warning' "$output" "${bare[@]}"

# Errors in the environment name the variable.
environment=("$example/playbook.yml" -e url="$CONSUL_HTTP_ADDR")
CONSUL_HTTP_TOKEN_FILE=/dev/null expect 'CONSUL_HTTP_TOKEN_FILE: cannot use the token file /dev/null: it is empty' "${environment[@]}"
CONSUL_HTTP_TOKEN_FILE=/nowhere expect 'CONSUL_HTTP_TOKEN_FILE: cannot use the token file /nowhere: No such file' "${environment[@]}"
CONSUL_HTTP_SSL=banana expect '`CONSUL_HTTP_SSL` must be true or false, not `banana`' "${environment[@]}"

# TLS, with a server that demands a client's certificate, whose own is for the name consul.example.
work=$(mktemp -d)
trap 'rm -rf "$work"; kill "$server"' EXIT
"$target/venv/bin/python" "$here/../python/servers.py" "$work" >"$work/url" &
server=$!
until [[ -s $work/url ]]; do sleep 0.05; done
expect 'ok=4    changed=1    unreachable=0    failed=0' "$here/tls.yml" -e files="$work" -e url="$(<"$work/url")"
echo ok
