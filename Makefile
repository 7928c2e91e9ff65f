# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A thin front for every tool: `make help`. What a target needs (.venv, Pebble) it sets up itself, once.

PYTHON ?= python3
PYTEST_ARGS ?=
# For two cores, since tests wait a third of their time.
WORKERS ?= 3
BENCHMARK_ARGS ?=
FAULTS ?=
CA ?= pebble

ROOT := $(CURDIR)
CACHE := $(ROOT)/.cache
COPY := $(CACHE)/ansible_collections/zerotrust/pomerium
VENV := .venv/.complete
PEBBLE := .cache/bin/pebble
STEP_CA := .cache/bin/step-ca
COLLECTIONS := community.general
IN_COPY := cd $(COPY) &&

export PYTHON
export PATH := $(ROOT)/.venv/bin:$(CACHE)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CACHE)
export PYTHONPATH := $(CACHE)

.DEFAULT_GOAL := help
.PHONY: help venv copy demo lab check lint types docs sanity unit test test-long package changelog release site smoke
.PHONY: smoke-oldest smoke-newest benchmark-fleet format role-docs pebble step-ca collections clean

help:  ## what each target does
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

demo: copy $(PEBBLE)  ## the whole guide, on real parts, before your eyes
	@$(IN_COPY) python tests/lab/demo.py

lab: copy $(CA)  ## ACME server, DNS and hosts, left running to play with; CA=step-ca, FAULTS="newOrder:429:3600 finalize:lost"
	@$(IN_COPY) python tests/lab/lab.py --ca $(CA) $(addprefix --fault ,$(FAULTS))

check: lint unit  ## linters, types, docs, unit tests: in less than two minutes, so all day

test: copy $(PEBBLE) $(STEP_CA) collections  ## everything: lint, sanity, package, changelog, site, all tests against the lab, smoke
	@$(MAKE) --no-print-directory -j2 --output-sync lint sanity package changelog site
	@$(IN_COPY) pytest -n $(WORKERS) $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory smoke

test-long: copy $(PEBBLE)  ## 200 seeds of faults in place of 20, and every fault at every resource
	@$(IN_COPY) FAULT_SEEDS=200 pytest -n $(WORKERS) $(PYTEST_ARGS) tests/integration/test_acme_faults_random.py

unit: copy $(PEBBLE) $(STEP_CA)  ## unit tests alone
	@$(IN_COPY) pytest -n $(WORKERS) $(PYTEST_ARGS) tests/unit

lint: copy types docs  ## format, ruff, yamllint, vermin, ansible-lint, licences, and what types and docs do
	@$(IN_COPY) ruff format --check --quiet . || { echo "make format mends this."; exit 1; }
	@$(IN_COPY) ruff check --quiet .
	@$(IN_COPY) yamllint --strict .
	@$(IN_COPY) vermin --quiet --no-tips --violations -t=3.8- plugins/modules plugins/module_utils
	@$(IN_COPY) ANSIBLE_HOME=$(CACHE)/home/.ansible ansible-lint -q --offline --profile production
	@reuse lint --lines  # not in the copy, which has no commit: reuse would not see there what git ignores

types: copy  ## mypy, strict
	@cd $(CACHE) && mypy --no-error-summary --config-file $(COPY)/mypy.ini $(COPY:$(CACHE)/%=%)/plugins

docs: copy  ## documentation, guides and changelog are valid, the roles' README and defaults current
	@mkdir -p $(CACHE)/home && $(IN_COPY) HOME=$(CACHE)/home python tests/tools/lint_docs.py lint-collection-docs \
	    --plugin-docs --validate-collection-refs all --check-extra-docs-refs .
	@$(IN_COPY) antsibull-changelog lint
	@rm -rf .cache/roles && mkdir .cache/roles && cp -R $(COPY)/roles $(COPY)/galaxy.yml .cache/roles
	@$(MAKE) --no-print-directory role-docs ROLES=.cache/roles/roles
	@diff -ru $(COPY)/roles .cache/roles/roles || { echo "make role-docs mends this."; exit 1; }

sanity: copy  ## ansible-test sanity, with every Python found
	@python $(COPY)/tests/tools/run_ansible_test.py sanity --color no

package: copy  ## Galaxy takes the built tarball, it installs, its playbooks run by their full names
	@bash tests/tools/try_package.sh

changelog: copy  ## the CHANGELOG.md of a release made now, in .cache
	@bash tests/tools/try_release.sh

release: changelog  ## write CHANGELOG.md from the fragments, which go; CONTRIBUTING.md has the rest
	@antsibull-changelog release

site: copy  ## the documentation site, in .cache/site, without a warning
	@bash tests/tools/build_site.sh

benchmark-fleet: copy $(PEBBLE)  ## what an install costs on 10 and 50 hosts; as root, a quarter of an hour and more
	@$(IN_COPY) python benchmarks/fleet.py $(BENCHMARK_ARGS)

smoke: copy $(PEBBLE)  ## what is documented, on the oldest and the newest Ansible, where their Pythons are found
	@$(MAKE) --no-print-directory -j2 --output-sync smoke-oldest smoke-newest

smoke-oldest smoke-newest: copy
	@python $(COPY)/tests/tools/smoke.py $(@:smoke-%=%)

format: $(VENV)  ## format the code and mend what ruff can
	@ruff format . && ruff check --fix .

ROLES := roles
role-docs: $(VENV)  ## write the roles' README tables and defaults from their argument specs
	@for role in $(ROLES)/*/; do \
	    aar-doc "$$role" defaults >/dev/null && \
	    aar-doc --output-template tests/tools/role_readme.md.j2 "$$role" markdown >/dev/null || exit 1; done

venv: $(VENV)  ## .venv with Ansible, the libraries and the checkers

$(VENV): requirements.txt requirements-lexicon.txt tests/requirements.txt
	@bash tests/tools/install_venv.sh

pebble: $(PEBBLE)  ## build the ACME server Pebble

$(PEBBLE): tests/tools/install_pebble.sh
	@bash tests/tools/install_pebble.sh

step-ca: $(STEP_CA)  ## build the CA step-ca

$(STEP_CA): $(wildcard tests/lab/step_ca_server/*) | $(PEBBLE)  # one after the other: they may share PyPI's Go
	@bash tests/tools/install_step_ca.sh

collections: $(VENV)  ## take collections of others that tests use out of PyPI's ansible
	@python tests/tools/fetch_collections.py $(COLLECTIONS)

copy: $(VENV)
	@python tests/tools/copy_tree.py

clean:  ## remove what make has made
	@rm -rf .ansible .cache .venv .mypy_cache .pytest_cache .ruff_cache tests/output
