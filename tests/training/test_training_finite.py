"""Nothing that is not finite is ever kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from sadm.core.errors import DivergedError
from sadm.training.checkpoint import latest_checkpoint
from sadm.training.finite import first_not_finite
from sadm.training.learner import Learner
from sadm.training.run import CHECKPOINTS, train
from tiny import equal_bits, tiny_config, tiny_images


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_tensor_is_named(bad: float) -> None:
    good = {"step": 3, "net": {"a": torch.ones(2, 2), "none": torch.ones(0), "count": torch.tensor(5)}}
    assert first_not_finite(good) is None
    assert first_not_finite({**good, "signals": [{}, {"w": torch.tensor([1.0, bad])}]}) == "signals/1/w"
    assert first_not_finite({"best": math.inf, "half": torch.tensor([1e4, bad], dtype=torch.bfloat16)}) == "half"


@pytest.mark.parametrize("part", ["net", "ema", "optimiser", "signals"])
def test_a_checkpoint_never_holds_nan(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, images = tiny_config(), tiny_images()
    train(config, tmp_path / "whole", images=images)
    advance = Learner.advance

    def poisoned(self: Learner) -> dict[str, torch.Tensor]:
        log = advance(self)
        if self.step == 12:  # just before a checkpoint
            tensors = {
                "net": list(self.denoiser.net.parameters()),
                "ema": list(self.ema.module.parameters()),
                "optimiser": [state["exp_avg_sq"] for state in self.optimiser.state.values()],
                "signals": list(self.signals[0].encoder.parameters()),
            }[part]
            tensors[0].data.view(-1)[0] = math.nan
        return log

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "advance", poisoned)
        with pytest.raises(DivergedError, match=rf"{part}.* holds NaN or infinite numbers after step 12"):
            train(config, tmp_path / "poisoned", images=images)
    state = latest_checkpoint(tmp_path / "poisoned" / CHECKPOINTS, pytest.fail)
    assert state is not None
    assert state["learner"]["step"] == 6
    assert first_not_finite(state) is None
    train(config, tmp_path / "poisoned", images=images)
    ends = [latest_checkpoint(tmp_path / name / CHECKPOINTS, pytest.fail) for name in ("whole", "poisoned")]
    assert equal_bits(*(end["learner"]["net"] for end in ends if end is not None))
