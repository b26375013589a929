"""``sadm inpaint``, ``sadm vary`` and ``sadm restore``: what stays, what is written and measured, interruptions, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.applications.filters import filters_for
from sadm.applications.inpainting import masks_from, write_inpainted
from sadm.applications.proposals import proposals_for
from sadm.applications.restoring import Injury, Restorer, damage, spread_of, write_restored
from sadm.applications.restoring_measured import MEAN, ONE, measure_restoring
from sadm.applications.variety import measure_variety
from sadm.applications.varying import Wish, parse_mix, write_between, write_variations
from sadm.cli.main import run
from sadm.core.conditions import Cond
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.grids import write_png
from sadm.core.marking import EDITED, read_mark
from sadm.data import ImageSet, load_split, to_floats
from sadm.diffusion import EDMDenoiser, VPDenoiser, VPSchedule
from sadm.training.model_folder import Model, load_model
from sadm.training.outputs import read_records

TINY = (
    "--data=digits --data.limit=40 --signal=none --net.patch=4 --net.width=8 --net.depth=1 --net.heads=1 --optimiser.steps=2 "
    "--optimiser.batch=4 --sampling.solver=heun --sampling.steps=3 --log.samples=0"
).split()
QUICK = ["--device", "cpu", "--limit", "3", "--proposals", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("editing") / "run"
    assert run(["train", "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return load_model(trained)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_split("digits", held_out=0.4).held_out.subset(torch.arange(3))


@pytest.fixture(scope="module")
def hole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = np.zeros((8, 8, 1), np.uint8)
    mask[2:5, 3:7] = 255
    path = tmp_path_factory.mktemp("mask") / "hole.png"
    write_png(path, mask)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def stopped_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sends this process a SIGINT when the second image of a folder is written."""
    from sadm.training.outputs import GeneratedImages

    written: list[int] = []
    add = GeneratedImages.add

    def added(self: GeneratedImages, *arguments: object, **options: object) -> Path:
        written.append(1)
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return add(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(GeneratedImages, "add", added)
    yield written
    monkeypatch.undo()


# ---- inpaint -----------------------------------------------------------------------------------------------------------


def test_inpainted_files_keep_every_pixel_outside_of_the_mask(trained: Path, hole: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled"
    arguments = ["inpaint", str(trained), "--images", "digits", "--mask", str(hole), "--out", str(out), *QUICK]
    assert run([*arguments, "--label", "3", "--guidance-scale", "1.5"]) == 0
    whole = load_split("digits", held_out=0.4)  # only for the class names
    first = _first_digits(3)
    outside = pixels(hole) == 0
    seen = []
    for row in range(3):
        for number in range(2):
            file = out / f"{row:06d}-{number:02d}.png"
            found = pixels(file)
            assert np.array_equal(found[outside], first[row][outside])
            seen.append(found[~outside])
            mark = read_mark(file)
            assert mark is not None
            assert (mark.source_type, mark.label, mark.tool) == (EDITED, whole.train.class_names[3], "sadm inpaint")
    assert len({values.tobytes() for values in seen}) == 6  # all differ
    assert pixels(out / "overview.png").shape[1] == 4 * 64 + 3 * 4
    record = read_records(out)["000001-01.png"]
    assert record["details"] == {"of": "digits/1", "proposal": 1, "share": 0.1875}
    assert record["seed"] == proposals_for(3, 2, 0)[3].seed


@pytest.mark.parametrize(
    "command", ["inpaint --mask box:0.5", "restore --damage noise --noise 0.1", "vary --strength 0.5"]
)
def test_one_image_is_enough(trained: Path, images: ImageSet, tmp_path: Path, command: str) -> None:
    mine = tmp_path / "in" / "mine.png"
    mine.parent.mkdir()
    write_png(mine, images.images[0].permute(1, 2, 0).numpy())
    name, *options = command.split()
    for source, out in ((mine, tmp_path / "file"), (mine.parent, tmp_path / "folder")):
        words = [name, str(trained), "--images", str(source), "--out", str(out), *options, "--proposals", "2"]
        assert run([*words, "--device", "cpu"]) == 0
        assert {record["details"]["of"] for record in read_records(out).values()} == {"mine.png"}


@pytest.mark.parametrize(
    "command",
    ["inpaint --mask box:0.5", "restore --damage noise --noise 0.1", "vary --strength 0.5", "vary --between 0 1"],
)
def test_guidance_that_has_no_class_to_guide_to_is_refused(
    trained: Path, images: ImageSet, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "in", tmp_path / "out"
    mine.mkdir()
    for name in ("one.png", "other.png"):
        write_png(mine / name, images.images[0].permute(1, 2, 0).numpy())
    words = [*command.split(), "--images", str(mine), "--out", str(out), "--guidance-scale", "1.5", "--device", "cpu"]
    said = refused(capsys, words[0], str(trained), *words[1:])
    assert (
        "a guidance scale of 1.5 guides towards a class, and the model knows the class of none of these images" in said
    )
    assert ("Give one (--label CLASS), or use" in said) is ("--between" not in words)
    assert "se --guidance-scale 1." in said
    assert not out.exists()


def test_guidance_of_a_model_without_classes_is_refused(model: Model, images: ImageSet, tmp_path: Path) -> None:
    classless = dataclasses.replace(
        model,
        spec=dataclasses.replace(model.spec, class_names=()),
        sampling=model.sampling.model_copy(update={"guidance_scale": 2.0}),
    )
    for call in (
        lambda: write_variations(classless, images, tmp_path, Wish()),
        lambda: write_inpainted(classless, images, masks_from("box", images, 0), tmp_path),
        lambda: write_restored(Restorer(classless, Injury("noise", noise=0.1)), images, tmp_path),
        lambda: measure_restoring(Restorer(classless, Injury("noise", noise=0.1)), images),
    ):
        with pytest.raises(
            UserError, match=r"-scale 2 needs classes, and this model|_scale 2.0 needs a network with classes"
        ):
            call()


def _first_digits(count: int) -> np.ndarray:
    from sadm.data import open_source

    opened = open_source("digits")
    assert isinstance(opened, ImageSet)
    return opened.images[:count, 0].numpy()


def test_inpainting_goes_on_where_it_was_stopped(model, images, hole, tmp_path, stopped_in_the_middle) -> None:
    small = dataclasses.replace(model, sampling=model.sampling.model_copy(update={"batch": 2}))
    masks = masks_from(str(hole), images, 0)
    with pytest.raises(InterruptedRun, match="Stopped after 2 images"):
        write_inpainted(small, images, masks, tmp_path / "a", proposals=2, resample=2)
    write_inpainted(small, images, masks, tmp_path / "a", proposals=2, resample=2)
    assert len(stopped_in_the_middle) == 6  # none was made twice
    write_inpainted(model, images, masks, tmp_path / "b", proposals=2, resample=2)
    for file in sorted((tmp_path / "b").glob("0*.png")):
        apart = np.abs(pixels(file).astype(int) - pixels(tmp_path / "a" / file.name).astype(int))
        assert apart.max() <= 1  # another batch, other rounding
    with pytest.raises(UserError, match="made otherwise"):
        write_inpainted(small, images, masks, tmp_path / "a", proposals=3, resample=2)


def test_boxes_cover_the_share_asked_for_and_differ(images: ImageSet) -> None:
    big = dataclasses.replace(images, images=torch.zeros(3, 1, 40, 60, dtype=torch.uint8), masks=None)
    masks = masks_from("box:0.25", big, 1)
    assert masks.shape == (3, 1, 40, 60)
    assert [float(mask.float().mean()) for mask in masks] == pytest.approx([0.25] * 3, abs=0.02)
    assert not torch.equal(masks[0], masks[1])
    assert torch.equal(masks, masks_from("box:0.25", big, 1))
    assert not torch.equal(masks, masks_from("box:0.25", big, 2))


def test_own_masks_are_those_of_the_source(images: ImageSet) -> None:
    own = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    own[:, :, 1] = 255
    assert torch.equal(masks_from("own", dataclasses.replace(images, masks=own), 0), own > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--mask": "own"}, "digits has no masks. Give a file"),
        ({"--mask": "nowhere.png"}, "nowhere.png does not exist"),
        ({"--mask": "box:2"}, "expected box or box:SHARE with a share of the image between 0 and 1"),
        ({"--mask": "box:half"}, "expected box or box:SHARE"),
        ({"--proposals": "0"}, "--proposals must be at least 1, got 0"),
        ({"--resample": "0"}, "--resample and --jump must be at least 1, got 0 and 1"),
        ({"--limit": "0"}, "--limit must be at least 1, got 0"),
        ({"--label": "eleven"}, "--label 'eleven' is no class of this model"),
        ({"--images": "surfaces:count=4,size=16"}, "have 16x16 pixels and 1 channel; this needs 8x8 and 1 channel"),
        ({"--images": "nothing"}, "'nothing' is neither a built-in data set"),
    ],
    ids=str,
)
def test_bad_input_of_inpaint_is_explained(change, message, trained, hole, tmp_path, capsys) -> None:
    options = {"--images": "digits", "--mask": str(hole), "--out": str(tmp_path / "out"), "--limit": "2"} | change
    assert message in refused(capsys, "inpaint", str(trained), *[word for pair in options.items() for word in pair])


def test_masks_and_folders_that_do_not_fit_are_explained(trained, images, tmp_path, capsys) -> None:
    write_png(tmp_path / "large.png", np.full((9, 8, 1), 255, np.uint8))
    write_png(tmp_path / "empty.png", np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(UserError, match="has 8x9 pixels, the images 8x8"):
        masks_from(str(tmp_path / "large.png"), images, 0)
    with pytest.raises(UserError, match="nothing is marked in"):
        masks_from(str(tmp_path / "empty.png"), images, 0)
    some = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    some[0] = 255
    with pytest.raises(UserError, match=f"nothing is marked for 2 of 3 images, such as {images.names[1]}"):
        masks_from("own", dataclasses.replace(images, masks=some), 0)
    for command in ("inpaint", "vary", "restore"):
        assert "--images is missing" in refused(capsys, command, str(trained))
    said = refused(capsys, "vary", str(tmp_path), "--images", "digits", "--out", str(tmp_path / "out"))
    assert "no model in" in said


def test_images_are_resized_only_when_asked(trained: Path, class_folder: Path, tmp_path: Path) -> None:
    arguments = [
        "inpaint",
        str(trained),
        "--images",
        str(class_folder),
        "--mask",
        "box",
        "--proposals",
        "1",
        "--limit",
        "2",
    ]
    assert run([*arguments, "--out", str(tmp_path / "out"), "--resize"]) == 0
    assert pixels(tmp_path / "out" / "000001-00.png").shape == (8, 8)


# ---- vary --------------------------------------------------------------------------------------------------------------


def test_variations_are_measured_and_marked(trained: Path, tmp_path: Path, capsys) -> None:
    def varied(name: str, *more: str) -> dict:
        out = tmp_path / name
        assert run(["vary", str(trained), "--images", "digits", "--out", str(out), *QUICK, *more]) == 0
        return json.loads((out / "variations.json").read_text(encoding="utf-8"))

    weak, strong = varied("weak", "--strength", "0.3"), varied("strong", "--strength", "1")
    for space in ("rms", "texture"):
        assert weak["mean"]["distance"][space] < strong["mean"]["distance"][space]
        assert weak["mean"]["diversity"][space] < strong["mean"]["diversity"][space]
    assert strong["mean"]["diversity"]["rms"] > 5
    assert [image["of"] for image in weak["images"]] == ["digits/0", "digits/1", "digits/2"]
    mark = read_mark(tmp_path / "weak" / "000002-01.png")
    assert mark is not None
    assert (mark.source_type, mark.tool, mark.details["strength"]) == (EDITED, "sadm vary", 0.3)
    assert "grey levels from their originals" in capsys.readouterr().out
    varied("mixed", "--mix", "3=2", "5=1")
    varied("class", "--label", "3")
    assert read_records(tmp_path / "mixed")["000000-00.png"]["details"]["mix"] == {"3": 2.0, "5": 1.0}
    assert read_records(tmp_path / "mixed")["000000-00.png"]["label"] is None
    assert read_records(tmp_path / "class")["000000-00.png"]["label"] == "3"


def test_variations_do_not_depend_on_the_batch(model: Model, images: ImageSet, tmp_path: Path) -> None:
    for batch in (1, 6):
        small = dataclasses.replace(model, sampling=model.sampling.model_copy(update={"batch": batch}))
        write_variations(small, images, tmp_path / str(batch), Wish(0.6, mix={"1": 1.0, "2": 1.0}, proposals=2))
    for file in sorted((tmp_path / "1").glob("0*.png")):
        apart = np.abs(pixels(file).astype(int) - pixels(tmp_path / "6" / file.name).astype(int))
        assert apart.max() <= 1


def test_the_way_between_two_images_starts_and_ends_at_them(trained: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "way"
    arguments = ["vary", str(trained), "--images", "digits", "--out", str(out), "--between", "digits/0", "7"]
    assert run([*arguments, "--count", "5"]) == 0
    facts = json.loads((out / "variations.json").read_text(encoding="utf-8"))
    assert facts["between"] == ["digits/0", "digits/7"]
    assert max(facts["comes_back_within"]) < 4 < facts["apart"]
    assert len(facts["steps"]) == 4
    first = _first_digits(8)
    assert np.abs(pixels(out / "000000.png").astype(int) - first[0]).max() < 25
    assert np.abs(pixels(out / "000004.png").astype(int) - first[7]).max() < 25
    middle = pixels(out / "000002.png").astype(int)
    for end in (first[0], first[7]):
        assert np.sqrt(np.mean((middle - end.astype(int)) ** 2.0)) > 4
    assert "The two come back within" in capsys.readouterr().out


def test_distances_are_what_they_are_called() -> None:
    originals = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    originals[0, 0, :, :4], originals[1, 0, :4] = 200, 100
    variations = originals[:, None].repeat(1, 2, 1, 1, 1)
    variations[0, 0] += 10  # brighter: re-coloured, so that nothing is left unexplained
    variations[0, 1] = originals[0].flip(2)
    facts = measure_variety(originals, variations, ("a", "b"))
    first, second = facts["images"]
    assert first["distance"]["rms"] == pytest.approx((10 + 200) / 2)
    assert first["distance"]["unexplained"] == pytest.approx(0, abs=1e-3)
    assert second["distance"] == {"rms": 0.0, "texture": 0.0, "unexplained": 0.0}
    assert second["diversity"]["rms"] == 0
    assert facts["apart"]["rms"] == pytest.approx(math.sqrt((100**2 + 200**2 + 100**2) / 4))
    alone = measure_variety(originals[:1], variations[:1, :1], ("a",))
    assert (alone["apart"]["rms"], alone["images"][0]["diversity"]["rms"]) == (None, None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strength", "0"], "--strength must be above 0 and at most 1, got 0"),
        (["--strength", "1.2"], "--strength must be above 0 and at most 1, got 1.2"),
        (["--label", "3", "--mix", "3=1"], "--label and --mix exclude each other"),
        (["--mix", "3"], "--mix has '3'; expected CLASS=WEIGHT"),
        (["--mix", "3=-1"], "--mix has '3=-1'"),
        (["--mix", "3=1", "3=2"], "--mix names '3' twice"),
        (["--mix", "twelve=1"], "--mix 'twelve' is no class of this model"),
        (["--between", "0", "nobody"], "--between 'nobody' is no image of digits; there are digits/0"),
        (["--between", "0", "1", "--count", "2"], "--count must be at least 3"),
        (["--between", "0", "1", "--label", "2"], "--between goes from class to class by itself"),
    ],
    ids=str,
)
def test_bad_input_of_vary_is_explained(more, message, trained, tmp_path, capsys) -> None:
    out = ["--images", "digits", "--limit", "3", "--out", str(tmp_path / "out")]
    assert message in refused(capsys, "vary", str(trained), *out, *more)


def test_a_class_name_may_hold_an_equals_sign() -> None:
    assert parse_mix(["a=b=2", "c=0.5"]) == {"a=b": 2.0, "c": 0.5}
    classes, weights = Wish(mix={"3": 2.0, "0": 2.0}).mixed(_Known()) or ([], torch.empty(0))  # type: ignore[arg-type]
    assert (classes, weights.tolist()) == ([3, 0], [[0.5, 0.5]])


class _Known:
    class spec:  # noqa: N801 - stands for a model's
        class_names = tuple("0123456789")


# ---- restore -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mask", ["--mask", "HOLE"]),
        ("mask", ["--mask", "HOLE", "--noise", "0.05"]),
        ("lowres", []),
        ("blur", ["--blur", "0.7"]),
        ("noise", ["--noise", "0.1"]),
    ],
    ids=str,
)
def test_every_known_damage_is_restored_with_a_map(kind, more, trained, images, hole, tmp_path, capsys) -> None:
    injury = Injury(kind, noise=0.05 if "--noise" in more else 0.0, masks=masks_from(str(hole), images, 0))
    source = torch.Generator().manual_seed(1)
    damaged = damage(to_floats(images.images), injury, lambda shape: torch.randn(*shape, generator=source))
    for row, image in enumerate(damaged):
        write_png(tmp_path / "in" / f"{row}.png", ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    out = tmp_path / "out"
    arguments = ["restore", str(trained), "--images", str(tmp_path / "in"), "--out", str(out), "--damage", kind]
    assert run([*arguments, *[str(hole) if word == "HOLE" else word for word in more], *QUICK]) == 0
    facts = json.loads((out / "restored.json").read_text(encoding="utf-8"))
    for row in range(3):
        proposals = np.stack([pixels(out / f"{row:06d}-{number:02d}.png") for number in range(2)]).astype(float)
        spread = proposals.std(axis=0, ddof=1)
        assert proposals.shape == (2, 8, 8)
        found = pixels(out / "uncertainty" / f"{row:06d}.png").astype(float)
        np.testing.assert_allclose(found, np.minimum(255, spread / 64 * 255), atol=0.6)
        assert facts["images"][row]["mean"] == pytest.approx(spread.mean(), abs=1e-2)
        mean = pixels(out / f"{row:06d}-mean.png").astype(float)
        np.testing.assert_allclose(mean, proposals.mean(axis=0), atol=0.6)
        assert pixels(out / "sheets" / f"{row:06d}.png").shape[1] == 5 * 64 + 4 * 4
        if more == ["--mask", "HOLE"]:
            assert np.all((found > 0) <= (pixels(hole) > 0))  # what is known is not uncertain
            np.testing.assert_array_equal(
                proposals[0][pixels(hole) == 0], images.images[row, 0].numpy()[pixels(hole) == 0]
            )
    assert facts["images"][0]["of"] == "0.png"
    assert "in the mean (standard deviation)" in capsys.readouterr().out


class _Repeats(torch.nn.Module):
    """A network that answers with what it is told, so that with EDM's preconditioning x0_hat tends to it as sigma grows."""

    def __init__(self, sigma_data: float) -> None:
        super().__init__()
        self.sigma_data, self.told = sigma_data, []

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        assert cond.image is not None
        self.told.append(cond.image)
        sigma = torch.exp(4 * c_noise)[:, None, None, None]
        root = (sigma**2 + self.sigma_data**2).sqrt()
        return (
            (cond.image - self.sigma_data**2 / root * x) * root / (sigma * self.sigma_data)
        )  # x0_hat = what it is told


def test_each_damaged_image_reaches_the_network_at_every_step(images: ImageSet, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    assert run(["train", "--out", str(shown), *TINY, "--data.tell=damage"]) == 0
    model = load_model(shown)
    sampling = model.sampling.model_copy(update={"batch": 2})
    net = _Repeats(model.spec.sigma_data)
    denoiser = EDMDenoiser(net, model.spec.sigma_data)
    repeating = dataclasses.replace(model, denoiser=denoiser, sampling=sampling)
    damaged = to_floats(images.images)
    found = Restorer(repeating, Injury("unknown"))(damaged, range(3), [1, 2, 3], torch.tensor([0, 1, 2]))
    torch.testing.assert_close(found, damaged, rtol=0, atol=1e-4)
    assert [len(told) for told in net.told] == [2] * 5 + [1] * 5  # of Heun's three steps, in two batches
    for step, told in enumerate(net.told):
        assert torch.equal(told, damaged[:2] if step < 5 else damaged[2:])


class Answer(torch.nn.Module):
    """A network that always says the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        return torch.full_like(x, self.value)


def test_the_mean_of_unknown_damage_is_the_posterior_mean(images: ImageSet, tmp_path: Path) -> None:
    """Of images N(y + 0.2, 0.3^2): exact from one evaluation, where proposals scatter about it."""
    shown = tmp_path / "shown"
    assert run(["train", "--out", str(shown), *TINY, "--data.tell=damage"]) == 0

    def gaussian(x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        assert cond.image is not None
        variance = sigma.square()[:, None, None, None]
        return (0.3**2 * x_t + variance * (cond.image + 0.2)) / (0.3**2 + variance)

    model = dataclasses.replace(load_model(shown), denoiser=gaussian)
    restorer, damaged = Restorer(model, Injury("unknown")), 0.1 * to_floats(images.images)
    drawn = restorer(damaged, range(3), [1, 2, 3], None)
    assert float((drawn - damaged - 0.2).std()) > 0.2
    found = restorer.average(damaged, drawn[:, None], [1, 2, 3], None)
    torch.testing.assert_close(found, damaged + 0.2, rtol=0, atol=0.01)  # 0.3^2 / 80 of the noise is left
    seen: list[torch.Tensor] = []
    seeing = lambda x_t, sigma, cond: (seen.append(sigma), gaussian(x_t, sigma, cond))[1]  # noqa: E731
    seeing.schedule = VPSchedule.linear()  # type: ignore[attr-defined]
    on_timesteps = Restorer(dataclasses.replace(model, denoiser=seeing), Injury("unknown"))
    torch.testing.assert_close(
        on_timesteps.average(damaged, drawn[:, None], [1, 2, 3], None), damaged + 0.2, rtol=0, atol=0.05
    )
    assert [float(one[0]) for one in seen] == [pytest.approx(20 * model.spec.sigma_data)]
    process = model.spec.process.model_copy(update={"kind": "vp", "prediction": "x0"})
    sure = VPDenoiser(Answer(0.2), VPSchedule.linear(), "x0")  # on a path where a tangent leaves noise behind
    eta = model.sampling.model_copy(update={"solver": "ddim", "eta": 0.5})
    on_circle = dataclasses.replace(
        model, denoiser=sure, spec=dataclasses.replace(model.spec, process=process), sampling=eta
    )
    found = Restorer(on_circle, Injury("unknown")).average(damaged, drawn[:, None], [1, 2, 3], None)
    torch.testing.assert_close(found, torch.full_like(damaged, 0.2), rtol=0, atol=1e-6)
    known = Restorer(model, Injury("noise", noise=0.1)).average(
        damaged, torch.stack([drawn, damaged], 1), [1, 2, 3], None
    )
    torch.testing.assert_close(known, (drawn + damaged) / 2)


def test_what_was_measured_is_met(model: Model, images: ImageSet) -> None:
    sound, seeds = to_floats(images.images), [1, 2, 3]
    labels = torch.tensor([0, 1, 2])
    restorer = Restorer(model, Injury("lowres"), resample=2)
    damaged = damage(sound, restorer.injury, torch.randn)
    found = restorer(damaged, range(3), seeds, labels)
    inside = (found.abs() < 1).all(dim=1, keepdim=True)  # clamping moves what lies outside of the range
    blocks = torch.nn.functional.avg_pool2d(inside.float(), 2) == 1
    averages = torch.nn.functional.avg_pool2d(found, 2)
    assert int(blocks.sum()) > 5
    torch.testing.assert_close(averages[blocks], damaged[blocks], rtol=0, atol=1e-5)
    again = Restorer(model, Injury("lowres"), resample=2)(damaged[1:2], range(1, 2), seeds[1:2], labels[1:2])
    torch.testing.assert_close(again, found[1:2], rtol=0, atol=1e-5)


def test_restoring_goes_on_where_it_was_stopped(model, images, tmp_path, stopped_in_the_middle) -> None:
    small = dataclasses.replace(model, sampling=model.sampling.model_copy(update={"batch": 2}))
    damaged = dataclasses.replace(images, images=images.images[:, :, ::2, ::2].contiguous(), masks=None)
    restorer = Restorer(small, Injury("lowres"), resample=1)
    with pytest.raises(InterruptedRun):
        write_restored(restorer, damaged, tmp_path / "out", proposals=2)
    assert not (tmp_path / "out" / "restored.json").exists()
    write_restored(restorer, damaged, tmp_path / "out", proposals=2)
    assert len(stopped_in_the_middle) == 6 + 3
    assert len(list((tmp_path / "out" / "uncertainty").glob("*.png"))) == 3


def test_measuring_compares_with_filters_on_the_same_images(model: Model, images: ImageSet, hole: Path) -> None:
    injuries = {
        "mask": Injury("mask", masks=masks_from(str(hole), images, 0)),
        "lowres": Injury("lowres"),
        "noise": Injury("noise", noise=0.1),
    }
    for kind, injury in injuries.items():
        found = measure_restoring(Restorer(model, injury, resample=1), images, proposals=2)
        methods = found["methods"]
        assert {"as it is", "median", ONE, MEAN} <= set(methods)
        assert ("bicubic" in methods) == (kind == "lowres")
        values = methods["median"]["psnr"]["values"]
        assert len(values) == 3
        assert methods["median"]["psnr"]["mean"] == pytest.approx(sum(values) / 3)
        gain = found["gains"]["median"]["ssim"]
        assert gain["mean"] == pytest.approx(
            methods[MEAN]["ssim"]["mean"] - methods["median"]["ssim"]["mean"], abs=1e-5
        )
        assert gain["low"] < gain["mean"] < gain["high"]
        distances = [methods[name]["features"]["mean"] for name in ("median", MEAN)]
        assert found["gains"]["median"]["features"]["mean"] == pytest.approx(distances[0] - distances[1], abs=1e-5)
        json.dumps(found, allow_nan=False)
    restorer = Restorer(model, Injury("noise", noise=0.1))
    restorer.injury = Injury("unknown")
    with pytest.raises(ValueError, match="give what the images look like damaged"):
        measure_restoring(restorer, images)


def test_a_wiener_filter_undoes_a_known_blur() -> None:
    """Sharp stripes and smooth noise: closer to them than what was blurred, and as it is where there is no contrast."""
    injury = Injury("blur", width=0.8, noise=0.01)
    sound = torch.where(torch.arange(24) % 6 < 3, 0.6, -0.6).expand(2, 1, 24, 24).contiguous()
    source = torch.Generator().manual_seed(1)
    damaged = damage(sound, injury, lambda shape: torch.randn(*shape, generator=source))
    restored = filters_for(injury)["wiener"](damaged, injury, (1, 24, 24))
    assert float((restored - sound).square().mean()) < 0.5 * float((damaged - sound).square().mean())
    flat = torch.full((2, 1, 8, 6), 0.25)
    torch.testing.assert_close(filters_for(injury)["wiener"](flat, injury, (1, 8, 6)), flat)


def test_levels_are_stretched_from_black_to_white() -> None:
    injury = Injury("unknown")
    sound = torch.where(torch.arange(12) < 6, -1.0, 1.0).expand(2, 1, 12, 12).contiguous()
    levels = filters_for(injury)["levels"]
    torch.testing.assert_close(levels(0.5 + 0.2 * sound, injury, (1, 12, 12)), sound)
    flat = torch.full((2, 1, 8, 6), 0.25)
    torch.testing.assert_close(levels(flat, injury, (1, 8, 6)), flat)


def test_filters_fill_holes_and_enlarge(hole: Path, images: ImageSet) -> None:
    flat = torch.full((2, 1, 8, 8), 0.5)
    injury = Injury("mask", masks=masks_from(str(hole), images.subset(torch.arange(2)), 0))
    damaged = damage(flat, injury, torch.randn)
    assert float(damaged[0, 0, 3, 4]) == pytest.approx(0, abs=0.01)
    for name, made in filters_for(injury).items():
        if name != "as it is":
            atol = 0.016 if name == "opencv" else 0.01  # OpenCV fills bytes, and this is two of their levels
            torch.testing.assert_close(made(damaged, injury, (1, 8, 8)), flat, rtol=0, atol=atol)
    small = Injury("lowres", factor=4)
    for made in filters_for(small).values():
        torch.testing.assert_close(made(damage(flat, small, torch.randn), small, (1, 8, 8)), flat, rtol=0, atol=0.01)


def test_spread_is_the_standard_deviation_over_proposals() -> None:
    proposals = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(2)) / 4
    expected = (127.5 * proposals.numpy()).std(axis=0, ddof=1).max(axis=0)
    np.testing.assert_allclose(spread_of(proposals)[0].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--damage", "lowres", "--factor", "3"], "--factor 3 does not divide the model's 8x8 pixels"),
        (["--damage", "lowres", "--factor", "1"], "--factor must be at least 2, got 1"),
        (["--damage", "lowres"], "have 8x8 pixels and 1 channel; this needs 4x4 and 1 channel"),
        (["--damage", "grey"], "--damage grey needs a model of colour; this one draws 1 channel"),
        (["--damage", "noise"], "--damage noise needs how much there is"),
        (["--damage", "noise", "--noise", "1.5"], "--noise must be at least 0 and below 1, got 1.5"),
        (["--damage", "blur", "--blur", "0"], "--blur must be above 0 and at most 20 pixels, got 0"),
        (["--damage", "mask"], "--damage mask and --mask belong together"),
        (["--damage", "blur", "--mask", "box"], "--damage mask and --mask belong together"),
        (["--damage", "blur", "--proposals", "1"], "--proposals must be at least 2, got 1"),
        (["--damage", "unknown"], "a damaged image was given, but this model was trained without"),
        (["--damage", "unknown", "--noise", "0.1"], "--noise has no meaning with --damage unknown"),
        ([], "--damage is missing"),
    ],
    ids=str,
)
def test_bad_input_of_restore_is_explained(more, message, trained, tmp_path, capsys) -> None:
    out = ["--images", "digits", "--limit", "3", "--out", str(tmp_path / "out")]
    assert message in refused(capsys, "restore", str(trained), *out, *more)


def test_a_damaged_output_folder_is_explained(model: Model, images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for write in (
        lambda: write_variations(model, images, tmp_path, Wish(proposals=1)),
        lambda: write_between(model, images, ("0", "1"), tmp_path, 3),
    ):
        with pytest.raises(UserError, match=r"notes\.txt|holds"):
            write()
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "command",
    [
        "inpaint --mask box:0.5",
        "restore --damage noise --noise 0.1",
        "vary --strength 0.5",
        "vary --between 0 1 --count 3",
    ],
)
def test_an_untouched_folder_is_verified(trained: Path, tmp_path: Path, command: str, capsys) -> None:
    name, *options = command.split()
    out = tmp_path / "out"
    assert run([name, str(trained), "--images", "digits", "--out", str(out), *QUICK, *options]) == 0
    capsys.readouterr()
    assert run(["verify", str(out), "--model", str(trained), "--unchanged"]) == 0, capsys.readouterr().out
    pictures = sorted(out.rglob("*.png"))
    assert len(pictures) > len(read_records(out))  # overviews, or maps and sheets
    for path in pictures:
        mark = read_mark(path)
        assert mark is not None
        assert (mark.source_type, mark.tool) == (EDITED, f"sadm {name}")
