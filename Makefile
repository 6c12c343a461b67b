# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# `make run` on a fresh Linux machine with git, gcc, make and a Python 3 with pip.
# Everything is installed inside this folder: the tool `uv` in .tools/, the rest in .venv/.

UV_VERSION := 0.13.9
CORES := all
DATASET :=
FORCE :=
MODELS :=
TESTS :=
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
PEERS := .venv/.made-bench
COMPLEX := .venv-complex/.made
FORMATS := .venv/.made-formats
# The tests that the last `make test` skipped: TESTS=@.venv/skipped runs them again.
SKIPPED := .venv/skipped
# Quote a name, whatever it contains, as one word for the shell.
quote = '$(subst ','\'',$(1))'
# Neighbours share fixtures, so each process begins with a run of neighbours, and takes half of what
# another has left when it has done its own.
PARALLEL := --numprocesses logical --dist worksteal
# --configfile takes every word up to the next option, so no target may follow it directly.
SNAKEMAKE := $(BIN)/python workflow/scripts/run.py $(BIN)/snakemake \
  $(if $(FORCE)$(MODELS),--config $(if $(FORCE),force=true) $(if $(MODELS),models=$(call quote,$(MODELS)))) \
  --configfile $(call quote,$(CONFIG)) --cores $(CORES)
SUMMARY := $(BIN)/python workflow/scripts/summary.py $(call quote,$(CONFIG))
export UV_PYTHON_INSTALL_DIR := $(CURDIR)/.tools/python
# Without compiled modules kept, each of many processes would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help configured run test slow fuzz complex train publish bench bench-learn docs learn slurm peers formats lint config figures lock clean

help: ## List the targets (the default).
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-17s %s\n", $$1, $$2 }'
	@echo "DATASET=name makes the small dataset of a family: $(FAMILIES)."
	@echo "CONFIG=file.yaml uses another configuration; CORES=n limits the jobs that run at a time."
	@echo "FORCE=yes overwrites a dataset of another family that has the same name."
	@echo "MODELS=\"fno mine.py:Net\" trains these models, of those that kryloset models lists or your own."
	@echo "TESTS=tests/krylov runs the fast tests of one package, @$(SKIPPED) those skipped before."

run: configured $(ENVIRONMENT) ## Make and check the datasets of CONFIG and write their reports.
	@$(SNAKEMAKE)
	@$(SUMMARY)

test: $(ENVIRONMENT) ## Run the fast tests on all cores.
	@$(BIN)/pytest $(PARALLEL) --note-skipped=$(SKIPPED) $(TESTS)

slow: $(ENVIRONMENT) ## Run the slow tests on all cores.
	@$(BIN)/pytest $(PARALLEL) -m slow

fuzz: $(ENVIRONMENT) ## Damage 5,000 files at random; none may cause a hang or a traceback, or pass the check.
	@$(BIN)/python tests/faults/fuzz.py --count 5000

complex: $(COMPLEX) ## Run the solvers' tests with a PETSc of complex numbers.
	@.venv-complex/bin/pytest $(PARALLEL) tests/krylov

train: configured $(LEARNING) ## Train neural operators on each dataset of CONFIG (installs 5 GB of torch).
	@$(SNAKEMAKE) train
	@$(SUMMARY) train

publish: configured $(ENVIRONMENT) ## Make the folders to publish of the datasets of CONFIG.
	@$(SNAKEMAKE) publish
	@$(SUMMARY) publish

bench: $(PEERS) ## Compare Kryloset with hand-written scripts (two hours): results/yardstick/.
	@$(SNAKEMAKE) yardstick

bench-learn: $(LEARNING) ## Train on the Darcy set of papers, and on data of several methods (for a GPU): results/learn/.
	@$(BIN)/kryloset bench learn --json results/learn/rows.json
	@$(BIN)/kryloset bench validity --json results/learn/validity.json

docs: $(SITE) ## Write measured rows into the pages and build the documentation: site/index.html.
	@$(BIN)/python docs/tables.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

learn: $(LEARNING) ## Install what training needs.

