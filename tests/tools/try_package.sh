# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the tarball, imports it as Galaxy does, installs it where nothing else is, and has its playbooks found by
# their full names.
# Run from the root of the checkout with the .venv on PATH.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ANSIBLE_HOME="$scratch/home" ANSIBLE_COLLECTIONS_PATH="$scratch"
unset PYTHONPATH  # Ansible finds collections there too, and would take the tree's

ansible-galaxy collection build --output-path "$scratch" .cache/ansible_collections/zerotrust/pomerium >/dev/null
wanted='CHANGELOG.md CONTRIBUTING.md COPYING FILES.json LICENSES MANIFEST.json README.md REUSE.toml bindep.txt changelogs
    docs extensions meta playbooks plugins requirements-lexicon.txt requirements.txt roles'
for name in $(tar -tzf "$scratch"/zerotrust-pomerium-*.tar.gz | cut -d/ -f1 | sort -u); do
    [[ " "${wanted//$'\n'/ }" " == *" $name "* ]] || {
        echo "The tarball has $name, which no user needs; name it in galaxy.yml's build_ignore, or here." >&2
        exit 1
    }
done
python .cache/ansible_collections/zerotrust/pomerium/tests/tools/import_package.py "$scratch"/zerotrust-pomerium-*.tar.gz
ansible-galaxy collection install --offline --collections-path "$scratch" "$scratch"/zerotrust-pomerium-*.tar.gz >/dev/null
cd "$scratch"
printf '[pomerium]\nhost.invalid\n' >inventory
for playbook in ansible_collections/zerotrust/pomerium/playbooks/*.yml; do
    name=zerotrust.pomerium.$(basename "$playbook" .yml)
    ansible-playbook --inventory inventory --syntax-check "$name" >/dev/null
    echo "$name: found in the installed tarball"
done
