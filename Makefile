# The two commands that matter: `make up` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := packages/core packages/cli services/api services/download-worker services/asr-worker
PROJECT_FILES := $(addsuffix /pyproject.toml,$(PROJECTS))
# Each process starts servers of its own, so a file's tests stay together. Tests wait more than they
# compute: three keep two cores busy.
ABREAST := --numprocesses 3 --dist loadfile
PIN := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --no-emit-package hearsight-core --no-emit-package hearsight-workspace
PIN_IMAGE := $(PIN) --constraint requirements/dev.lock
# What the long run has done so far: broken off, it goes on from there.
CHAOS_RECORD ?= .hearsight/chaos.jsonl

.DEFAULT_GOAL := help
.PHONY: help up test test-unit test-integration test-e2e test-chaos test-chaos-short test-chart test-images test-cluster lint audit format bench bench-gpu bench-load lock lock-images clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

up: $(VENV)/installed ## set everything up, run a spoken sample, stay in the foreground
	@$(BIN)/hearsight up

test: $(VENV)/installed lint ## lint, types, import borders, then every test but the slow ones below (10 minutes at most on 2 cores)
	$(BIN)/pytest $(ABREAST) --durations 15 tests/unit tests/integration
	$(BIN)/pytest tests/e2e

test-unit: $(VENV)/installed ## tests that need no server
	$(BIN)/pytest $(ABREAST) tests/unit

test-integration: $(VENV)/installed ## tests against real PostgreSQL, Redis, S3 and HTTP servers
	$(BIN)/pytest $(ABREAST) tests/integration

test-e2e: $(VENV)/installed ## the whole stack on real speech
	$(BIN)/pytest tests/e2e

test-chaos-short: $(VENV)/installed ## kills and faults in the middle of work, a few of each
	$(BIN)/pytest tests/chaos

test-chaos: $(VENV)/installed ## every fault 25 times and 200 rolling restarts; takes hours (docs/reliability.md)
	$(BIN)/python -m tests.chaos --times 25 --record $(CHAOS_RECORD) --resume
	$(BIN)/python -m tests.chaos --fault "rolling restart" --times 200 --record $(CHAOS_RECORD) --resume
	$(BIN)/python -m tests.chaos --report $(CHAOS_RECORD)

test-chart: $(VENV)/installed ## what the chart renders, its alerts and dashboards; needs helm and promtool
	$(BIN)/pytest $(ABREAST) tests/chart

test-images: $(VENV)/installed ## the images; needs buildah, docker or podman
	$(BIN)/pytest tests/images

test-cluster: $(VENV)/installed ## the chart on the cluster that KUBECONFIG names (tests/cluster/conftest.py)
	$(BIN)/pytest tests/cluster

lint: $(VENV)/installed ## ruff, mypy --strict, import borders
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy packages services tests examples
	$(BIN)/lint-imports

audit: $(VENV)/installed ## advisories about the pinned dependencies; needs osv.dev, says so if it can't be asked
	$(BIN)/python -m tests.advisories $(AUDIT)

format: $(VENV)/installed ## let ruff write what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed ## how fast recordings become text, beside the bare engine; ends with 1 where a goal is missed (docs/performance.md)
	$(BIN)/python -m tests.benchmarks.recognition

bench-gpu: $(VENV)/installed ## the same on an NVIDIA GPU, as far as it is about the engine; HEARSIGHT_MODEL=large-v3 names another model
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/asr-worker-cuda.lock
	HEARSIGHT_DEVICE=cuda LD_LIBRARY_PATH="$$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages/nvidia/cublas/lib)" \
		$(BIN)/python -m tests.benchmarks.recognition throughput clips overhead

bench-load: $(VENV)/installed ## what the system bears; ends with 1 where a goal is missed (docs/performance.md)
	$(BIN)/python -m tests.benchmarks.load

lock: $(VENV)/installed ## pin every dependency anew, with hashes
	$(PIN) --upgrade --group dev $(PROJECT_FILES) -o requirements/dev.lock
	$(MAKE) --no-print-directory lock-images

lock-images: $(VENV)/installed ## pin what each image installs, in the versions of requirements/dev.lock
	$(PIN_IMAGE) services/api/pyproject.toml -o requirements/api.lock
	$(PIN_IMAGE) services/download-worker/pyproject.toml -o requirements/download-worker.lock
	$(PIN_IMAGE) services/asr-worker/pyproject.toml -o requirements/asr-worker.lock
	$(PIN_IMAGE) --extra cuda services/asr-worker/pyproject.toml -o requirements/asr-worker-cuda.lock
	$(PIN_IMAGE) --group build -o requirements/build.lock
	$(PIN_IMAGE) --group reload -o requirements/reload.lock

clean: ## remove the virtual environment and the state of the local stack
	rm -rf $(VENV) .hearsight

$(VENV)/installed: requirements/dev.lock $(PROJECT_FILES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "HearSight needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "Python's venv module is missing; on Debian: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ./,$(PROJECTS))
	@touch $@