slurm: $(SLURM) ## Install what submitting jobs to Slurm needs.

peers: $(PEERS) ## Install the solvers that the benches compare with (MKL, 250 MB).

formats: $(FORMATS) ## Install the libraries whose formats `kryloset export` writes.

lint: $(ENVIRONMENT) ## Check style, types, imports and rules.
	@$(BIN)/ruff check --no-cache # whose cache misses that a module of tests has moved
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

config: $(ENVIRONMENT) ## Write the files generated from src/kryloset/config/models.py.
	@$(BIN)/python -m kryloset.config.render

figures: run ## Draw the pictures of the README and of the families' pages.
	@$(PICTURE) results/darcy docs/images/samples.png
	@for family in $(FAMILIES); do \
	  $(MAKE) --no-print-directory run DATASET=$$family; \
	  $(PICTURE) results/$$family docs/images/families/$$family.png; \
	done

lock: $(UV) ## Pin the newest versions that pyproject.toml allows, with hashes.
	@$(COMPILE) envs/build.in --extra fenicsx --extra workflow --group dev \
	  --output-file envs/requirements.txt pyproject.toml
	@$(COMPILE) --extra learn --group well --constraints envs/requirements.txt \
	  --output-file envs/requirements-learn.txt pyproject.toml
	@$(COMPILE) --extra export --group formats --constraints envs/requirements-learn.txt \
	  --output-file envs/requirements-formats.txt pyproject.toml
	@$(COMPILE) --group slurm --constraints envs/requirements.txt \
	  --output-file envs/requirements-slurm.txt pyproject.toml
	@$(COMPILE) --group bench --constraints envs/requirements.txt \
	  --output-file envs/requirements-bench.txt pyproject.toml
	@$(COMPILE) --group docs --constraints envs/requirements.txt \
	  --output-file envs/requirements-docs.txt pyproject.toml
	@$(COMPILE) envs/build.in --extra workflow --group complex --group dev --constraints envs/requirements.txt \
	  --output-file envs/requirements-complex.txt pyproject.toml

# .snakemake stays: it records what the results were made with.
clean: ## Remove environments, logs and caches; results/ and Snakemake's records stay.
	@rm -rf .venv .venv-complex .tools logs benchmarks site .make.lock \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Checked before the environment is made, which takes minutes.
configured:
	@[[ -f $(call quote,$(CONFIG)) ]] || { printf '%s\n' $(call quote,$(strip $(MISSING))) >&2; exit 2; }

MISSING = $(if $(filter-out $(FAMILIES),$(DATASET)),\
  DATASET: there is no small dataset $(DATASET); choose one of: $(FAMILIES),\
  CONFIG: there is no file $(CONFIG) in $(CURDIR); start from config/config.yaml)

PICTURE := $(BIN)/python workflow/scripts/draw_picture.py
INSTALL := $(UV) pip install --quiet --require-hashes -r
COMPILE := $(UV) pip compile --quiet --upgrade --universal --python-version 3.12 \
  --no-emit-package kryloset \
  --generate-hashes --custom-compile-command "make lock"

$(UV):
	@echo "Installing uv into .tools/"
	@python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
	  --root-user-action ignore --target .tools uv==$(UV_VERSION)

# The package is installed in place, so its sources are no prerequisites.
$(ENVIRONMENT): $(UV) envs/requirements.txt pyproject.toml
	@echo "Making the environment in .venv/"
	@$(UV) venv --quiet --allow-existing --python 3.12 .venv
	@# Compile once here, not in each of the first jobs, which run in parallel.
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

$(PEERS): $(ENVIRONMENT) envs/requirements-bench.txt
	@echo "Adding MKL PARDISO and CHOLMOD to .venv/ (250 MB)"
	@$(INSTALL) envs/requirements-bench.txt
	@touch $@

$(FORMATS): $(ENVIRONMENT) envs/requirements-formats.txt
	@echo "Adding the libraries of other formats to .venv/"
	@$(INSTALL) envs/requirements-formats.txt
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
