# Every command of a developer. PYTHON=python3.12 chooses the Python of the virtual environment.
PYTHON ?= python3
export PYTHON
# Else every process compiles bundlerun anew, and each worker of the tests all of these.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
CODE := bundlerun tests setup.py $(wildcard examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: help venv demo test check coverage matrix bench services services-down clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
		while IFS='|' read -r name text; do printf '  make %-15s %s\n' "$$name" "$$text"; done

venv: ## make .venv with bundlerun, editable, and the development tools
	@.ci/venv dev

demo: ## run the main job on real data, command by command
	@.ci/venv sandbox,pandas
	@examples/demo.sh

test: venv ## run the complete suite; installs and starts all that it needs
	@.ci/test $(ARGS)

check: venv ## format, lint, types, import rules and the quick tests that need no service
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n 2 -m quick $(ARGS) </dev/null

coverage: venv ## the quick tests, which must reach the floor in pyproject.toml
	@$(BIN)/python -m pytest -q -n 2 -m quick --cov $(ARGS) </dev/null

matrix: ## the quick tests on Python 3.10 to 3.13 and with the lowest versions of the dependencies
	@.ci/matrix $(ARGS)

bench: venv ## measure, side by side with Disdat and cloudknot
	@$(BIN)/python benchmarks/run.py $(ARGS)

services: ## start the Docker engine, the S3 server and the registry
	@.ci/services up

services-down: ## stop those that were started here
	@.ci/services down

clean: ## remove what was made in this folder (caches outside it stay)
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo .matrix .coverage
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
