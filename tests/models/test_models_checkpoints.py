"""Checkpoints with the names of facebookresearch/DiT: what is computed, what is inferred, what is refused."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.models import DiT, dit_by_name
from sadm.models.positions import are_sincos
from sadm.models.weights import load_dit_checkpoint
from weights_setup import batch, filled, published_forward, small


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert float(expected.abs().max()) > 0.02  # two zero functions would agree
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# ---- what is computed ------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("variance", [True, False])
def test_a_checkpoint_computes_what_the_paper_says(tmp_path: Path, variance: bool) -> None:
    weights = small(out_channels=8 if variance else 4).state_dict()
    net, report, facts = load_dit_checkpoint(saved(tmp_path / "dit.pt", weights))
    x, t, y = batch(facts.shape, facts.num_classes)
    close(net(x, t, Cond(label=y)), published_forward(weights, 6, x, t, y))
    assert not net.training
    assert {entry.name for entry in report.loaded} == set(weights)
    assert (report.reinitialised, report.ignored) == ((), ())


@torch.no_grad()
def test_the_published_forward_pass_at_s_2(tmp_path: Path) -> None:
    weights = filled(dit_by_name("DiT-S/2", (4, 32, 32), 1000, out_channels=8)).state_dict()
    net, _, facts = load_dit_checkpoint(saved(tmp_path / "dit.pt", weights), shape=(4, 32, 32), num_classes=1000)
    x, t, y = batch(facts.shape, 1000, count=2)
    close(net(x, t, Cond(label=y)), published_forward(weights, 6, x, t, y))


@torch.no_grad()
def test_the_variance_that_sit_never_uses_can_be_left_out(tmp_path: Path) -> None:
    weights = small(out_channels=8).state_dict()
    net, report, facts = load_dit_checkpoint(saved(tmp_path / "sit.pt", weights), keep_variance=False)
    assert facts.learned_variance
    x, t, y = batch(facts.shape, facts.num_classes)
    t = t / 1000  # SiT's time
    close(net(x, t, Cond(label=y)), published_forward(weights, 6, x, t, y)[:, :4])
    assert [entry.name for entry in report.ignored] == ["final_layer.linear.weight", "final_layer.linear.bias"]


@torch.no_grad()
def test_a_moving_average_is_preferred(tmp_path: Path) -> None:
    ema, model = small().state_dict(), small(out_channels=8).state_dict()
    args = argparse.Namespace(model="SiT-S/2", path_type="Linear", prediction="velocity", num_classes=5)
    content = {"model": {f"module.{k}": v for k, v in model.items()}, "ema": ema, "opt": {"state": {}}, "args": args}
    net, _, facts = load_dit_checkpoint(saved(tmp_path / "0000100.pt", content))
    assert facts.source == "ema"
    assert facts.training_args["prediction"] == "velocity"
    assert all(torch.equal(value, ema[name]) for name, value in net.state_dict().items())
    del content["ema"]
    net, _, facts = load_dit_checkpoint(saved(tmp_path / "0000100.pt", content))
    assert (facts.source, facts.learned_variance) == ("model", True)
    assert all(torch.equal(value, model[name]) for name, value in net.state_dict().items())


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in small().state_dict().items()}
    net, _, _ = load_dit_checkpoint(saved(tmp_path / "dit.pt", weights), shape=(4, 8, 8))
    for name, value in net.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, weights[name].float())


def test_a_compiled_network_and_safetensors(tmp_path: Path) -> None:
    weights = small().state_dict()
    save_file({f"module._orig_mod.{name}": value for name, value in weights.items()}, tmp_path / "dit.safetensors")
    net, _, facts = load_dit_checkpoint(tmp_path / "dit.safetensors")
    assert facts.source == "plain"
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


# ---- what is inferred ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [
        {"width": 384, "heads": 6, "depth": 3, "patch": 4, "shape": (3, 16, 16)},
        {"width": 768, "heads": 12, "depth": 1, "num_classes": 0},
        {"width": 1024, "heads": 16, "depth": 1, "mlp_ratio": 2.0, "out_channels": 8},
        {"width": 1152, "heads": 16, "depth": 1, "num_classes": 1, "shape": (1, 4, 4)},
    ],
)
def test_sizes_are_told_by_the_tensors(tmp_path: Path, sizes: dict) -> None:
    made = small(**sizes)
    net, _, facts = load_dit_checkpoint(saved(tmp_path / "dit.pt", made.state_dict()))
    assert (facts.width, facts.heads, facts.depth) == (sizes["width"], sizes["heads"], sizes["depth"])
    assert (facts.shape, facts.patch, facts.mlp_ratio) == (made.shape, made.patch, sizes.get("mlp_ratio", 4.0))
    assert facts.num_classes == sizes.get("num_classes", 5)
    assert (net.null_label, net.out_channels, net.noise_scale) == (made.null_label, made.out_channels, 1.0)


def test_heads_of_another_width_must_be_given(tmp_path: Path) -> None:
    path = saved(tmp_path / "dit.pt", DiT((4, 8, 8), width=48, depth=1, heads=3).state_dict())
    with pytest.raises(UserError, match=r"tokens of 48 channels.*\(384, 768, 1024, 1152\).*Give heads="):
        load_dit_checkpoint(path)
    for heads in (5, 0, -1):
        with pytest.raises(UserError, match=rf"can't be shared among {heads} heads. Give heads= a divisor of 48"):
            load_dit_checkpoint(path, heads=heads)
    assert load_dit_checkpoint(path, heads=3)[0].blocks[0].attn.heads == 3


def test_positions_that_are_missing_are_computed_and_reported(tmp_path: Path) -> None:
    weights = small().state_dict()
    positions = weights.pop("pos_embed")
    path = saved(tmp_path / "dit.pt", weights)
    with pytest.raises(UserError, match=r"no pos_embed.*Give shape="):
        load_dit_checkpoint(path)
    net, report, _ = load_dit_checkpoint(path, shape=(4, 8, 8))
    assert torch.equal(net.pos_embed, positions)
    assert str(report).splitlines()[1] == "re-initialised 1 tensor: pos_embed [1x16x384] (computed)"


def test_images_that_are_no_square(tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.pt", small(shape=(4, 4, 16)).state_dict())  # 2x8 patches, as many as 4x4
    assert load_dit_checkpoint(wide, shape=(4, 4, 16))[2].shape == (4, 4, 16)
    odd = saved(tmp_path / "odd.pt", small(shape=(4, 4, 6)).state_dict())
    with pytest.raises(UserError, match="6 positions, which make no square"):
        load_dit_checkpoint(odd)
    square = saved(tmp_path / "square.pt", small().state_dict())
    with pytest.raises(UserError, match=r"16 of them in an image; \[4, 4, 16\]"):
        load_dit_checkpoint(square, shape=(4, 4, 16))


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16], ids=str)
def test_computed_positions_are_known_in_half_precision_and_learned_ones_are_not_taken_for_them(
    tmp_path: Path, kept: torch.dtype
) -> None:
    weights = small(depth=1).state_dict()
    half = saved(tmp_path / "half.pt", {name: value.to(kept) for name, value in weights.items()})
    net, _, facts = load_dit_checkpoint(half)
    assert are_sincos(net.pos_embed, net.grid)
    assert facts.shape == (4, 8, 8)
    with pytest.raises(UserError, match=r"16 of them in an image; \[4, 4, 16\]"):
        load_dit_checkpoint(half, shape=(4, 4, 16))
    noise = torch.randn(weights["pos_embed"].shape, generator=torch.Generator().manual_seed(1))
    for learned in (0.02 * noise, weights["pos_embed"] + 0.01 * noise):
        other = saved(tmp_path / "learned.pt", {**weights, "pos_embed": learned.to(kept)})
        net, _, _ = load_dit_checkpoint(other, shape=(4, 4, 16))
        assert not are_sincos(net.pos_embed, (4, 4))


def test_the_report_is_readable(tmp_path: Path) -> None:
    weights = {**small().state_dict(), **{f"projectors.{i}.weight": torch.ones(2, 3) for i in range(8)}}
    path = saved(tmp_path / "repa.pt", weights)
    with pytest.raises(UserError, match=r"projectors.0.weight, projectors.1.weight, projectors.2.weight and 5 more"):
        load_dit_checkpoint(path)
    _, report, _ = load_dit_checkpoint(path, ignoring=["projectors."])
    lines = str(report).splitlines()
    values = sum(value.numel() for value in small().state_dict().values())
    assert lines[0] == f"loaded {len(weights) - 8} tensors with {values:,} values"
    assert lines[1] == "re-initialised 0 tensors"
    assert lines[2].startswith("ignored 8 tensors: projectors.0.weight [2x3], ")
    assert lines[2].endswith(" and 2 more")


# ---- what is refused -------------------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path: Path, archive: bool) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "evil.pt"
    content = {**small().state_dict(), "x": Malicious(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(UserError, match=r"evil.pt holds more than tensors: it asks for posix.system.*safetensors"):
        load_dit_checkpoint(path)
    assert not trace.exists()
    with path.open("rb") as file:  # the trap works: whoever runs it leaves the trace
        pickle.loads(pickle.dumps(content["x"]))  # noqa: S301
        assert file.read(1)
    assert trace.exists()


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "dit.pt", small().state_dict())
    whole = path.read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"dit.pt is cut short .*Download or copy it again"):
            load_dit_checkpoint(path)
    place = whole.index(b"PK\x06\x07")  # says how many files it is spread over
    path.write_bytes(whole[: place + 16] + (2).to_bytes(4, "little") + whole[place + 20 :])
    with pytest.raises(UserError, match=r"dit.pt is cut short .*Download or copy it again"):
        load_dit_checkpoint(path)
    old = tmp_path / "old.pt"
    torch.save(small().state_dict(), old, _use_new_zipfile_serialization=False)
    old.write_bytes(old.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"old.pt is damaged"):
        load_dit_checkpoint(old)
    tensors = tmp_path / "dit.safetensors"
    save_file(small().state_dict(), tensors)
    tensors.write_bytes(tensors.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"dit.safetensors is cut short or no safetensors file"):
        load_dit_checkpoint(tensors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2704\n", "git-lfs pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>Not found</html>", "text file that begins with '<!DOCTYPE html>.*a page instead"),
        ("größer 日本語 ".encode() * 100, "text file that begins with 'größer"),
        (bytes(range(256)) * 8, "is damaged or no file of torch.save"),
    ],
)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_files_that_hold_no_weights(tmp_path: Path, content: bytes, message: str, ending: str) -> None:
    path = tmp_path / f"dit.{ending}"
    path.write_bytes(content)
    if ending == "safetensors":
        message = message.replace("is damaged or no file of torch.save", "is cut short or no safetensors file")
    with pytest.raises(UserError, match=message):
        load_dit_checkpoint(path)


def test_no_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing.pt does not exist"):
        load_dit_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(UserError, match=r"is a folder; .*load_diffusers_dit"):
        load_dit_checkpoint(tmp_path)


def test_a_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    for content, message in (
        (torch.nn.Linear(2, 2).state_dict(), r"lacks x_embedder.proj.weight, .*It holds weight, bias\. Expected"),
        ({"ema": {"conv_in.weight": torch.ones(1)}}, "It holds conv_in.weight. Expected"),
        ({"epoch": 3}, "It holds epoch. Expected"),
        (torch.ones(2), "holds a Tensor; expected a state dict"),
        ({}, "It holds nothing. Expected"),
    ):
        with pytest.raises(UserError, match=message):
            load_dit_checkpoint(saved(tmp_path / "other.pt", content))


def test_a_checkpoint_that_lacks_or_has_odd_tensors(tmp_path: Path) -> None:
    weights = small().state_dict()
    del weights["blocks.1.attn.qkv.bias"]
    with pytest.raises(UserError, match=r"lacks tensors of this network: blocks.1.attn.qkv.bias\. Is it whole"):
        load_dit_checkpoint(saved(tmp_path / "dit.pt", weights))
    weights["blocks.1.attn.qkv.bias"] = torch.zeros(5)
    with pytest.raises(UserError, match=r"blocks.1.attn.qkv.bias in .* has the shape \(5,\); .* needs \(1152,\)"):
        load_dit_checkpoint(saved(tmp_path / "dit.pt", weights))
    weights = small(out_channels=3).state_dict()
    with pytest.raises(UserError, match=r"bias in .* has 12 values; patches of 2x2 in 4 channels need 16, or twice"):
        load_dit_checkpoint(saved(tmp_path / "dit.pt", weights))


def test_patches_that_are_projected_in_two_steps_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "bottleneck.pt", small(patch_bottleneck=16).state_dict())
    with pytest.raises(UserError, match=r"bottleneck\.pt projects its patches in two steps .* model folder"):
        load_dit_checkpoint(path)


def test_other_sizes_than_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "dit.pt", small().state_dict())
    for shape in [(4, 16, 16), (3, 8, 8), (4, 7, 8)]:
        with pytest.raises(UserError, match=rf"is for images of 4 channels .*; \[{shape[0]}, {shape[1]}, {shape[2]}\]"):
            load_dit_checkpoint(path, shape=shape)
    with pytest.raises(UserError, match=r"has 5 classes and the null class; 10 were asked for.*resize_class_table"):
        load_dit_checkpoint(path, num_classes=10)
    unconditional = saved(tmp_path / "plain.pt", small(num_classes=0).state_dict())
    with pytest.raises(UserError, match=r"has no classes; 10 were asked for. Load it with num_classes=0"):
        load_dit_checkpoint(unconditional, num_classes=10)
