"""Models as ONNX files: run in onnxruntime, they do what torch does."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sadm.cli.main import USER_ERROR, run
from sadm.core.conditions import AttributeScale, Cond
from sadm.core.errors import UserError
from sadm.core.files import sha256_of_file
from sadm.core.seeds import noise_per_image
from sadm.data.told import PICTURES
from sadm.diffusion import image_seeds
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.deployment import export_onnx, onnx_files
from sadm.training.model_folder import load_model, save_model
from sadm.training.net_config import UNetConfig
from sadm.training.spec import ModelSpec
from sadm.training.telling import condition_of

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DIT = NetConfig(patch=4, width=16, depth=1, heads=2)
CLASSES = ("bolt", "nut", "washer")


def saved(folder: Path, spec: ModelSpec, sampling: SamplingConfig, autoencoder: str | None = None) -> str:
    """A model folder with weights that do something."""
    net, draws = spec.build().net, torch.Generator().manual_seed(0)
    weights = {name: 0.2 * torch.randn(value.shape, generator=draws) for name, value in net.state_dict().items()}
    weights |= {name: value for name, value in net.state_dict().items() if name == "pos_embed"}
    facts: dict[str, Any] = {"data": {"fingerprint": "f" * 64}, "latents": autoencoder is not None}
    save_model(folder, spec, weights, sampling, facts, autoencoder)
    return str(folder)


def opened(file: Path) -> Any:
    return ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[list[str]], str]]:
    """A folder with the run that docs/airgapped.md speaks of, where we are; the page's commands of `sadm`, and its Python."""
    folder = tmp_path_factory.mktemp("page")
    spec = ModelSpec((1, 8, 8), DIT, 0.5, tuple("0123456789"), (1,) * 10)
    saved(folder / "runs" / "digits", spec, SamplingConfig(steps=9, guidance_high=5.0))
    text = (Path(__file__).parents[2] / "docs" / "airgapped.md").read_text("utf-8")
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL)
    lines = [shlex.split(line) for language, block in blocks if not language for line in block.splitlines()]
    (script,) = [block for language, block in blocks if language == "python"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder, lines, script


@pytest.fixture(scope="module")
def sampler(page: tuple[Path, list[list[str]], str]) -> tuple[str, Path]:
    """A model of classes, and its guided sampler as a file."""
    folder, (_, (_, *arguments)), _ = page
    assert run(arguments) == 0
    return str(folder / "runs" / "digits"), folder / "digits-sampler.onnx"


def test_the_code_of_the_page_draws(sampler: tuple[str, Path], page: tuple[Path, list[list[str]], str]) -> None:
    names: dict[str, Any] = {}
    exec(page[2], names)  # noqa: S102 - the page's own
    assert names["images"].shape == (4, 1, 8, 8)
    assert abs(names["images"]).max() <= 1


def test_a_network_behind_the_contract(page: tuple[Path, list[list[str]], str]) -> None:
    folder, ((_, *arguments), _), _ = page
    assert run(arguments) == 0
    model, session = load_model(folder / "runs" / "digits"), opened(folder / "digits.onnx")
    draws = torch.Generator().manual_seed(2)
    for count in (1, 2, 7):
        x_t, sigma = torch.randn(count, 1, 8, 8, generator=draws), torch.rand(count, generator=draws) * 5 + 0.01
        label = torch.randint(0, 11, (count,), generator=draws)  # 10 is the null class
        (found,) = session.run(None, {"x_t": x_t.numpy(), "sigma": sigma.numpy(), "label": label.numpy()})
        with torch.no_grad():
            wanted = model.denoiser(x_t, sigma, Cond(label=label))
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


def test_a_sampler_draws_the_images_that_the_model_draws(sampler: tuple[str, Path]) -> None:
    folder, file = sampler
    model, session = load_model(folder), opened(file)
    sampling = model.sampling.model_copy(update={"steps": 12, "guidance_scale": 2.0})
    for count in (1, 5):
        labels = 10 - torch.arange(count)  # 10 is the null class
        noise = noise_per_image(image_seeds(7, count), (1, 8, 8))
        (found,) = session.run(None, {"noise": noise.numpy(), "label": labels.numpy()})
        wanted = model.sample(count, 7, labels, sampling)
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


def test_what_is_known_stands_beside_the_file_and_in_it(sampler: tuple[str, Path]) -> None:
    folder, file = sampler
    facts = json.loads(Path(f"{file}.json").read_text("utf-8"))
    assert (facts["holds"], facts["class_names"], facts["null_label"]) == ("sampler", list("0123456789"), 10)
    assert facts["model"] == load_model(folder).hash
    assert facts["data"] == "f" * 64
    assert 0 <= facts["largest_difference"] <= facts["tolerance"] == 1e-3
    assert (facts["sampling"]["steps"], facts["sampling"]["guidance_scale"]) == (12, 2.0)
    assert facts["sha256"] == {"digits-sampler.onnx": sha256_of_file(file)}
    stored = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
    assert stored["sadm.model"] == facts["model"]
    assert float(stored["sadm.largest_difference"]) == facts["largest_difference"]
    assert json.loads(stored["sadm.sampling"]) == facts["sampling"]
    onnx.checker.check_model(str(file), full_check=True)


def test_a_file_tells_nothing_of_the_machine_that_wrote_it(sampler: tuple[str, Path]) -> None:
    content = sampler[1].read_bytes()
    assert b".py" not in content
    assert b"/site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_a_unet_behind_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    sizes = UNetConfig(channels=(8, 8), layers=1, attention=(), groups=4, head_width=4)
    spec = ModelSpec(
        (1, 8, 8), NetConfig(kind="unet", unet=sizes), 0.5, (), (), DenoiserConfig(kind="vp", timesteps=50)
    )
    model = load_model(saved(tmp_path / "model", spec, SamplingConfig()))
    facts = export_onnx(model, tmp_path / "out" / "net.onnx")
    assert facts["null_label"] is None
    session, draws = opened(tmp_path / "out" / "net.onnx"), torch.Generator().manual_seed(1)
    assert [(one.name, one.shape[1:]) for one in session.get_inputs()] == [("x_t", [1, 8, 8]), ("sigma", [])]
    for count in (1, 2, 5):
        x_t, sigma = torch.randn(count, 1, 8, 8, generator=draws), torch.rand(count, generator=draws) * 0.2 + 0.05
        (found,) = session.run(None, {"x_t": x_t.numpy(), "sigma": sigma.numpy()})
        with torch.no_grad():
            wanted = model.denoiser(x_t, sigma, Cond())
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


def test_latents_are_decoded_in_the_file(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    )
    autoencoder.save_pretrained(tmp_path / "vae")
    spec = ModelSpec((4, 8, 8), DIT, 0.5, CLASSES, (1, 1, 1), DenoiserConfig(kind="flow"))
    sampling = SamplingConfig(solver="dpmpp_2m", steps=3)
    model = load_model(saved(tmp_path / "model", spec, sampling, str(tmp_path / "vae")))
    export_onnx(model, tmp_path / "sampler.onnx", sampling)
    session, labels = opened(tmp_path / "sampler.onnx"), torch.tensor([2, 0, 1])
    assert session.get_outputs()[0].shape[1:] == [3, 16, 16]
    noise = noise_per_image(image_seeds(0, 3), (4, 8, 8))
    (found,) = session.run(None, {"noise": noise.numpy(), "label": labels.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model.sample(3, 0, labels), rtol=1e-3, atol=1e-4)


def test_what_the_network_is_told_are_inputs_in_the_units_of_people(tmp_path: Path) -> None:
    scales = (AttributeScale("severity", 0.4, 0.2), AttributeScale("angle", 90.0, 30.0))
    spec = ModelSpec((1, 8, 8), DIT, 0.5, CLASSES, (1, 1, 1), attributes=scales, pictures=PICTURES, centred=True)
    model = load_model(saved(tmp_path / "model", spec, SamplingConfig(steps=4)))
    draws = torch.Generator().manual_seed(3)
    values = torch.tensor([[0.8, 45.0], [torch.nan, 120.0], [0.1, torch.nan]])
    masks = (torch.rand(3, 1, 8, 8, generator=draws) < 0.3).to(torch.uint8) * 255
    damaged = torch.rand(3, 1, 8, 8, generator=draws) * 2 - 1
    labels = torch.tensor([2, 0, 3])  # 3 is the null class
    given = {
        "label": labels.numpy(),
        "attributes": values.numpy(),
        "masks": torch.where(masks > 0, 1.0, -1.0).numpy(),
        "damage": damaged.numpy(),
    }
    told = condition_of(spec, values, masks, damaged)
    facts = export_onnx(model, tmp_path / "net.onnx")
    assert (facts["attributes"], facts["pictures"]) == (["severity", "angle"], ["masks", "damage"])
    x_t, sigma = torch.randn(3, 1, 8, 8, generator=draws), torch.tensor([0.05, 0.7, 20.0])
    (found,) = opened(tmp_path / "net.onnx").run(None, {"x_t": x_t.numpy(), "sigma": sigma.numpy(), **given})
    with torch.no_grad():
        wanted = model.denoiser(x_t, sigma, dataclasses.replace(told, label=labels))
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)
    sampling = SamplingConfig(steps=4, guidance_scale=1.5)
    export_onnx(model, tmp_path / "sampler.onnx", sampling)
    session, noise = opened(tmp_path / "sampler.onnx"), noise_per_image(image_seeds(5, 3), (1, 8, 8))
    assert [one.name for one in session.get_inputs()] == ["noise", *given]
    (found,) = session.run(None, {"noise": noise.numpy(), **given})
    torch.testing.assert_close(
        torch.from_numpy(found), model.sample(3, 5, labels, sampling, told=told), rtol=1e-4, atol=1e-4
    )
    unknown = {name: value * 0 if name in PICTURES else value for name, value in given.items()}
    unknown["attributes"] = values.numpy() * float("nan")
    (found,) = session.run(None, {"noise": noise.numpy(), **unknown})
    torch.testing.assert_close(torch.from_numpy(found), model.sample(3, 5, labels, sampling), rtol=1e-4, atol=1e-4)


def test_a_graph_that_is_not_the_model_is_refused(
    sampler: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, proto = load_model(sampler[0]), onnx.load(str(sampler[1]))
    sampling = model.sampling.model_copy(update={"steps": 12, "guidance_scale": 2.0})
    monkeypatch.setattr(onnx_files, "_sampler", lambda *_: proto)
    (tmp_path / "a.onnx").write_text("what was there")
    with pytest.raises(UserError, match=r"differs from torch by .* expected at most 0\. Nothing was written"):
        export_onnx(model, tmp_path / "a.onnx", sampling, tolerance=0.0)
    weight = next(one for one in proto.graph.initializer if one.name.endswith("final_layer.linear.weight"))
    weight.raw_data = (torch.frombuffer(bytearray(weight.raw_data), dtype=torch.float32) * 1.01).numpy().tobytes()
    with pytest.raises(UserError, match=r"differs from torch by .* expected at most 0\.001"):
        export_onnx(model, tmp_path / "a.onnx", sampling)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.onnx": "what was there"}


def test_what_cannot_be_written_is_said_before_anything_is_recorded(
    sampler: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = sampler[0], str(tmp_path / "a.onnx")

    def complaint(*arguments: str) -> str:
        assert run(["export", model, *arguments]) == USER_ERROR
        return capsys.readouterr().err

    assert "holds a model, not images" in complaint("--out", out)
    assert "fresh noise" in complaint("--to", "onnx-sampler", "--out", out, "--solver", "ddpm")
    assert "fresh noise" in complaint("--to", "onnx-sampler", "--out", out, "--solver", "ddim", "--eta", "0.5")
    assert "--steps are for --to onnx-sampler alone" in complaint("--to", "onnx", "--out", out, "--steps", "3")
    assert "--count are for images" in complaint("--to", "onnx", "--out", out, "--count", "3")
    assert "ends in .onnx" in complaint("--to", "onnx", "--out", str(tmp_path / "folder"))
    assert "draws images of 8x8 pixels alone" in complaint("--to", "onnx", "--out", out, "--size", "16x16")
    assert "--process.kind vp" in complaint("--to", "diffusers", "--out", str(tmp_path / "pipeline"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install 'sadm-diffusion[onnx]'" in complaint("--to", "onnx", "--out", out)
    assert not list(tmp_path.iterdir())
