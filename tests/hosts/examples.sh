#!/usr/bin/env bash
# Runs the examples in integrations/python and integrations/javascript unchanged, and then the tests of callers'
# mistakes. Needs setup.sh and CONSUL_HTTP_ADDR.
#
# usage: examples.sh DIRECTORY EMBEDDED PLUGIN
set -euo pipefail

target=$(cd "$1" && pwd)
embedded=$(realpath "$2")
plugin=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)
integrations=$here/../../integrations
uuid='[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$integrations/python XDG_CACHE_HOME=$target/cache no_proxy=127.0.0.1
mkdir -p "$XDG_CACHE_HOME"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# expect STATUS PROGRAM…: checks that the program exits with STATUS, and that each line of standard input, a regular
# expression, matches a line of its output.
expect() {
    local wanted=$1 status=0 line
    shift
    "$@" >"$work/output" 2>&1 || status=$?
    ((status == wanted)) || fail "status $status instead of $wanted" "$@"
    while read -r line; do
        grep --quiet --extended-regexp -- "^$line\$" "$work/output" || fail "no line matches $line" "$@"
    done
}

fail() {
    cat "$work/output" >&2
    echo "examples.sh: $1: ${*:2}" >&2
    exit 1
}

expect 0 "$target/venv/bin/python" "$integrations/python/example.py" "$embedded" <<END
changed $uuid
unchanged $uuid
\{'id': '$uuid', 'name': 'typed', .*'lock_delay': 5000000000, .*
removed \['$uuid'\]
not-found, status None, retryable False: cannot renew the session \`job\`: .*
0 sessions
END
for component in "$embedded" "$plugin"; do
    expect 0 "$target/venv/bin/python" "$here/python/mistakes.py" "$component" </dev/null
done
expect 0 "$target/venv/bin/python" "$here/python/exchange.py" "$embedded" </dev/null

cp "$integrations"/javascript/*.mjs "$here"/javascript/{mistakes,exchange}.mjs "$work"
ln -s "$target/javascript/node_modules" "$work"
cd "$work"
cat >untranspiled.mjs <<'END'
import { ConsulSession } from "./consul-session.mjs";
await new ConsulSession().action({ name: "x" }).catch((error) => console.log(`${error.message} ${error.maybeApplied}`));
END
expect 0 node untranspiled.mjs <<'END'
cannot load the component; .*npm run transpile.* false
END
expect 2 node transpile.mjs <<'END'
usage: npm run transpile -- embedded.wasm .*
END
expect 1 node transpile.mjs "$plugin" <<'END'
error: .* imports wasi:http/outgoing-handler, so it is not the component `embedded`
END
expect 0 node transpile.mjs "$embedded" </dev/null
expect 0 node workflow.mjs <<END
nightly on .*, created at index [0-9]+
[0-9]+ sessions
nightly is taken: $uuid
first run: changed true, $uuid
second run: changed false, $uuid
not-found, no retry: cannot renew the session \`workflow\`: .*
END
grep --quiet never "$work/output" && fail 'two workers had the same job' workflow.mjs
expect 0 node mistakes.mjs </dev/null
expect 0 node exchange.mjs </dev/null
echo ok
