#!/usr/bin/env bash
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the CA step-ca (tests/lab/step_ca_server) into .cache/bin. Where its sources cannot be had, that is said and is
# no error: the tests that need it are skipped then. Run from the root of the checkout; find_go.sh says with which Go.
set -euo pipefail
. tests/tools/find_go.sh

sources=tests/lab/step_ca_server
log=.cache/step-ca-sources.log
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -tags=nobadger,nomysql,nopgx"
mkdir -p .cache/bin

fetch() {
    go -C "$sources" list -deps . >/dev/null 2>"$log" || { tail -n 5 "$log" >&2 && return 1; }
}

with_go step-ca fetch || {
    echo "step-ca: its sources cannot be had, so the tests that need it will be skipped" >&2
    exit 0
}
GOPROXY=off go -C "$sources" build -ldflags="-s -w" -o "$PWD/.cache/bin/step-ca" .
