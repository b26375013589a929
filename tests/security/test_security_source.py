"""What the package's own code never does, found by reading it; ruff's S rules find more of the kind."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(path for folder in ("sadm", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))

UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
BANNED = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__"), "runs text as code"),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput"), "starts a shell"),
    **dict.fromkeys(("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"), "constructs objects"),
    **dict.fromkeys(("tempfile.mktemp", "os.tempnam"), "a name that another process may take first"),
    **dict.fromkeys(("socket.socket", "socket.create_server", "asyncio.start_server"), "may listen"),
    **dict.fromkeys(("shutil.unpack_archive",), "may write outside of the folder"),
    **dict.fromkeys(("np.fromfile", "numpy.fromfile"), "checks nothing"),
    **dict.fromkeys(("FileSystemReader", "dcp.FileSystemReader"), "unpickles .metadata of sharded checkpoints"),
}
METHODS = {
    **dict.fromkeys(("extract", "extractall"), "may write outside of the folder"),
    **dict.fromkeys(("listen", "start_server", "serve_forever", "launch"), "listens"),
}
KEYWORDS = {"trust_remote_code": "runs code of the hub", "shell": "starts a shell", "allow_pickle": "unpickles"}
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "dcp.load": ("storage_reader", "dcp.HuggingFaceStorageReader(str(folder))"),  # safetensors; torch's own unpickles
    "dcp.save": ("storage_writer", "dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)"),
}
STUDIO = ROOT / "sadm" / "studio"
OF_STUDIO = ("listens", "may listen", "imports pandas")
"""What the page in the browser may do and nothing else: docs/studio.md; pandas there holds a curve, and reads no file."""
LISTENING = {"http.server", "socketserver", "asyncio", "gradio", "flask", "fastapi", "uvicorn", "xmlrpc.server"}


def problems(text: str) -> Iterator[str]:
    """What the code of one file does that it should not."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in UNPICKLING)
            yield from (f"{node.lineno}: imports {name}, which listens" for name in names if name in LISTENING)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if reason := BANNED.get(name) or METHODS.get(name.rpartition(".")[2] if "." in name else ""):
            yield f"{node.lineno}: {name} {reason}"
        yield from (
            f"{node.lineno}: {key} {why}"
            for key, why in KEYWORDS.items()
            if given.get(key, "False") not in ("False", "None")
        )
        key, value = NEEDED.get(name, ("", None))
        if key and given.get(key) != str(value):
            yield f"{node.lineno}: {name} without {key}={value}"


@pytest.mark.parametrize("folder", ["sadm", "benchmarks", "examples"])
def test_nothing_unpickles_runs_text_starts_a_shell_or_listens(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in CODE
        if path.is_relative_to(ROOT / folder)
        for problem in problems(path.read_text("utf-8"))
        if not (path.is_relative_to(STUDIO) and problem.endswith(OF_STUDIO))
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import pandas as pd",
        "eval(x)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(t)",
        "subprocess.run(c, shell=True)",
        "datasets.load_dataset(n, trust_remote_code=True)",
        "archive.extractall(p)",
        "socket.create_server(a)",
        "import http.server",
        "page.launch()",
        "dcp.load(state)",
        "dcp.load(state, storage_reader=dcp.FileSystemReader(p))",
        "dcp.save(state)",
    ],
)
def test_each_of_these_would_be_found(text: str) -> None:
    assert list(problems(text))


def test_the_rules_of_ruff_are_on_and_nothing_about_unpickling_is_let_pass() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert {rule for rule in lint["ignore"] if rule.startswith("S3")} == {"S311"}  # random numbers that are no secrets
    assert {rule for rules in lint["per-file-ignores"].values() for rule in rules} & {
        "S301",
        "S302",
        "S307",
        "S506",
    } == set()
    passed = {rule for path in CODE for rule in re.findall(r"noqa: [^#\n]*?\b(S\d+)", path.read_text("utf-8"))}
    # Narrowing for the type checker, XML in which declarations were refused, our own processes, our own SVG.
    assert passed <= {"S101", "S314", "S603", "S704"}


def test_asserts_only_narrow_types() -> None:
    """An assert is gone under python -O: it may tell the type checker something, never a user."""
    told = [
        f"{path.name}:{node.lineno}"
        for path in CODE
        if path.is_relative_to(ROOT / "sadm")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assert) and node.msg is not None
    ]
    assert not told
