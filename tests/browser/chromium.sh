#!/usr/bin/env bash
# The browser of these tests: `chromium.sh install` gets Debian's chromium and its driver where they are missing.
set -euo pipefail
stop() { echo "$1" >&2; exit 1; }

install() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
    command -v apt-get >/dev/null || stop "chromium is not installed, and there is no apt-get"
    [ "$(id -u)" = 0 ] || stop "chromium is not installed, and to install it needs root"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 ||
        stop "apt-get could not install chromium and chromium-driver"
}

"$@"
