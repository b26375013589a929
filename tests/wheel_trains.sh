#!/usr/bin/env bash
# Installs a built wheel outside the repository and trains with a packaged recipe. usage: wheel_trains.sh WHEEL
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# The dependencies are those of the repository's environment; the package itself comes from the wheel alone.
"$repository/.venv/bin/python" -m venv venv
"$repository/.venv/bin/python" -c 'import site; print(site.getsitepackages()[0])' >"$(echo venv/lib/python3*/site-packages)/dependencies.pth"
venv/bin/pip install -q --no-deps --force-reinstall "$wheel"
venv/bin/python - <<PYTHON
import pathlib, sadm
assert "$work" in str(pathlib.Path(sadm.__file__)), f"sadm is imported from {sadm.__file__}, not from the wheel"
PYTHON
venv/bin/sadm train --recipe digits --out run --optimiser.steps 4 --structure.encoder-steps 4
venv/bin/sadm sample run --count 4
test -f run/generated/grid.png
echo "the wheel trains and samples"
