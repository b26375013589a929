"""`benchmarks.muon`: what is timed, its errors, and its page."""

from __future__ import annotations

import pytest
import torch

from benchmarks import common, muon
from sadm.models.dit import DiT
from sadm.training.config import OptimiserConfig
from sadm.training.optimisers import block_matrices, build_optimiser


def test_the_matrices_are_those_of_a_transformer_and_the_settings_those_of_a_training() -> None:
    net = DiT((1, 8, 8), width=32, depth=2, heads=2)
    expected = sorted(tuple(matrix.shape) for matrix in block_matrices(net))
    for optimiser in muon.optimisers_for(32, 2).values():
        assert sorted(tuple(matrix.shape) for group in optimiser.param_groups for matrix in group["params"]) == expected
    ours = build_optimiser(net, OptimiserConfig(kind="muon", learning_rate=1e-3)).parts["muon"]
    timed = muon.optimisers_for(32, 2)[muon.OURS]
    assert type(ours) is type(timed)
    assert {**ours.param_groups[0], "params": []} == {**timed.param_groups[0], "params": []}


def test_errors_are_relative_and_those_of_torch_are_of_bfloat16() -> None:
    found = muon.errors(32)
    assert 0 < found[muon.OURS] < 1e-3
    assert 3e-3 < found[muon.TORCHS] < 0.1


def test_the_result_is_a_page(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    assert muon.section() is None
    monkeypatch.setattr(muon, "SIZES", {"small": (16, 3)})
    found = muon.measure(quick=True)
    assert found["sizes"]["small"]["blocks"] == 2
    assert set(found["sizes"]["small"]["milliseconds"]) == {muon.OURS, muon.TORCHS, muon.ADAMW}
    common.store(muon.NAME, "result", found)
    row = next(line for line in muon.section().splitlines() if line.startswith("| small"))
    assert row.count("|") == 9
    assert f"{found['sizes']['small']['torch_over_ours']:.2f}" in row


@pytest.fixture(autouse=True)
def threads() -> None:
    """As many as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
