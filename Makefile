# `make` alone lists the commands. PYTHON=python3.12 chooses an interpreter for the first installation.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install pipeline test check bench docs dist ui poll augmentation-study ablation cross-source parts-study configure weights \
	retrain serve versions promote rollback reproduce api

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

help:  ## say what each command does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## make .venv with everything in it, pinned; nothing if it is up to date

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one: make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(VENV)/bin/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing (some minutes the first time)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	@test -e .git || $(VENV)/bin/dvc config --quiet --local core.no_scm true
	@touch $@

pipeline: install  ## run every stage that is out of date, to a trained and measured harmonizer; DRY=1 only says what would run
	@exec python -m flows.pipeline $(if $(DRY),--dry-run)

test: check  ## what `make check` does, then all tests, the slow ones too; FAST=1 leaves those out
	@exec python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(if $(FAST),-m "not slow")

check: install  ## lint, types, import contracts
	@ruff check .
	@mypy
	@lint-imports

bench: install  ## all benchmarks, or one: NAME=mining
	@for file in $(if $(NAME),benchmarks/$(NAME).py,$(filter-out benchmarks/harness.py,$(wildcard benchmarks/*.py))); do \
		python -m benchmarks.$$(basename "$$file" .py); done

docs: install  ## write docs/params.md anew from params.yaml and its schema
	@python -m docs.params_reference

dist: install  ## build wheel and sdist of `attune` into dist/
	@python -m build --outdir dist .

ui: install  ## look at the runs in a browser (MLflow)
	@exec mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

poll: install  ## ask people which method looks more natural, on a page of their browser; FIT=1 says what the votes say
	@exec python -m $(if $(FIT),flows.poll,tasks.poll.page_server $(if $(HOST),--host "$(HOST)"))

augmentation-study: install  ## does SycoNet's augmentation help? many small trainings, an hour of one core; goes on where it was killed
	@$(call study,augmentation)

ablation: install  ## what do the streams, curves, shading and mining add? an hour of one core
	@$(call study,ablation)

cross-source: install  ## does it carry over to kinds of photographs it never saw? an hour of one core
	@$(call study,cross_source)

parts-study: install  ## what does each part of the architecture add? an hour and a half of one core
	@$(call study,parts)

# The parts of a study by DVC, then its findings for the report's page.
study = dvc --wait-for-lock repro ablations/dvc.yaml:baselines@$(1) ablations/dvc.yaml:$(1)_cell && python -m flows.ablations report $(1)

configure: install  ## lay a profile over params.yaml: PROFILE=photos RAW=/path/to/your/photographs
	@exec python -m flows.configure "$(or $(PROFILE),starter)" $(if $(RAW),--raw "$(RAW)")

weights: install  ## train the weights that are shipped, on RAW=/path/to/your/photographs, and export them: some hours, goes on where it was killed
	@python -m flows.configure photos $(if $(RAW),--raw "$(RAW)")
	@dvc repro augment
	@exec python -m flows.weights

retrain: install  ## train on what is new in the inbox, and promote the result if it passes the gate
	@exec python -m flows.retrain

serve: install  ## retrain on the schedule of prefect.yaml, until stopped; PORT=4200
	@exec python -m flows.serve $(if $(PORT),--port $(PORT))

versions: install  ## list the registered harmonizers and their aliases
	@exec python -m flows.registry list

promote: install  ## make a registered version the champion: VERSION=3
	@exec python -m flows.registry promote $(VERSION)

rollback: install  ## give the title back to the champion before this one
	@exec python -m flows.registry rollback

reproduce: install  ## make a registered version again from its commit and data, and compare: VERSION=3
	@exec python -m flows.reproduce $(VERSION)

api: install  ## answer over HTTP on this machine with the champion: PORT=5001
	@python -m flows.registry champion
	@exec env MLFLOW_TRACKING_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" \
		mlflow models serve --model-uri models:/attune@champion --env-manager local --host 127.0.0.1 --port $(or $(PORT),5001)
