# make tour      the whole story, from an emulated arm to a report, with no robot
# make test      lint, tests, every lesson quickly in both lanes that need no arm (what a contributor runs)
# make lab       the lessons, in JupyterLab
# make check     test, slow tests, the widgets in a browser (with Chromium), every lesson in full (what .ci/run runs)
# make notebook N=00    one lesson, run into a page under outputs/notebooks
# make install   only .venv
# make clean     removes .venv and caches; outputs/ stays: your datasets and policies are in it
#
# Each makes .venv when it is not there. Without make: python3 -m scripts.run tour (README has the table).
# PYTHON=python3.12 picks the Python, TORCH_INDEX=https://download.pytorch.org/whl/cpu PyTorch's index.

PYTHON ?= python3

TARGETS := install tour test check lab notebook clean
.PHONY: $(TARGETS)
.DEFAULT_GOAL := install

$(TARGETS):
	@command -v $(PYTHON) >/dev/null || { echo "smolkit: $(PYTHON) is missing: $$([ "$$(id -u 2>/dev/null)" = 0 ] || echo "sudo ")apt-get install -y python3 python3-venv (macOS: brew install python@3.12)"; exit 1; }
	@$(PYTHON) -m scripts.run $@
