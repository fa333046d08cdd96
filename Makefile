# Everything runs in .venv, which is made on first use. A stamp file in it records what is installed, so a second run
# installs nothing unless pyproject.toml or constraints.txt changed. Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin/python
PINS := pyproject.toml setup.py constraints.txt
# The two variables also pin the packages that build others: pip up to 25.2 reads the first, from 25.3 on the second.
INSTALL = PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN) -m pip install -qq --disable-pip-version-check -c constraints.txt
# Each test process would otherwise rewrite the assertions of all test files again, which takes six seconds.
CACHED = PYTHONDONTWRITEBYTECODE= $(BIN)
PROCESSES = --numprocesses=auto --maxprocesses=8 --dist=worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint slow bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## Set up, fine-tune with mixup, amp and swa for some minutes, and show the scores
	@$(BIN) scripts/demo.py

test: .venv/.test ## Set up and run the fast tests, a process for each core
	HF_HUB_OFFLINE=1 $(CACHED) -m pytest $(PROCESSES)

slow: .venv/.test ## Run the slow tests, a process for each core
	HF_HUB_OFFLINE=1 $(CACHED) -m pytest $(PROCESSES) -m slow

lint: .venv/.test ## Check style and types
	$(BIN) -m ruff check
	$(BIN) -m ruff format --check
	$(BIN) -m mypy recipes tricks

BENCH ?= loop
bench: .venv/.bench ## Time the loop against its peers (BENCH=throughput: examples a second)
	$(BIN) scripts/bench $(BENCH)

clean: ## Remove .venv and caches; runs/ stays
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.made:
	@command -v "$(PYTHON)" >/dev/null \
		|| { echo "No '$(PYTHON)' here. Trickbook needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "'$(PYTHON)' is $$("$(PYTHON)" -V 2>&1), and Trickbook needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 2; }
	@"$(PYTHON)" -m venv --clear .venv
	@touch $@

# The extra `test` includes `demo`, so it makes that stamp too.
.venv/.demo: EXTRA = demo
.venv/.test: EXTRA = test
.venv/.bench: EXTRA = test,bench
.venv/.demo .venv/.test .venv/.bench: .venv/.made $(PINS)
	@echo "Installing the pinned packages for '$(EXTRA)' into .venv (the first time takes minutes)"
	@$(INSTALL) -e '.[$(EXTRA)]'
	@touch .venv/.demo $@
