"""What the command line says of values that a configuration refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sadm.cli.main import run

PLAIN = ["--recipe", "digits"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["train", *PLAIN, "--optimiser.steps", "-3"],
            "optimiser: 'steps': Input should be greater than 0 (given: -3)",
        ),
        (["train", *PLAIN, "--net.width", "101"], "net.width must be divisible by 4 and by net.heads (4), got 101"),
        (
            ["train", *PLAIN, "--net.kind", "unet", "--net.unet.groups", "5"],
            "net.unet.groups (5) must divide the channels of each level (net.unet.channels), got 32",
        ),
        (
            ["train", *PLAIN, "--structure.ratio", "3", "--structure.encoder-steps", "-4"],
            "'encoder_steps': Input should be greater than or equal to 0 (given: -4)",
        ),
        (
            ["compare", *PLAIN, "--train.optimiser.batch", "0"],
            "train.optimiser: 'batch': Input should be greater than 0 (given: 0)",
        ),
    ],
)
def test_a_refusal_is_in_our_own_words(arguments: list[str], expected: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as refused:
        run([*arguments, "--out", str(tmp_path / "run")])
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert refused.value.code == 2
    assert expected in said
    assert "pydantic" not in said
    assert "input_type" not in said
    assert not (tmp_path / "run").exists()
