# Two front doors: `make demo` and `make test`. Both need Python 3.11, git and make, nothing else.
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check clean setup
setup:
	@scripts/setup $(VENV)

demo: setup          ## the whole loop on the sample company, then a running chat service
	@$(BIN)/alchemy demo

test: setup          ## every test: unit, ray, services, e2e
	@scripts/test $(VENV)

check: setup         ## lint, format, types, import layers
	@scripts/check $(VENV)

clean: setup         ## stop what runs here; remove the environment, data and caches
	-@$(BIN)/alchemy down
	rm -rf $(VENV) data build dist reports .pytest_cache .ruff_cache .hypothesis .import_linter_cache
