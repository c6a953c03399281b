# `make help` lists the targets. Everything runs in .venv, which is built from requirements.lock.

PYTHON  ?= python3
PROFILE ?= default
PORT    ?= 5000
# An index where pip finds torch besides PyPI, e.g. https://download.pytorch.org/whl/cpu for the small CPU build.
TORCH_INDEX ?=

MODELS := cnn rnn gan detector segmenter swap fakes
PACKAGED = $(patsubst $(DIR)/models/%/package.json,%,$(wildcard $(MODELS:%=$(DIR)/models/%/package.json)))

# How many trainings run in parallel, among those that need no other model. If one fails, the others still finish: DVC
# exits with 255, at which xargs would stop, so the command maps it to 1.
JOBS ?= 1
INDEPENDENT     := train_cnn train_rnn train_gan
INDEPENDENT_ALL := $(INDEPENDENT) pipelines/scenes/dvc.yaml:train_detector pipelines/handwriting/dvc.yaml:train_swap
# By default DVC gives up after three seconds if another process holds its lock. On a busy machine, that can lose a
# training.
DVC := dvc --wait-for-lock

# Run the pipelines $(1). With JOBS, first run the trainings $(2), which need the data of the stages $(3). If a model is
# below a floor, only its package stage fails (--keep-going), and the summary names the model.
define run
	@$(PREPARE) cd $(DIR) || exit; status=0; \
	if [ "$(JOBS)" != 1 ]; then $(DVC) repro $(3) && printf '%s\n' $(2) \
	    | OMP_WAIT_POLICY=passive xargs -P $(JOBS) -I STAGE sh -c '$(DVC) repro --single-item STAGE || exit 1' \
	    || exit; fi; \
	$(DVC) repro --keep-going $(1) || status=$$?; deepdigits summary || status=$$?; exit $$status
endef
# A profile runs in a working copy of its own, as does data of your own (DATASET=NAME, see docs/own-data.md).
MAIN    := $(shell sed -n 's/^dataset: *\([a-z0-9-]*\).*/\1/p' params.yaml)
OWN     := $(filter-out $(MAIN),$(DATASET))
COPY    := $(OWN)$(if $(filter-out default,$(PROFILE)),$(if $(OWN),-)$(PROFILE))
DIR     := $(if $(COPY),build/$(COPY),.)
PREPARE = $(if $(COPY),deepdigits workspace $(PROFILE) $(DIR) $(if $(OWN),--dataset $(OWN)) $(NEEDS) &&)
NAMED   := $(or $(OWN),$(shell sed -n 's/^  "name": "\(.*\)",/\1/p' data/processed/manifest.json 2>/dev/null),$(MAIN))

VENV := .venv
PIP  := $(VENV)/bin/pip install --quiet --disable-pip-version-check
# The environment is rebuilt when the content of the lock or of the package's metadata changes, whatever their
# timestamps; and when the folder is moved or renamed, since the scripts in it contain its path.
STAMP := $(VENV)/installed-$(shell { pwd -P; cat requirements.lock pyproject.toml; } | cksum | tr -d ' ')

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1

# DVC and other libraries need a user name and a home folder, which the user of a container may not have.
LOGNAME ?= $(or $(shell id -un 2>/dev/null),nobody)
HOME    ?= $(CURDIR)/.cache/home
export LOGNAME HOME

# For a hook, an alias or a rebase, git sets variables that name the calling repository, not the copies we work in.
unexport GIT_QUARANTINE_PATH $(shell git rev-parse --local-env-vars 2>/dev/null)

# A mirror folder is made absolute, so that every working copy finds it. Its name may have spaces or start with ~/.
ifneq ($(MNIST_MIRROR),)
override MNIST_MIRROR := $(shell mirror='$(subst ','\'',$(value MNIST_MIRROR))'; \
	case $$mirror in ("~/"*) mirror=$$HOME/$$(printf %s "$$mirror" | cut -c 3-);; esac; \
	CDPATH= cd -- "$$mirror" 2>/dev/null && pwd || printf %s "$$mirror")
export MNIST_MIRROR
endif

.DEFAULT_GOAL := help
.PHONY: help repro repro-all test test-all lint format ui remote share fetch promote serve sweep bench seeds lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

repro: $(STAMP) ## Run the main pipeline on real data (PROFILE=smoke: a trial; DATASET=name: your data; JOBS=3)
	$(call run,dvc.yaml,$(INDEPENDENT),validate)

