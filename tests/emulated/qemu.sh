#!/usr/bin/env bash
# The CPU of these tests: `qemu.sh install` gets Debian's qemu-user where it is missing.
set -euo pipefail
stop() { echo "$1" >&2; exit 1; }

install() {
    [ "$(uname -m)" = x86_64 ] || stop "this machine is no x86-64, which is what is emulated"
    command -v qemu-x86_64 >/dev/null && return
    command -v apt-get >/dev/null || stop "qemu-user is not installed, and there is no apt-get"
    [ "$(id -u)" = 0 ] || stop "qemu-user is not installed, and to install it needs root"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-user; } >/dev/null 2>&1 ||
        stop "apt-get could not install qemu-user"
}

"$@"
