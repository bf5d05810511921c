#!/usr/bin/env bash
# Prints the path of a Consul program for the integration tests: CONSUL_BIN, or the `consul` on PATH, or Debian's
# consul 1.8.7, which this script puts under the given folder. Nothing is installed system-wide and no configuration
# of the system is changed; apt itself verifies the package by Debian's own keys.
#
# usage: consul.sh TARGET_FOLDER
set -euo pipefail

# The last release of Debian with a Consul, and the version whose behaviour the tests know.
suite=bullseye
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "consul.sh: $*; CONSUL_BIN may name a Consul program instead" >&2
    exit 1
}

(($# == 1)) || fail "the folder to put Consul into is missing"

if [[ -n ${CONSUL_BIN:-} ]]; then
    [[ -x $CONSUL_BIN ]] || fail "CONSUL_BIN=$CONSUL_BIN is not a program"
    echo "$CONSUL_BIN"
    exit
fi
if command -v consul; then
    exit
fi

mkdir -p "$1"
target=$(cd "$1" && pwd)
program=$target/consul/usr/bin/consul

if [[ ! -x $program ]]; then
    for tool in apt-get dpkg flock; do
        command -v "$tool" >/dev/null || fail "no consul on PATH, and without $tool none can be fetched from Debian"
    done
    [[ -r $keyring ]] || fail "no consul on PATH, and without $keyring a package of Debian cannot be verified"

    # Of several test processes one fetches, the others wait for it.
    exec 9>"$target/consul.lock"
    flock 9
fi

if [[ ! -x $program ]]; then
    work=$(mktemp -d "$target/consul.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/unpacked"

    # apt itself says which mirror this machine uses, however its sources are written.
    mirror=$(
        apt-get -o Dir::State::Lists="$work/lists" update --print-uris |
            sed -n "s|^'\([^']*/debian/\)dists/.*|\1|p" | sort -u | head -n 1
    ) || true
    [[ -n $mirror ]] || fail "the apt sources of this machine name no mirror of Debian"
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"

    # A world of its own for apt; it already runs as whoever runs the tests, so it needs no second user.
    apt() {
        apt-get -q \
            -o Dir::State="$work" \
            -o Dir::State::Lists="$work/lists" \
            -o Dir::Cache="$work" \
            -o Dir::Etc::SourceList="$work/sources.list" \
            -o Dir::Etc::SourceParts=- \
            -o APT::Sandbox::User="$(id -un)" \
            -o APT::Update::Error-Mode=any \
            -o Acquire::Languages=none \
            -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
            -o Acquire::Retries=2 \
            "$@" >&2
    }
    apt update || fail "apt cannot read $suite at $mirror (if the suite has moved to Debian's archive, that mirror no longer has it)"
    (cd "$work" && apt download consul) || fail "apt cannot fetch consul of $suite from $mirror"
    dpkg -x "$work"/consul_*.deb "$work/unpacked"
    mv -T "$work/unpacked" "$target/consul"
fi

echo "$program"
