# The two commands are `make serve` and `make test`; each makes the environment it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install serve dashboard test lint docs train bench load compare audit sbom licences clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on --constraint constraints.txt --editable '.[dashboard,dev,load,postgres,s3,tracing]'
	@touch $@

install: $(READY)  ## Make the environment in .venv

serve: $(READY)  ## Start the server on http://127.0.0.1:8000; DASHBOARD=1 starts the web dashboard too
	@$(if $(DASHBOARD),$(BIN)/dermserve-dashboard & trap "kill $$! 2>/dev/null" EXIT;,exec) $(BIN)/dermserve up

dashboard: $(READY)  ## Start the web dashboard on http://127.0.0.1:8501, beside a running server
	@exec $(BIN)/dermserve-dashboard

test: $(READY)  ## Run the tests
	@$(BIN)/python -m pytest

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## Write docs/cli.md from the commands' help
	@COLUMNS=80 $(BIN)/python -m typer cluster.cli utils docs --name dermserve --title dermserve \
		--output docs/cli.md

train: $(READY)  ## Train a model: make train DATA=folder/with/HAM10000
	$(BIN)/dermserve train --data $(DATA) $(if $(WEIGHTS),--weights $(WEIGHTS))

bench: $(READY)  ## Measure throughput and latency beside the bare limit
	$(BIN)/dermserve bench $(if $(IMAGES),--images $(IMAGES))

load: $(READY)  ## Let 10, 50, 100 and 300 Locust users load a running server
	@$(BIN)/python -m benchmarks.load_report $(if $(IMAGES),--images $(IMAGES))

compare: $(READY)  ## Measure beside Mosec, LitServe, BentoML, FastAPI, Ray Serve and Triton
	@$(BIN)/python -m benchmarks.compare $(if $(IMAGES),--images $(IMAGES))

$(VENV)/.audit: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[audit]'
	@touch $@

audit: $(VENV)/.audit  ## Look for known vulnerabilities of the pinned versions (asks a public service)
	@# --strict: a version that the service does not know is a failure, not a pass.
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

sbom: $(VENV)/.audit  ## List what is installed as CycloneDX in var/sbom.json
	@mkdir -p var
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file var/sbom.json $(BIN)/python

licences: $(VENV)/.audit  ## List the licences of what is installed
	@$(BIN)/pip-licenses --from=mixed --order=license

clean:  ## Remove the environment and what was written at run time
	rm -rf $(VENV) var
