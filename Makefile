# Everything runs from .venv, which the first target makes and nothing makes twice; LiteRT's converter has its own.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install litert demo bench test test-litert lint format

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# litert-torch wants older typing-extensions and pydantic than all the rest
litert: .venv-litert/installed

.venv-litert/installed: pyproject.toml constraints-litert.txt
	$(PYTHON) -m venv .venv-litert
	.venv-litert/bin/python -m pip install --disable-pip-version-check -c constraints-litert.txt -e '.[litert]' pytest
	@touch $@

TASK ?= classification
SET = $(or $(DEMO_$(TASK)),$(error TASK=$(TASK): expected classification, detection or segmentation))
DEMO_classification := fashion
DEMO_detection := fashion_boxes
DEMO_segmentation := fashion_masks

demo: install
	$(BIN)/python train.py data=$(SET)

bench: install
	$(BIN)/python -m dotcom.bench $(ARGS)

test: install
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --max-worker-restart=0

test-litert: litert
	.venv-litert/bin/python -m pytest tests/deploy/test_litert.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