repro-all: NEEDS := --glyphs
repro-all: $(STAMP) ## Run the main pipeline and those of scenes and handwriting
	$(call run,--all-pipelines,$(INDEPENDENT_ALL),validate pipelines/scenes/dvc.yaml:validate_scenes)

PYTEST := OMP_WAIT_POLICY=passive python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## Run the tests that belong before each commit (ARGS='-k idx': some of them)
	@$(PYTEST) -m "not extended" $(ARGS)

test-all: $(STAMP) ## Run all tests: also killed pipelines, rebuilds, gate mutations, offline, PostgreSQL, browser
	@$(PYTEST) $(ARGS)

lint: $(STAMP) ## Check style, types, layers and the workflow file
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-cache
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(STAMP) ## Fix and format the code with ruff
	@ruff check --fix .
	@ruff format .

ui: $(STAMP) ## Browse runs and models in the MLflow UI (PORT=5000)
	@cd $(DIR) && deepdigits ui --port $(PORT)

remote: $(STAMP) ## Set where results are shared (URL=s3://bucket/path, a folder, ssh://...; SHARED=1: for everyone)
	@deepdigits remote $(if $(SHARED),--shared) -- '$(subst ','\'',$(URL))'

share: $(STAMP) ## Upload the outputs and experiments to the remote
	@deepdigits share

fetch: $(STAMP) ## Download the outputs instead of training them, and register the models
	@deepdigits fetch
	@deepdigits summary

promote: $(STAMP) ## Compare every candidate with its champion (NAME=mnist-cnn: one; DRY_RUN=1: change nothing)
	@cd $(DIR) || exit; status=0; for name in $(or $(NAME),$(PACKAGED:%=$(NAMED)-%)); do \
	    deepdigits promote $(if $(DRY_RUN),--dry-run) $$name || { code=$$?; [ $$code -gt $$status ] && status=$$code; }; \
	done; exit $$status

serve: $(STAMP) ## Serve the champions, with a page to draw on (PORT=5000)
	@cd $(DIR) && deepdigits serve --port $(PORT) $(if $(OWN),--dataset $(OWN))

sweep: $(STAMP) ## Search for better parameters (STAGE=train_cnn TRIALS=20 JOBS=1 SPACE=file NAME=profile)
	@cd $(DIR) && OMP_WAIT_POLICY=passive deepdigits sweep $(or $(STAGE),$(error Which training? STAGE=train_cnn)) \
	    --trials $(or $(TRIALS),20) --jobs $(JOBS) $(if $(SPACE),--space '$(SPACE)') $(if $(NAME),--name '$(NAME)')

bench: $(STAMP) ## Compare speed with peers, in 15 minutes; updates benchmarks/RESULTS.md (needs make repro)
	@for name in input training gan inference overhead; do python -m benchmarks.$$name || exit 1; done
	@python -m benchmarks.report

seeds: $(STAMP) ## Train and judge all models with other seeds, and badly (an hour each); updates benchmarks/RESULTS.md
	@python -m benchmarks.seeds
	@python -m benchmarks.report

lock: ## Update requirements.lock to match pyproject.toml (ARGS=--upgrade: to the newest releases)
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	@cp requirements.lock build/lock/all
	@build/lock/bin/uv pip compile --quiet --python build/lock/bin/python --universal --python-version 3.11 --extra dev \
	    --extra serve --extra share --extra cluster --generate-hashes --no-header --no-annotate $(ARGS) --output-file build/lock/all pyproject.toml
	@# Pin torch's release, not one of its builds: omit the hashes of its files, and the CUDA packages of a GPU build.
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
	@# First install the build backend, then everything except torch, by hash. Then install torch by release, since the
	@# hashes differ between its builds. By then only the CUDA packages of a GPU build are missing of what it needs.
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock > $(VENV)/backend.txt
	@sed '/^torch==/d' requirements.lock > $(VENV)/hashed.txt
	@$(PIP) --no-deps --require-hashes -r $(VENV)/backend.txt
	@$(PIP) --no-deps --require-hashes --no-build-isolation -r $(VENV)/hashed.txt
	@$(PIP) "$$(grep '^torch==' requirements.lock)" $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(VENV)/bin/pip check --disable-pip-version-check
	@touch $@
