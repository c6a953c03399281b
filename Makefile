# `make help` lists what there is. Everything runs in .venv, made from requirements.lock.

PYTHON  ?= python3
PROFILE ?= default
PORT    ?= 5000
# Where pip looks for torch besides PyPI, e.g. https://download.pytorch.org/whl/cpu for the small CPU build.
TORCH_INDEX ?=

MODELS := cnn rnn gan detector segmenter swap fakes
DATASET ?= $(or $(shell sed -n 's/^  "name": "\(.*\)",/\1/p' data/processed/manifest.json 2>/dev/null),mnist)

# How many of the trainings that need no other model run at once. If one fails, the others finish all the same (xargs
# would stop at an exit code of 255, which is DVC's).
JOBS ?= 1
INDEPENDENT     := train_cnn train_rnn train_gan
INDEPENDENT_ALL := $(INDEPENDENT) pipelines/scenes/dvc.yaml:train_detector pipelines/handwriting/dvc.yaml:train_swap
# DVC gives up after three seconds if another process holds its lock, which on a busy machine would lose a training.
DVC := dvc --wait-for-lock

# Run pipelines $(1); with JOBS, first the trainings $(2), which need the data of the stages $(3). A model below a floor
# is refused by its package stage alone (--keep-going), and the summary says which.
define run
	@$(PREPARE) cd $(DIR) || exit; status=0; \
	if [ "$(JOBS)" != 1 ]; then $(DVC) repro $(3) && printf '%s\n' $(2) \
	    | OMP_WAIT_POLICY=passive xargs -P $(JOBS) -I STAGE sh -c '$(DVC) repro --single-item STAGE || exit 1' \
	    || exit; fi; \
	$(DVC) repro --keep-going $(1) || status=$$?; deepdigits summary || status=$$?; exit $$status
endef
ifeq ($(PROFILE),default)
DIR     := .
PREPARE :=
else
DIR     := build/$(PROFILE)
PREPARE := deepdigits workspace $(PROFILE) $(DIR) &&
endif

VENV := .venv
PIP  := $(VENV)/bin/pip install --quiet --disable-pip-version-check
# The environment is rebuilt when the lock or the package's metadata change, not when their time stamps do; and when the
# folder was moved or renamed, since its programs name it.
STAMP := $(VENV)/installed-$(shell { pwd -P; cat requirements.lock pyproject.toml; } | cksum | tr -d ' ')

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1

# The user of a container may have no name and no home, for which DVC and other libraries ask.
LOGNAME ?= $(or $(shell id -un 2>/dev/null),nobody)
HOME    ?= $(CURDIR)/.cache/home
export LOGNAME HOME

# What git sets for a hook, an alias or a rebase names the repository that runs it, not the copies that we work in.
unexport GIT_QUARANTINE_PATH $(shell git rev-parse --local-env-vars 2>/dev/null)

# A mirror given as a folder means the same from every working copy. Its name may have spaces, or begin with ~/.
ifneq ($(MNIST_MIRROR),)
override MNIST_MIRROR := $(shell mirror='$(subst ','\'',$(value MNIST_MIRROR))'; \
	case $$mirror in ("~/"*) mirror=$$HOME/$$(printf %s "$$mirror" | cut -c 3-);; esac; \
	CDPATH= cd -- "$$mirror" 2>/dev/null && pwd || printf %s "$$mirror")
export MNIST_MIRROR
endif

.DEFAULT_GOAL := help
.PHONY: help repro repro-all test lint format ui promote serve bench seeds lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

repro: $(STAMP) ## Run the main pipeline on real data (PROFILE=smoke: a trial in build/smoke; JOBS=3: trainings at once)
	$(call run,dvc.yaml,$(INDEPENDENT),validate)

repro-all: $(STAMP) ## The same, and the pipelines of scenes and handwriting
	$(call run,--all-pipelines,$(INDEPENDENT_ALL),validate pipelines/scenes/dvc.yaml:validate_scenes)

test: $(STAMP) ## Run the whole test suite
	@OMP_WAIT_POLICY=passive python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## Check style, types, layers and the workflow file
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-cache
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(STAMP) ## Put the code in ruff's format
	@ruff check --fix .
	@ruff format .

ui: $(STAMP) ## Look at runs and models in the MLflow UI (PORT=5000)
	@cd $(DIR) && deepdigits ui --port $(PORT)

promote: $(STAMP) ## Hold every candidate against its champion; NAME=mnist-cnn for one
	@status=0; for name in $(or $(NAME),$(MODELS:%=$(DATASET)-%)); do \
	    deepdigits promote $$name || { code=$$?; [ $$code -gt $$status ] && status=$$code; }; \
	done; exit $$status

serve: $(STAMP) ## Serve the champions, with a page to draw on (PORT=5000)
	@deepdigits serve --port $(PORT)

bench: $(STAMP) ## Compare speed with peers, in a quarter of an hour; renews benchmarks/RESULTS.md (needs make repro)
	@for name in input training gan inference overhead; do python -m benchmarks.$$name || exit 1; done
	@python -m benchmarks.report

seeds: $(STAMP) ## Train all models with other seeds, and badly, and judge them; an hour each; renews benchmarks/RESULTS.md
	@python -m benchmarks.seeds
	@python -m benchmarks.report

lock: ## Bring requirements.lock in line with pyproject.toml (ARGS=--upgrade: with the newest releases)
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	@cp requirements.lock build/lock/all
	@build/lock/bin/uv pip compile --quiet --python build/lock/bin/python --universal --python-version 3.11 --extra dev \
	    --extra serve --generate-hashes --no-header --no-annotate $(ARGS) --output-file build/lock/all pyproject.toml
	@# The lock names torch's release, not one build of it: no hash of its files, none of the CUDA packages of a GPU build.
	@awk '/^[a-z]/ {torch = /^torch==/; keep = !/^(torch==|nvidia|cuda|triton)/; if (torch) print $$1} keep' build/lock/all \
	    > requirements.lock
	@rm -rf build/lock

clean: ## Remove the environment, caches and trial copies; keep data, models, reports and runs
	@rm -rf $(VENV) build .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAMP):
	@rm -rf $(VENV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + ". Set PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned dependencies; this takes a few minutes."
	@# First the backend, by which the rest is built. Then everything but torch, by hash. Then torch by its release, since
	@# each build of it has other hashes; what it needs is there by now, but for the CUDA packages of a GPU build.
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock > $(VENV)/backend.txt
	@sed '/^torch==/d' requirements.lock > $(VENV)/hashed.txt
	@$(PIP) --no-deps --require-hashes -r $(VENV)/backend.txt
	@$(PIP) --no-deps --require-hashes --no-build-isolation -r $(VENV)/hashed.txt
	@$(PIP) "$$(grep '^torch==' requirements.lock)" $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(VENV)/bin/pip check --disable-pip-version-check
	@touch $@
