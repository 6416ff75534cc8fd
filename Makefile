# Every target does its own set-up in .venv; nothing needs Docker or root. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# .venv stays with the interpreter that it was made with. Another version that is asked for has an
# environment of its own beside it, .venv-3.12, which is installed by the uv of .venv.
VENV := .venv
ifdef PYTHON
version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
ASKED := $(call version,$(PYTHON))
ifeq ($(ASKED),)
$(error PYTHON is "$(PYTHON)", which does not run: name an interpreter, such as PYTHON=python3.12)
endif
ifneq ($(filter-out $(ASKED),$(call version,.venv/bin/python)),)
VENV := .venv-$(ASKED)
endif
endif
PYTHON ?= python3
BIN := $(VENV)/bin
# What is installed stays, until another DEVICE is asked for.
DEVICE ?= $(if $(wildcard $(VENV)/.installed-gpu),gpu,cpu)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# uv takes 5 seconds, and pip a minute: pip installs uv alone, and the rest where uv fails, as it may
# with an index that only pip's configuration names.
OTHERS := $(if $(filter-out .venv,$(VENV)),$(wildcard .venv/bin/uv))
UV := $(or $(OTHERS),$(BIN)/uv) pip install --quiet --python $(BIN)/python
LOCKED := $(if $(WHEELS),--no-index --find-links $(WHEELS)) --require-hashes -r
STAMP := $(VENV)/.installed-$(DEVICE)
PACKAGES := $(wildcard base schemas features models worker tools tests benchmarks)

ifeq ($(filter cpu gpu,$(DEVICE)),)
$(error DEVICE is "$(DEVICE)": use DEVICE=cpu or DEVICE=gpu)
endif

.PHONY: help doctor install demo test unit watch pythons lint format chaos skew search swaps hostile properties bundles libraries tools bench gpu evaluate record docs pictures lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-12s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

doctor: ## say what this machine lacks and what to do; works before the install
	@$(PYTHON) tests/commands/doctor.py

install: $(STAMP) ## make .venv with everything in it; DEVICE=cpu (default) or gpu
	@:

# The locks of cpu and gpu hold different packages of the same name: a change of DEVICE starts anew.
$(STAMP): locks/$(DEVICE).txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): Python 3.11 or later is needed;" \
			"name one with make install PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) for $(DEVICE), once." >&2
	@if [[ -n "$(filter-out $(STAMP),$(wildcard $(VENV)/.installed-*))" ]]; then rm -rf $(VENV); fi
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(if $(OTHERS),,$(PIP) install $(LOCKED) <(sed -n '/^uv==/,/[^\\]$$/p' $<))
	@$(UV) $(LOCKED) $< 2>/dev/null || $(PIP) install $(LOCKED) $<
	@$(UV) --no-deps --no-build-isolation -e . 2>/dev/null || $(PIP) install --no-deps --no-build-isolation -e .
	@echo "Compiling the kernels: some 20 seconds, once." >&2
	@$(BIN)/python -m worker.warm_up >&2 || \
		echo "The kernels are not compiled: the first start compiles them, and says why it cannot." >&2
	@touch $@

# Commands are not echoed: the last line of `chaos`, `skew`, `search`, `swaps`, `hostile`, `bundles`,
# `properties`, `bench` and `gpu` is JSON.
demo: install ## the whole path on embedded Kafka and Valkey: EVENTS=20000 RATE=2000
	@$(BIN)/fraud-worker demo --events $(or $(EVENTS),20000) --rate $(or $(RATE),2000)

# System tests wait most of their time: three processes keep two cores busy. Files keep the order of
# tests/conftest.py, where those that wait begin; else files of one long test would come last.
test: install ## all tests; ARGS="-k decode" for some, "-n 0" in one process; JOBS=3 PYTHON=python3.12
	@$(BIN)/python -m pytest -n $(or $(JOBS),3) --dist loadfile --no-loadscope-reorder $(ARGS)

unit: install ## the tests of single parts, in a minute: no processes, no network, no training; ARGS=
	@$(BIN)/python -m pytest -n 2 tests/unit $(ARGS)

watch: install ## run the unit tests of what changes, as long as it runs
	@$(BIN)/python tests/commands/watch.py

pythons: install ## short tests on the other Pythons of pyproject.toml; ALL=1: each must be found
	@$(BIN)/python tests/commands/pythons.py $(if $(ALL),--all)

