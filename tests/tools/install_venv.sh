# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes .venv, or brings the one there up to tests/requirements.txt; what is missing for that is said in one line.
# Run from the root of the checkout; PYTHON names the interpreter.
set -euo pipefail

python=${PYTHON:-python3}

fail() {
    echo "make: $1" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "there is no $python; name a Python >= 3.10: make PYTHON=/path/to/python3 ..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version 2>&1) is too old, Ansible and acme need >= 3.10; name one: make PYTHON=python3.12 ..."

if ! test -x .venv/bin/python; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments (no ensurepip); install it: apt-get install python3-venv"
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
.venv/bin/python -m pip install --quiet --requirement tests/requirements.txt
touch .venv/.complete
