# The commands of the project. Nothing but Python (3.11 to 3.13) has to be there beforehand.
#
#   make demo         every notebook on the embedded model, small settings -> runs/demo/index.html
#   make test         lint, types, tests
#   make browser      the studio in Chromium, by JupyterLab and by Voila -> runs/browser/*.png
#   make notebooks    re-execute notebooks/ with their default parameters and store the outputs
#   make test-colab   the demo and the quick tests at the versions that Colab has
#   make test-latest  the same at the latest versions of everything
#   make bench        how long the embedded model takes here
#   make sdxl-size    every public function at SDXL's full size, with random weights: half an hour,
#                     20 GB of disk in runs/sdxl_size, 23 GB of main memory
#   make clean        remove what these commands made, .venv included
#
# Another Python: `make demo PYTHON=python3.12`.
#
# test-colab and test-latest want torch's CPU build: on Linux, TORCH_INDEX=... the index that
# pytorch.org names for it, and COLAB_TORCH=2.11.0+cpu. Another version or Python does as well:
# `make test-colab COLAB_PYTHON=python3.11 COLAB_TORCH=2.13.0`.

PYTHON ?= python3
COLAB_PYTHON ?= python3.13
COLAB_TORCH ?= 2.11.0
TORCH_INDEX ?=
LATEST_TORCH ?= torch
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := .venv/ready

.PHONY: demo test test-colab test-latest browser notebooks bench sdxl-size clean

demo: $(READY)
	@$(BIN)/portraitlib demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

test-colab: .venv-colab/ready
	COLAB_INSTALL=1 .venv-colab/bin/python -m pytest -q tests/test_colab.py
	.venv-colab/bin/portraitlib demo --output runs/demo-colab
	.venv-colab/bin/python -m pytest -q -m "not slow"

test-latest: .venv-latest/ready
	.venv-latest/bin/portraitlib demo --output runs/demo-latest
	.venv-latest/bin/python -m pytest -q -m "not slow"

browser: $(READY)
	$(BIN)/python -m pytest -q tests/browser

notebooks: $(READY)
	@$(BIN)/python notebooks/refresh.py

bench: $(READY)
	@$(BIN)/python benchmarks/speed.py

sdxl-size: $(READY)
	@$(BIN)/python -m benchmarks.sdxl_size

clean:
	rm -rf .venv .venv-colab .venv-latest runs/demo runs/demo-colab runs/demo-latest runs/browser runs/sdxl_size runs/cache runs/class_images runs/bench.json build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find portraitlib tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# Done once, and again when what it installs has changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) \
	else "portraitlib needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: try make PYTHON=python3.12" % v)'
	@$(PYTHON) -m venv .venv || { echo "No virtual environment could be made:" \
	"on Debian or Ubuntu, apt install python3-venv first." >&2; exit 1; }
	@echo "Installing into .venv, once; this takes some minutes (PyTorch is most of it)."
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@$(call PROBE_OPENCV,$(BIN),-c constraints.txt)
	@touch $@

# What Colab has, then what a notebook's first cell adds, papermill and what the tests need.
.venv-colab/ready: pyproject.toml constraints-colab.txt
	@$(COLAB_PYTHON) -m venv .venv-colab
	@grep -v '^torch==' constraints-colab.txt > .venv-colab/constraints.txt
	@.venv-colab/bin/python -m pip install --quiet --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "torch==$(COLAB_TORCH)"
	@.venv-colab/bin/python -m pip install --quiet -c .venv-colab/constraints.txt -e ".[photos,training,widgets]" \
	papermill ipykernel nbformat pytest hypothesis scikit-image sd-parsers
	@$(call PROBE_OPENCV,.venv-colab/bin,-c .venv-colab/constraints.txt)
	@touch $@

.venv-latest/ready: pyproject.toml
	@$(PYTHON) -m venv .venv-latest
	@.venv-latest/bin/python -m pip install --quiet --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(LATEST_TORCH)"
	@.venv-latest/bin/python -m pip install --quiet -e ".[dev]"
	@$(call PROBE_OPENCV,.venv-latest/bin,)
	@touch $@

# opencv-python needs the system's libGL, which bare containers lack; its headless twin does not.
define PROBE_OPENCV
trouble=$$($(1)/python -c 'import cv2' 2>&1) || case "$$trouble" in \
*"shared object file"*|*libGL*) \
  version=$$($(1)/python -c 'from importlib.metadata import version; print(version("opencv-python"))'); \
  echo "opencv-python cannot load the system's libGL: opencv-python-headless $$version takes its place."; \
  $(1)/python -m pip uninstall -qq --yes opencv-python opencv-python-headless; \
  $(1)/python -m pip install --quiet $(2) "opencv-python-headless==$$version";; \
*) echo "$$trouble" >&2; exit 1;; esac
endef
