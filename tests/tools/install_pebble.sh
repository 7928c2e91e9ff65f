#!/usr/bin/env bash
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the ACME test server Pebble into .cache/bin. Run from the root of the checkout; find_go.sh says with which Go.
set -euo pipefail
. tests/tools/find_go.sh

version=v2.10.1
mkdir -p .cache/bin

build() {
    GOBIN="$PWD/.cache/bin" GOFLAGS=-trimpath go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$version"
}

with_go "Pebble $version" build
