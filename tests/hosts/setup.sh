#!/usr/bin/env bash
# Installs the Python packages, Ansible and the npm packages that the tests on other hosts need into DIRECTORY, at the
# versions pinned here and in integrations/. Does nothing if they are installed already.
#
# usage: setup.sh DIRECTORY
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
integrations=$here/../../integrations
mkdir -p "$1"
target=$(cd "$1" && pwd)

pinned=$(cat "$integrations"/python/requirements.txt "$here"/ansible/requirements.txt \
    "$integrations"/javascript/package-lock.json "$here"/jco/package-lock.json | sha256sum)
[[ $(cat "$target/pinned" 2>/dev/null) == "$pinned" ]] && exit

# If several test processes start at once, one installs and the others wait.
exec 9>"$target/lock"
flock 9
[[ $(cat "$target/pinned" 2>/dev/null) == "$pinned" ]] && exit

rm -rf "$target/venv" "$target/javascript" "$target/jco"
python3 -m venv "$target/venv"
"$target/venv/bin/pip" install --quiet --require-hashes --requirement "$integrations/python/requirements.txt" \
    --requirement "$here/ansible/requirements.txt"

# Copies, because Node looks for packages in the parent directories of a module's real path. Not `npm ci`, because npm
# 11 considers a lock file outdated if it has no addresses for packages of other platforms.
for packages in "$integrations/javascript" "$here/jco"; do
    mkdir "$target/${packages##*/}"
    cp "$packages"/{package.json,package-lock.json,.npmrc} "$target/${packages##*/}"
    (cd "$target/${packages##*/}" && npm install --no-save --no-audit --no-fund --loglevel=error)
done

echo "$pinned" >"$target/pinned"
