# The commands of the project. Nothing but Python (3.11 to 3.13) has to be there beforehand.
#
#   make demo       every notebook on the embedded model, small settings -> runs/demo/index.html
#   make test       lint, types, tests
#   make browser    the studio in Chromium, by JupyterLab and by Voila -> runs/browser/*.png
#   make notebooks  re-execute notebooks/ with their default parameters and store the outputs
#   make bench      how long the embedded model takes here
#   make clean      remove what these commands made, .venv included
#
# Another Python: `make demo PYTHON=python3.12`.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test browser notebooks bench clean

demo: $(READY)
	@$(BIN)/portraitlib demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

browser: $(READY)
	$(BIN)/python -m pytest -q tests/browser

notebooks: $(READY)
	@$(BIN)/portraitlib notebooks

bench: $(READY)
	@$(BIN)/portraitlib bench

clean:
	rm -rf .venv runs/demo runs/browser runs/cache runs/class_images runs/bench.json build dist *.egg-info
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
	@$(PROBE_OPENCV)
	@touch $@

# opencv-python needs the system's libGL, which bare containers lack; its headless twin does not.
define PROBE_OPENCV
trouble=$$($(BIN)/python -c 'import cv2' 2>&1) || case "$$trouble" in \
*"shared object file"*|*libGL*) \
  version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))'); \
  echo "opencv-python cannot load the system's libGL: opencv-python-headless $$version takes its place."; \
  $(BIN)/python -m pip uninstall -qq --yes opencv-python opencv-python-headless; \
  $(BIN)/python -m pip install --quiet -c constraints.txt "opencv-python-headless==$$version";; \
*) echo "$$trouble" >&2; exit 1;; esac
endef
