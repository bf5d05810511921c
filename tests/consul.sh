#!/usr/bin/env bash
# Prints the path of a Consul program for the integration tests: CONSUL_BIN, or the `consul` on PATH, or Debian's
# consul 1.8.7, which this script unpacks under DIRECTORY. It installs nothing system-wide and changes no configuration.
# apt verifies the package with Debian's own keys.
#
# usage: consul.sh DIRECTORY
set -euo pipefail

# The last Debian release that contains Consul. The tests expect the behavior of its version.
suite=bullseye
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "consul.sh: $*; set CONSUL_BIN to a Consul program instead" >&2
    exit 1
}

(($# == 1)) || fail "the argument DIRECTORY is missing"

if [[ -n ${CONSUL_BIN:-} ]]; then
    [[ -x $CONSUL_BIN ]] || fail "CONSUL_BIN=$CONSUL_BIN is not an executable file"
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
        command -v "$tool" >/dev/null || fail "no consul on PATH, and $tool is missing, which is needed to fetch one from Debian"
    done
    [[ -r $keyring ]] || fail "no consul on PATH, and $keyring is missing, which is needed to verify Debian's package"

    # If several test processes start at once, one fetches and the others wait.
    exec 9>"$target/consul.lock"
    flock 9
fi

if [[ ! -x $program ]]; then
    work=$(mktemp -d "$target/consul.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/unpacked"

    # Ask apt which mirror this machine uses, because its sources may be written in several formats.
    mirror=$(
        apt-get -o Dir::State::Lists="$work/lists" update --print-uris |
            sed -n "s|^'\([^']*/debian/\)dists/.*|\1|p" | sort -u | head -n 1
    ) || true
    [[ -n $mirror ]] || fail "the apt sources of this machine contain no Debian mirror"
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"

    # Separate state for apt. It already runs as the user who runs the tests, so it needs no sandbox user.
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
    apt update || fail "apt cannot read $suite from $mirror (which no longer has it if Debian has archived the release)"
    (cd "$work" && apt download consul) || fail "apt cannot download consul of $suite from $mirror"
    dpkg -x "$work"/consul_*.deb "$work/unpacked"
    mv -T "$work/unpacked" "$target/consul"
fi

echo "$program"