lint: install ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(PACKAGES)
	@$(BIN)/lint-imports --no-logo

format: install ## let ruff put files into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

chaos: install ## break workers, servers and topics, compare with a serial run: KILLS=20 SEED=(random)
	@$(BIN)/python tests/commands/chaos.py --kills $(or $(KILLS),20) $(if $(SEED),--seed $(SEED))

skew: install ## break workers, servers and histories, hold every feature against a training table: FAULTS=20 SEED=(random) EVENTS=500000 WITHOUT=guard|all
	@$(BIN)/python tests/commands/skew.py $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(EVENTS),--events $(EVENTS)) $(if $(WITHOUT),--without $(WITHOUT))

search: install ## some workers through random orders and faults, without servers: SECONDS=60 SEED=(random) ONE=1 for its journal BUGS=1 finds seeded bugs
	@$(BIN)/python -m tests.commands.search --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONE),--one) $(if $(BUGS),--bugs)

swaps: install ## exchange models and policies under full load, hold scores against them: SWAPS=100 SEED=(random) LOCATION=folder|s3|azure|mlflow
	@$(BIN)/python tests/commands/swaps.py --swaps $(or $(SWAPS),100) $(if $(SEED),--seed $(SEED)) \
		$(if $(LOCATION),--location $(LOCATION))

hostile: install ## hostile records against topics with random limits, one answer each: SECONDS=60 SEED=(random)
	@$(BIN)/python tests/commands/hostile.py --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

properties: install ## windows against a brute-force oracle: CASES=20000 SEED=(random)
	@$(BIN)/python -m tests.commands.properties --cases $(or $(CASES),20000) $(if $(SEED),--seed $(SEED))

bundles: install ## flip bits of a model bundle, sum it again and have it verified: FLIPS=500 SEED=(random)
	@$(BIN)/python tests/commands/flips.py --flips $(or $(FLIPS),500) $(if $(SEED),--seed $(SEED))

# The peers have packages of their own, which must not meet the project's.
PEERS := .venv-peers/.installed
$(PEERS): locks/peers.txt | install
	@echo "Installing the peers into .venv-peers, once." >&2
	@$(BIN)/python -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r $<
	@touch $@

# PyTorch and CatBoost take 5 GB, so they have an environment of their own.
TORCH := .venv-torch/.installed
$(TORCH): locks/torch.txt | install
	@echo "Installing PyTorch and CatBoost into .venv-torch, once: 5 GB." >&2
	@$(BIN)/python -m venv --clear .venv-torch
	@.venv-torch/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r $<
	@touch $@

libraries: install $(if $(FURTHER),$(TORCH)) ## measure models of other libraries beside XGBoost on the Handbook's data: RECORD=1 FURTHER=1 (PyTorch, CatBoost)
	@$(BIN)/python -m benchmarks.evaluate.libraries $(if $(FURTHER),--further .venv-torch/bin/python) $(if $(RECORD),--record)

# Servers for the tests of locations: MLflow's packages must not meet the project's, and Azurite is a
# package of npm. What is there stays, until its lock changes.
MLFLOW := .venv-mlflow/.installed
$(MLFLOW): locks/mlflow.txt | install
	@echo "Installing the MLflow server into .venv-mlflow, once." >&2
	@$(BIN)/python -m venv --clear .venv-mlflow
	@$(BIN)/uv pip install --quiet --python .venv-mlflow/bin/python --require-hashes -r $<
	@touch $@

AZURITE := .tools/azurite/.installed
$(AZURITE): tests/servers/azurite/package.json tests/servers/azurite/package-lock.json
	@command -v npm >/dev/null || { \
		echo "make tools: npm is not there, which installs Azurite: install Node.js" >&2; exit 1; }
	@echo "Installing Azurite into .tools, once." >&2
	@rm -rf $(@D) && mkdir -p $(@D) && cp $^ $(@D)
	@cd $(@D) && npm ci --silent --ignore-scripts --omit=dev --no-audit --no-fund
	@touch $@

# Debian's package, unpacked and not installed: that needs no root.
PROMETHEUS := .tools/prometheus/.installed
$(PROMETHEUS):
	@command -v apt-get >/dev/null || { \
		echo "make tools: apt-get is not there, which fetches Prometheus: use Debian or Ubuntu" >&2; exit 1; }
	@echo "Unpacking Prometheus into .tools, once." >&2
	@rm -rf $(@D) && mkdir -p $(@D)
	@cd $(@D) && apt-get -qq download prometheus && dpkg -x prometheus_*.deb . && mv usr/bin/prom* . && \
		rm -rf prometheus_*.deb usr lib etc var
	@touch $@

