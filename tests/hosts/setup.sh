#!/usr/bin/env bash
# Installs what the tests on other hosts need into TARGET_FOLDER: Python packages, Ansible, npm packages, at the versions
# pinned here and in the examples. Quick if that is done already.
#
# usage: setup.sh TARGET_FOLDER
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
examples=$here/../../integrations
mkdir -p "$1"
target=$(cd "$1" && pwd)

pinned=$(cat "$examples"/python/requirements.txt "$here"/ansible/requirements.txt "$examples"/javascript/package-lock.json "$here"/jco/package-lock.json | sha256sum)
[[ $(cat "$target/pinned" 2>/dev/null) == "$pinned" ]] && exit

# Of several test processes one installs, the others wait for it.
exec 9>"$target/lock"
flock 9
[[ $(cat "$target/pinned" 2>/dev/null) == "$pinned" ]] && exit

rm -rf "$target/venv" "$target/javascript" "$target/jco"
python3 -m venv "$target/venv"
"$target/venv/bin/pip" install --quiet --require-hashes --requirement "$examples/python/requirements.txt" \
    --requirement "$here/ansible/requirements.txt"

# Copied, as Node looks for packages above the real place of a module. Not `npm ci`: npm 11 takes a lock file without
# addresses of packages for other platforms to be out of step.
for packages in "$examples/javascript" "$here/jco"; do
    mkdir "$target/${packages##*/}"
    cp "$packages"/{package.json,package-lock.json,.npmrc} "$target/${packages##*/}"
    (cd "$target/${packages##*/}" && npm install --no-save --no-audit --no-fund --loglevel=error)
done

echo "$pinned" >"$target/pinned"
