# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the tarball, installs it where nothing else is, and has its playbooks found by their full names.
# Run from the root of the checkout with the .venv on PATH.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ANSIBLE_HOME="$scratch/home" ANSIBLE_COLLECTIONS_PATH="$scratch"
unset PYTHONPATH  # Ansible finds collections there too, and would take the tree's

ansible-galaxy collection build --output-path "$scratch" .cache/ansible_collections/zerotrust/pomerium >/dev/null
ansible-galaxy collection install --offline --collections-path "$scratch" "$scratch"/zerotrust-pomerium-*.tar.gz >/dev/null
cd "$scratch"
printf '[pomerium]\nhost.invalid\n' >inventory
for playbook in ansible_collections/zerotrust/pomerium/playbooks/*.yml; do
    name=zerotrust.pomerium.$(basename "$playbook" .yml)
    ansible-playbook --inventory inventory --syntax-check "$name" >/dev/null
    echo "$name: found in the installed tarball"
done
