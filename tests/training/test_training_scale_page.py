"""docs/scale.md: its table has every option and its default; examples hold what they promise."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from sadm.cli.options import take
from sadm.training.config import load_train_config
from sadm.training.parallel_config import ParallelConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_every_option_is_on_the_page_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `--parallel\.([\w-]+)` \| (.*?) \|", PAGE, flags=re.MULTILINE))
    defaults = {name: str(field.default) for name, field in ParallelConfig.model_fields.items()}
    in_the_text = {"strategy": "ddp", "shard": "0"}
    assert {**rows, **in_the_text} == defaults
    for strategy in ("ddp", "fsdp", "hybrid"):
        assert f"| `{strategy}` |" in PAGE


def test_the_commands_are_configurations() -> None:
    commands = re.findall(r"^(?:torchrun --nproc-per-node \d -m )?sadm train (.*)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        (recipe, out), rest = take(command.split(), "recipe", "out")
        assert out is not None
        values = dict(zip(rest[::2], rest[1::2], strict=False))
        change = {name.removeprefix("--parallel."): value for name, value in values.items()}
        if "--parallel.exact" in rest:
            change = {"accumulate": int(change["accumulate"]), "exact": True}
        config = load_train_config(recipe, overrides={"parallel": change})
        assert config.parallel != ParallelConfig() or not rest


def test_the_examples_can_be_read() -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / "examples" / "slurm.sh")], check=True).returncode == 0
    job = yaml.safe_load((ROOT / "examples" / "pytorchjob.yaml").read_text())
    pod = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert command[:4] == ["torchrun", "--nproc-per-node=8", "-m", "sadm"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 8
    arguments = {word.partition("=")[0]: word.partition("=")[2] for word in command[5:]}
    load_train_config(arguments["--recipe"])
    mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert any(arguments["--out"].startswith(f"{mount}/") for mount in mounts)
