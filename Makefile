# `make demo` and `make test` do all set-up by themselves, in an environment that is made anew when the requirements change.
PYTHON ?= python3
KEY := $(shell cat requirements.txt requirements-dev.txt | cksum | cut -d' ' -f1)
VENV := .venv-$(KEY)
RUN := $(VENV)/bin/python

.PHONY: demo test lint types unit table bench help-docs clean

demo: $(VENV)/.ready
	$(RUN) examples/demo.py
	$(RUN) examples/demo_video.py

test: lint types unit

lint: $(VENV)/.ready
	$(RUN) -m ruff check .

types: $(VENV)/.ready
	$(RUN) -m mypy *.py utils network arcface_model coordinate_reg models examples benchmarks

unit: $(VENV)/.ready
	$(RUN) -m pytest -n 2

table: $(VENV)/.ready
	$(RUN) evaluate.py --openpeople studio --recogniser dlib --landmarker embedded --table docs/first_swap.md --out runs/first_swap

bench: $(VENV)/.ready
	$(RUN) benchmarks/video_memory.py

help-docs: $(VENV)/.ready
	$(RUN) -m utils.help_docs

clean:
	rm -rf .venv-* .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "Python 3.11 to 3.14 is needed; found: $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "The venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	rm -rf .venv-*
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(RUN) -c 'import cv2' 2>/dev/null || \
	  { echo "OpenCV cannot start: a system library is missing. On Debian or Ubuntu: sudo apt install libgl1 libglib2.0-0"; exit 1; }
	@touch $@
