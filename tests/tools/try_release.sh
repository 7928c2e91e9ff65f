# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Writes the CHANGELOG.md of a release made now, from the fragments, into .cache; the tree stays as it is.
# Run from the root of the checkout, the tree copied, with the .venv on PATH.
set -euo pipefail

target=$PWD/.cache/CHANGELOG.md
scratch=$(mktemp -d)  # not below the checkout, whose git ignores .cache: antsibull-changelog would see no module there
trap 'rm -rf "$scratch"' EXIT
cp -R .cache/ansible_collections/zerotrust/pomerium/{changelogs,galaxy.yml,meta,playbooks,plugins,roles} "$scratch"
cd "$scratch"
shopt -s nullglob
fragments=(changelogs/fragments/*.y*ml)
test ${#fragments[@]} -gt 0 || { echo "The changelog has no fragment: there is nothing to release." && exit; }
version=$(sed -n 's/^version: //p' galaxy.yml)
if grep -q "^  $version:" changelogs/changelog.yaml; then
    echo "$version is released, and there are fragments again: galaxy.yml needs the next version." >&2
    exit 1
fi
antsibull-changelog release
antsibull-changelog lint-changelog-yaml changelogs/changelog.yaml
cp CHANGELOG.md "$target"
echo "What a release of $version would say, with ${#fragments[@]} fragment(s): .cache/CHANGELOG.md"
