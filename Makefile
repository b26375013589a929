# Two commands for a fresh machine: `make demo` and `make test`. They need python >= 3.10 with venv, and make.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check faults studio-test wheel-test test-reference benchmark-metrics fashion-mnist fuzz audit clean-demo

demo: .venv/demo.stamp
	$(BIN)/sadm compare --recipe digits --out runs/demo --structure-metric --audit

test: .venv/dev.stamp
	$(BIN)/pytest -n 2

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! $(BIN)/pip list 2>/dev/null | grep -qi '^torchvision ' || { echo "torchvision must not be installed (see pyproject.toml)"; exit 1; }

# Fashion-MNIST, which some tests and benchmarks use; without it they are skipped with this reason.
fashion-mnist:
	@test -d /usr/share/datasets/fashion-mnist || { apt-get update -q && apt-get install -y -q dataset-fashion-mnist; } >/dev/null 2>&1 \
	  || { echo "Fashion-MNIST is not there: needs root and Debian's package dataset-fashion-mnist"; exit 1; }

# Kills, full disks, damaged files, jumping clocks, NaN, a long training: prints counts, and stores them in benchmarks/results.
# Within the hour on an idle core; the same command goes on after a stop.
faults: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults --run

# The studio in a real browser, in an environment of its own that sees the packages of .venv.
studio-test: .venv-studio/stamp
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -y -q chromium; } >/dev/null 2>&1 \
	  || { echo "NOT TESTED: needs Debian's package chromium, which can't be installed here"; exit 1; }
	SADM_BROWSER_TESTS=1 .venv-studio/bin/python -m pytest tests/browser

.venv-studio/stamp: .venv/dev.stamp pyproject.toml constraints.txt
	rm -rf .venv-studio && $(BIN)/python -m venv .venv-studio
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' >"$$(echo .venv-studio/lib/python3*/site-packages)/dependencies.pth"
	.venv-studio/bin/pip install -q -c constraints.txt 'gradio>=6.31,<7' 'playwright>=1.49,<2' 'pytest-playwright>=0.6,<1' 'axe-playwright-python>=0.1.7,<1'
	@touch $@

# The built wheel, alone in an environment of its own, outside the repository.
wheel-test: .venv/dev.stamp
	rm -rf build/wheel && $(BIN)/python -m build --wheel --outdir build/wheel . >/dev/null
	tests/wheel_trains.sh build/wheel/*.whl

# Metrics and feature spaces against public packages, some of which pull torchvision, in an environment of its own: it sees the
# packages of .venv, and holds those alone that are missing there.
test-reference: .venv-reference/stamp
	.venv-reference/bin/pip list 2>/dev/null | grep -iE '^(numpy|prdc|scipy|timm|torch|torch[-_]fidelity|torchmetrics|torchvision|transformers) '
	.venv-reference/bin/python -m pytest tests/reference

benchmark-metrics: .venv-reference/stamp
	.venv-reference/bin/python -m benchmarks.metrics --run

# Forged files for every reader: what is stored is not run again (docs/security.md).
fuzz: .venv/dev.stamp
	$(BIN)/python -m benchmarks.fuzz --run
	$(BIN)/python -m benchmarks.fuzz --summary

# Known vulnerabilities of the packages in .venv, asked of PyPI by pip-audit, which has an environment of its own.
audit: .venv/dev.stamp
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install -q pip-audit; } \
	  || { echo "NOT AUDITED: pip-audit cannot be installed; is there a network?"; exit 1; }
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' >.venv-audit/packages.txt
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps --requirement .venv-audit/packages.txt \
	  || { echo "FOUND, OR NOT AUDITED: see above (without a network, or through a mirror, no vulnerabilities are known)"; exit 1; }

.venv-reference/stamp: .venv/dev.stamp constraints.txt constraints-reference.txt
	rm -rf .venv-reference && $(BIN)/python -m venv .venv-reference
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' >"$$(echo .venv-reference/lib/python3*/site-packages)/dependencies.pth"
	.venv-reference/bin/pip install -q -c constraints.txt -c constraints-reference.txt torch-fidelity torchmetrics prdc torchvision timm transformers
	@touch $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("python >= 3.10 is needed, this is " + sys.version) if sys.version_info < (3, 10) else 0'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

clean-demo:
	rm -rf runs/demo
