#!/usr/bin/env bash
# What these tests run on: `devices.sh install` gets Debian's ARM compiler and emulator where they are missing.
set -euo pipefail
stop() { echo "$1" >&2; exit 1; }

install() {
    command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null && command -v gcc >/dev/null && return
    command -v apt-get >/dev/null || stop "gcc-arm-none-eabi and qemu-system-arm are not installed, and there is no apt-get"
    [ "$(id -u)" = 0 ] || stop "gcc-arm-none-eabi and qemu-system-arm are not installed, and to install them needs root"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev gcc-arm-none-eabi qemu-system-arm; } \
        >/dev/null 2>&1 || stop "apt-get could not install gcc-arm-none-eabi and qemu-system-arm"
}

"$@"
