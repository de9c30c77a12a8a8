# Two commands for a newcomer: `make demo` and `make test`. All make and reuse one virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv and install mergegate with all extras, in the tested versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; make PYTHON=python3.12 ... names another one." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[quantize,test]'
	@touch $@

demo: install ## build the Harbor family, refuse one merge, release another, rehearse the way back
	@$(BIN)/python -m examples.harbor.demo

test: install ## every test, end-to-end ones included
	@$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder  # the end-to-end module first

check: install ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: install ## rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what was built; keeps .venv and the MLflow database
	rm -rf build .mergegate examples/harbor/models examples/harbor/data