tools: $(MLFLOW) $(AZURITE) $(PROMETHEUS) ## fetch servers that tests use: MLflow, Azurite (npm), Prometheus (apt-get)

bench: install $(if $(filter peers,$(SUITE)),$(PEERS)) ## measure against the rivals: JSON=1 SUITE=spine|features|models|latency|partitions|soak|peers EVENTS=(all) OUT=folder|RECORD=1
	@$(BIN)/python -m benchmarks $(if $(JSON),--json) $(if $(SUITE),--suite $(SUITE)) \
		$(if $(EVENTS),--events $(EVENTS)) $(if $(OUT),--out $(OUT)) $(if $(RECORD),--record)

# In an environment of its own, which also a machine has that works with the CPU.
gpu: ## prove the CUDA path on an NVIDIA GPU, without network from WHEELS=folder: JSON=1 RECORD=1 REHEARSE=1
	@$(MAKE) --no-print-directory install VENV=.venv-gpu DEVICE=gpu
	@.venv-gpu/bin/python -m benchmarks.gpu $(if $(JSON),--json) $(if $(RECORD),--record) $(if $(REHEARSE),--rehearse)

evaluate: install ## train on the Handbook's data, score its test days through Kafka: TRIES=8 PARTITIONS=1 KEEP=folder
	@$(BIN)/python -m benchmarks.evaluate $(if $(TRIES),--tries $(TRIES)) $(if $(PARTITIONS),--partitions $(PARTITIONS)) $(if $(KEEP),--keep $(KEEP))

record: install ## renew the golden recording and show what changed
	@$(BIN)/python tests/commands/record.py

# Without --quiet: MkDocs does not count the warnings that it does not print.
docs: install ## write the generated pages of docs/reference and the dashboard, build the site into build/site
	@$(BIN)/python -m tools.manual
	@$(BIN)/python k8s/monitoring/dashboard.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

pictures: install ## draw docs/pictures from benchmarks/results; RECORD=1: record `make demo` first
	@$(BIN)/python -m benchmarks.pictures $(if $(RECORD),--record)

# `--universal`: one file for every platform and Python. `fewest`: a package has the same version on all
# Pythons, the newest that the oldest of them can install; newer ones come when that Python goes.
# No header: it would tell this machine's paths.
COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --no-header \
	--python-version 3.11 $(if $(UPGRADE),--upgrade) pyproject.toml
DEVELOPMENT := --extra embedded --extra mlflow --extra otel --extra train --extra onnx --extra dev

lock: install ## write locks/ from pyproject.toml; UPGRADE=1 for the newest of everything
	@$(COMPILE) --extra cpu $(DEVELOPMENT) -o locks/cpu.txt
	@$(COMPILE) --extra gpu $(DEVELOPMENT) -o locks/gpu.txt
	@$(COMPILE) --no-annotate --extra otel --extra cpu --constraints locks/cpu.txt -o locks/run-cpu.txt
	@$(COMPILE) --no-annotate --extra otel --extra gpu --constraints locks/gpu.txt -o locks/run-gpu.txt
	@$(COMPILE) --no-annotate --extra otel --extra cpu --extra onnx --constraints locks/cpu.txt -o locks/run-cpu-onnx.txt
	@$(COMPILE) --no-annotate --extra otel --extra gpu --extra onnx-gpu --constraints locks/gpu.txt -o locks/run-gpu-onnx.txt
	@$(COMPILE:pyproject.toml=benchmarks/peers/requirements.in) --no-annotate \
		--constraints <(grep -oE '^(fastavro|hiredis|numpy|redis|xgboost-cpu)==[^ ]+' locks/cpu.txt) \
		-o locks/peers.txt
	@$(COMPILE:pyproject.toml=examples/other_libraries/torch.in) --no-annotate \
		--constraints <(grep -oE '^(numpy|onnx|protobuf|pyarrow)==[^ ]+' locks/cpu.txt) \
		-o locks/torch.txt
	@$(COMPILE:pyproject.toml=tests/servers/mlflow.in) --no-annotate -o locks/mlflow.txt
	@echo 'setuptools' | $(COMPILE:pyproject.toml=-) --no-annotate --constraints locks/cpu.txt -o locks/build.txt
