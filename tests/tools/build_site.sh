# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the documentation site into .cache/site: guides, modules, roles, changelog. A warning is an error.
# Run from the root of the checkout, the tree copied, with the .venv on PATH; nothing is downloaded.
set -euo pipefail

site=.cache/site
rm -rf "$site"
mkdir -p -m 755 "$site/rst"
title="Wildcard certificates for Pomerium"
antsibull-docs sphinx-init --use-current --squash-hierarchy --dest-dir "$site" \
    --project "zerotrust.pomerium" --copyright "zerotrust.pomerium contributors" \
    --title "$title" --html-short-title "zerotrust.pomerium" zerotrust.pomerium >/dev/null
antsibull-docs --config-file "$site/antsibull-docs.cfg" collection --use-current --squash-hierarchy --fail-on-error \
    --cleanup everything --dest-dir "$site/rst" zerotrust.pomerium
PYTHONPATH=tests/tools sphinx-build -q -W --keep-going -b html -c "$site" \
    -D extensions=sphinx_antsibull_ext,site_links "$site/rst" "$site/html"
echo "The site: $site/html/index.html"
