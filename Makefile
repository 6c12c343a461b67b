# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# `make run` on a fresh Linux machine with git, gcc, make and a Python 3 with pip.
# Everything is put inside this folder: the tool `uv` in .tools/, the rest in .venv/.

UV_VERSION := 0.13.9
CORES := all
DATASET :=
CONFIG := $(if $(DATASET),config/families/$(DATASET).yaml,config/config.yaml)

FAMILIES := $(basename $(notdir $(wildcard config/families/*.yaml)))

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
UV := .tools/bin/uv
BIN := .venv/bin
ENVIRONMENT := .venv/.made
LEARNING := .venv/.made-learn
SLURM := .venv/.made-slurm
SITE := .venv/.made-docs
COMPLEX := .venv-complex/.made
# Any name is one word to the shell.
quote = '$(subst ','\'',$(1))'
# The tests of a file share what is costly to make, so they stay on one core.
PARALLEL := --numprocesses logical --dist loadfile
# --configfile takes all that follows it, so a target must not come next.
SNAKEMAKE := $(BIN)/python workflow/scripts/run.py $(BIN)/snakemake \
  --configfile $(call quote,$(CONFIG)) --cores $(CORES)
SUMMARY := $(BIN)/python workflow/scripts/summary.py $(call quote,$(CONFIG))
export UV_PYTHON_INSTALL_DIR := $(CURDIR)/.tools/python

.PHONY: help configured run test slow fuzz complex train bench docs learn slurm lint config figures lock clean

help: ## Say what there is (the default).
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "DATASET=name makes a small dataset of a family: $(FAMILIES)."
	@echo "CONFIG=file.yaml makes the datasets of another configuration; CORES=n limits the jobs."

run: configured $(ENVIRONMENT) ## Make the datasets of CONFIG, check them, draw their reports.
	@$(SNAKEMAKE)
	@$(SUMMARY)

test: $(ENVIRONMENT) ## Run the fast tests on all cores.
	@$(BIN)/pytest $(PARALLEL)

slow: $(ENVIRONMENT) ## Run the slow tests on all cores (a quarter of an hour on two).
	@$(BIN)/pytest $(PARALLEL) -m slow

fuzz: $(ENVIRONMENT) ## Damage 5,000 files at random: nothing may hang, trace back or pass unseen.
	@$(BIN)/python tests/faults/fuzz.py --count 5000

complex: $(COMPLEX) ## The solvers' tests on a PETSc of complex numbers.
	@.venv-complex/bin/pytest $(PARALLEL) tests/krylov

train: configured $(LEARNING) ## Train a neural operator on each dataset of CONFIG (5 GB of torch).
	@$(SNAKEMAKE) train
	@$(SUMMARY) train

bench: $(ENVIRONMENT) ## Measure Kryloset beside what one would write by hand (an hour): results/yardstick/.
	@$(SNAKEMAKE) yardstick

docs: $(SITE) ## Write measured rows into the pages and build the documentation: site/index.html.
	@$(BIN)/python docs/tables.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

learn: $(LEARNING) ## Install what training needs, and no more.

slurm: $(SLURM) ## Install what submitting to Slurm needs.

lint: $(ENVIRONMENT) ## Style, types, imports and rules.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

config: $(ENVIRONMENT) ## Write the files that are made from src/kryloset/config/models.py.
	@$(BIN)/python -m kryloset.config.render

figures: run ## Make the pictures of the README and of the families' pages anew.
	@$(PICTURE) results/darcy/figures/samples.png docs/images/samples.png
	@for family in $(FAMILIES); do \
	  $(MAKE) --no-print-directory run DATASET=$$family; \
	  $(PICTURE) results/$$family/figures/samples.png docs/images/families/$$family.png; \
	done

lock: $(UV) ## Choose the newest versions that pyproject.toml allows, with hashes.
	@$(COMPILE) envs/build.in --extra fenicsx --extra workflow --group dev \
	  --output-file envs/requirements.txt pyproject.toml
	@$(COMPILE) --extra learn --group well --constraints envs/requirements.txt \
	  --output-file envs/requirements-learn.txt pyproject.toml
	@$(COMPILE) --group slurm --constraints envs/requirements.txt \
	  --output-file envs/requirements-slurm.txt pyproject.toml
	@$(COMPILE) --group docs --constraints envs/requirements.txt \
	  --output-file envs/requirements-docs.txt pyproject.toml
	@$(COMPILE) envs/build.in --extra workflow --group complex --group dev --constraints envs/requirements.txt \
	  --output-file envs/requirements-complex.txt pyproject.toml

# Without .snakemake no run would know what the results were made with.
clean: ## Remove what runs and tools made; results/ stays, and what Snakemake knows of it.
	@rm -rf .venv .venv-complex .tools logs benchmarks site .make.lock \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Before the environment is made, which takes minutes.
configured:
	@[[ -f $(call quote,$(CONFIG)) ]] || { printf '%s\n' $(call quote,$(strip $(MISSING))) >&2; exit 2; }

MISSING = $(if $(filter-out $(FAMILIES),$(DATASET)),\
  DATASET: there is no small dataset $(DATASET); there is one of each of: $(FAMILIES),\
  CONFIG: there is no file $(CONFIG) in $(CURDIR); config/config.yaml is one to begin with)

PICTURE := $(BIN)/python workflow/scripts/copy_picture.py
INSTALL := $(UV) pip install --quiet --require-hashes -r
COMPILE := $(UV) pip compile --quiet --upgrade --universal --python-version 3.12 \
  --no-emit-package kryloset \
  --generate-hashes --custom-compile-command "make lock"

$(UV):
	@echo "Installing uv into .tools/"
	@python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
	  --root-user-action ignore --target .tools uv==$(UV_VERSION)

# The package itself is installed in place, so its sources are not a prerequisite.
$(ENVIRONMENT): $(UV) envs/requirements.txt pyproject.toml
	@echo "Making the environment in .venv/"
	@$(UV) venv --quiet --allow-existing --python 3.12 .venv
	@# Compiled here, once, and not by each of the first jobs, which run side by side.
	@$(INSTALL) envs/requirements.txt --compile-bytecode
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(LEARNING): $(ENVIRONMENT) envs/requirements-learn.txt
	@echo "Adding torch and neuraloperator to .venv/ (5 GB)"
	@$(INSTALL) envs/requirements-learn.txt
	@touch $@

$(SLURM): $(ENVIRONMENT) envs/requirements-slurm.txt
	@echo "Adding Snakemake's executor for Slurm to .venv/"
	@$(INSTALL) envs/requirements-slurm.txt
	@touch $@

$(SITE): $(ENVIRONMENT) envs/requirements-docs.txt
	@echo "Adding mkdocs to .venv/"
	@$(INSTALL) envs/requirements-docs.txt
	@touch $@

$(COMPLEX): $(UV) envs/requirements-complex.txt pyproject.toml
	@echo "Making the environment in .venv-complex/"
	@$(UV) venv --quiet --allow-existing --python 3.12 .venv-complex
	@$(UV) pip install --quiet --require-hashes --python .venv-complex \
	  -r envs/requirements-complex.txt
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python .venv-complex --editable .
	@touch $@
