#!/usr/bin/env bash
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the ACME test server Pebble into .cache/bin. Run from the root of the checkout; find_go.sh says with which Go.
set -euo pipefail
. tests/tools/find_go.sh

version=v2.10.1
out=$PWD/.cache/bin/pebble
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
mkdir -p .cache/bin

# With PEBBLE_AUTHZREUSE=0 Pebble still reuses one valid authorization in a hundred: its dice fall on 0 to 99, and it
# asks whether they are above 0. No setting is below that, and a test must not depend on dice.
never_reuse() {
    local wfe=$sources/wfe/wfe.go
    sed -i.original 's/rand\.Intn(100) > wfe\.authzReusePercent/rand.Intn(100) >= wfe.authzReusePercent/' "$wfe"
    ! cmp -s "$wfe" "$wfe.original" || { echo "Pebble $version: the line to mend is not there" >&2 && return 1; }
}

build() {
    local module
    module=$(go mod download -json "github.com/letsencrypt/pebble/v2@$version" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p') &&
        cp -R "$module/." "$sources" && chmod -R u+w "$sources" && never_reuse &&
        go -C "$sources" build -trimpath -buildvcs=false -o "$out" ./cmd/pebble
}

with_go "Pebble $version" build
