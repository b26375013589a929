"""Training on images of several shapes, and drawing them: what each signal makes of them, what resumes, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from finetune_setup import start_for
from sadm.core.config import merge
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.grids import read_png
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, to_floats, to_uint8
from sadm.data.resampling import resize_array
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.model_folder import Model, load_model, save_model
from sadm.training.outputs import generated_images
from sadm.training.run import train
from sadm.training.sequence import ImageSequence
from sadm.training.shapes import describe_shapes
from sadm.training.signal_config import Signal
from tiny import SIZES, TINY, Listener, equal_bits, tiny_config, tiny_images, tiny_learner, tiny_shaped

GAMES: list[dict[str, Any]] = [
    {"signal": "structure", "structure": {"adversary": "frozen", "encoder_outputs": "stages"}},
    {"signal": "structure", "structure": {"adversary": "classify", "memory": 8}},
    {"signal": "structure", "structure": {"memory": 8, "encoder_outputs": "stages"}},
    {"signal": "structure", "structure": {"encoder_kind": "vit", "encoder_outputs": "stages"}},
    {"signal": "hidden", "structure": {"encoder_kind": "vit"}},
    {"signal": "hidden", "structure": {"encoder_training": "views"}},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "run"
    train(tiny_config(signal="none"), folder, images=tiny_shaped())
    return folder


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    """With weights that are not zero where DiT starts at zero, so that its images tell."""
    model = load_model(trained)
    draws = torch.Generator().manual_seed(3)
    for parameter in model.denoiser.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=draws))
    return model


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [*({"signal": name} for name in get_args(Signal)), *GAMES], ids=str)
def test_every_signal_learns_from_several_shapes(change: dict[str, Any], tmp_path: Path) -> None:
    """Twenty steps: every image and every shape comes by, also again, when what was kept by index is used."""
    start = start_for(change["signal"], tiny_config(signal="none"), tiny_shaped(), tmp_path / "start")
    learner = tiny_learner(tiny_config(**merge(change, {"control": {"start": 0.0}, **start})), tiny_shaped())
    seen = set()
    for _ in range(20):
        seen.add(tuple(learner.inputs(learner.step).x0.shape[2:]))
        log = learner.advance()
        assert all(bool(torch.isfinite(value).all()) for value in log.values())
    assert seen == set(SIZES)


@pytest.mark.parametrize(
    "change",
    [
        {"signal": "none", "data": {"workers": 2, "flip": True}},
        {"signal": "hidden"},
        {"signal": "structure"},
        {"signal": "structure", "structure": {"adversary": "frozen"}},
        {"signal": "none", "data": {"augment": {"preset": "parts", "probability": 0.5}, "balance": 0.7}},
    ],
    ids=str,
)
def test_a_run_goes_on_bit_for_bit(tmp_path: Path, change: dict[str, Any]) -> None:
    config, images = tiny_config(**change), tiny_shaped()
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "halves", Listener(stop_at=8), images)
    train(config, tmp_path / "halves", images=images)
    assert equal_bits(*(load_model(tmp_path / name).denoiser.net.state_dict() for name in ("whole", "halves")))


@pytest.mark.parametrize("signal", ["none", "hidden"])
def test_squares_in_buckets_train_as_squares_do(tmp_path: Path, signal: str) -> None:
    images = tiny_shaped(sizes=((8, 8),))
    assert torch.equal(images.images, tiny_images().images)
    for name, part in (("buckets", images), ("crop", dataclasses.replace(images, shaped=None))):
        train(tiny_config(signal=signal), tmp_path / name, images=part)
    first, second = (load_model(tmp_path / name) for name in ("buckets", "crop"))
    assert equal_bits(first.denoiser.net.state_dict(), second.denoiser.net.state_dict())
    assert (first.spec.shapes, second.spec.shapes) == (((8, 8),), ())
    assert torch.equal(first.sample_for_judging(5), to_floats(to_uint8(second.sample(5))))


def test_a_training_goes_on_from_a_model_of_squares_and_back(tmp_path: Path) -> None:
    still = {"signal": "none", "process": {"sigma_data": 0.5}, "optimiser": {"learning_rate": 1e-30, "steps": 1}}
    images = {"squares": tiny_images(), "buckets": tiny_shaped(), "again": tiny_images()}
    before = None
    for name, part in images.items():
        change = {} if before is None else {"start_from": str(tmp_path / before)}
        train(tiny_config(**still, **change), tmp_path / name, images=part)
        before = name
    weights = [load_model(tmp_path / name).denoiser.net.state_dict() for name in images]
    for name, weight in weights[0].items():
        for other in weights[1:]:
            torch.testing.assert_close(other[name], weight, rtol=0, atol=1e-20)
    assert [len(load_model(tmp_path / name).spec.shapes) for name in images] == [0, 4, 0]


def test_a_model_of_another_size_does_not_go_on_with_buckets(tmp_path: Path) -> None:
    train(tiny_config(signal="none"), tmp_path / "squares", images=tiny_images())
    shaped = tiny_shaped(sizes=((16, 16), (8, 24), (24, 8)))
    assert shaped.shaped is not None
    larger = dataclasses.replace(shaped, images=shaped.shaped.resized((16, 16)))
    goes_on = tiny_config(signal="none", start_from=str(tmp_path / "squares"))
    with pytest.raises(
        UserError, match=r"trained at 8x8 pixels, and can't be continued on buckets of 16x16: .*--data\.resolution 8"
    ):
        train(goes_on, tmp_path / "larger", images=larger)
    for name, images in {"buckets": tiny_shaped(), "squares": dataclasses.replace(larger, shaped=None)}.items():
        train(goes_on, tmp_path / f"on {name}", images=images)
        assert bool(load_model(tmp_path / f"on {name}").spec.shapes) == (name == "buckets")


def test_learned_positions_do_not_go_on_with_buckets(tmp_path: Path) -> None:
    train(tiny_config(signal="none"), tmp_path / "computed", images=tiny_images())
    model = load_model(tmp_path / "computed")
    weights = model.denoiser.net.state_dict()
    weights["pos_embed"] = 0.02 * torch.randn(weights["pos_embed"].shape, generator=torch.Generator().manual_seed(1))
    save_model(tmp_path / "learned", model.spec, weights, model.sampling, {})
    goes_on = tiny_config(signal="none", start_from=str(tmp_path / "learned"))
    with pytest.raises(UserError, match=r"has learned where its patches are, .*Leave --data\.fit buckets out"):
        train(goes_on, tmp_path / "buckets", images=tiny_shaped())
    train(goes_on, tmp_path / "squares", images=tiny_images())
    assert torch.equal(load_model(tmp_path / "squares").denoiser.net.pos_embed, weights["pos_embed"])


def test_what_there_is_of_each_shape_is_said() -> None:
    said = describe_shapes(tiny_shaped(), 8)
    assert said.startswith(f"Training images by shape (width x height): {shown(tiny_shaped())}. Of 3 of these 4 shapes")
    assert describe_shapes(tiny_shaped(), 1).endswith(").")


def shown(images: ImageSet) -> str:
    """Shapes and counts, counted one by one."""
    assert images.shaped is not None
    counts: dict[tuple[int, int], int] = {}
    for i in range(len(images)):
        _, height, width = images.shaped[i].shape
        counts[width, height] = counts.get((width, height), 0) + 1
    return ", ".join(f"{w}x{h} ({counts[w, h]})" for w, h in sorted(counts, key=lambda size: size[0] / size[1]))


# ---- what is refused -------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"net": {"rope": True}}, "net.rope has angles for one grid of patches. Leave it out"),
    ({"net": {"registers": 2}}, "net.registers (2) are not made for several grids of patches. Leave them out"),
    (
        {"signal": "hidden", "structure": {"encoder_training": "denoising"}},
        "structure.encoder_training 'denoising' restores images of one shape. Choose 'auto', 'supervised' or 'views'",
    ),
    (
        {"signal": "structure", "structure": {"memory": 4, "encoder_kind": "vit", "encoder_outputs": "stages"}},
        "structure.memory (4) can't relate the places of images of several shapes. Set it to 0",
    ),
]
OF_MULTIPLES: list[tuple[dict[str, Any], str]] = [
    ({"net": {"patch": 3}}, "can't be cut into patches of 3x3 (net.patch): 3 does not divide"),
    (
        {"signal": "hidden", "structure": {"encoder_kind": "vit", "encoder_stride": 3}},
        "can't be cut into patches of 12x12 (the patch of structure.encoder_kind 'vit', four times structure.encoder_stride)",
    ),
]


def merged(change: dict[str, Any]) -> TrainConfig:
    return load_train_config(overrides=merge(merge(TINY, {"signal": "none"}), change))


@pytest.mark.parametrize(("change", "message"), [*REFUSED, *OF_MULTIPLES])
def test_options_that_take_one_shape_are_refused_with_buckets(change: dict[str, Any], message: str) -> None:
    merged(change)  # fine with squares
    with pytest.raises(UserError) as caught:
        merged(merge(change, {"data": {"fit": "buckets", "resolution": 32}}))
    assert f"data.fit 'buckets' gives images of several shapes, and {message}"[:50] in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(("change", "message"), [*REFUSED, *OF_MULTIPLES])
def test_they_are_refused_for_such_images_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        train(merged(change), tmp_path / "run", images=tiny_shaped())
    assert message in str(caught.value)
    assert "tiny holds images of several shapes, and" in str(caught.value)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_latents_and_sizes_that_do_not_fit_are_refused() -> None:
    data = {"fit": "buckets", "resolution": 32}
    for change, message in (
        (
            {"data": {**data, "autoencoder": "vae"}},
            "data.autoencoder makes latents of one shape. Choose data.fit 'crop'",
        ),
        ({"data": {"fit": "buckets"}}, "data.fit 'buckets' needs a data.resolution, such as 64"),
        (
            {"data": {"bucket_multiple": 4}},
            "data.bucket_multiple has a meaning with data.fit 'buckets' alone, got 'crop'",
        ),
    ):
        with pytest.raises(UserError) as caught:
            merged(change)
        assert message in str(caught.value)


# ---- drawing ---------------------------------------------------------------------------------------------------------


def test_images_come_in_the_shapes_of_training_each_as_drawn_alone(model: Model) -> None:
    labels = torch.arange(30) % 3
    drawn, sizes = model.sample_shapes(30, 7, labels), model.training_sizes(30, 7, labels)
    assert {tuple(size) for size in sizes.tolist()} == set(SIZES)
    for height, width in SIZES:
        alone = model.sample(30, 7, labels, size=(height, width))
        assert alone.shape == (30, 1, height, width)
        for i in range(30):
            if sizes[i].tolist() == [height, width]:
                torch.testing.assert_close(drawn[i], alone[i], rtol=1e-4, atol=1e-5)
    few = model.sample(4, 7, labels[:4], model.sampling.model_copy(update={"batch": 3}), size=(4, 12))
    torch.testing.assert_close(few, model.sample(30, 7, labels, size=(4, 12))[:4], rtol=1e-4, atol=1e-5)
    assert torch.equal(model.sample(3, 1), model.sample(3, 1, size=(8, 8)))


def test_progress_counts_all_images(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    model.sample_shapes(11, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (11, 11)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_shapes_of_each_class_come_as_often_as_in_training(model: Model) -> None:
    images = tiny_shaped()
    assert images.labels is not None
    assert images.shaped is not None
    own = [tuple(images.shaped[i].shape[1:]) for i in range(24)]
    share = {
        (label, size): sum(own[i] == size for i in range(24) if images.labels[i] == label) / 8
        for label in range(3)
        for size in SIZES
    }
    assert 0 in share.values()
    labels, many = torch.arange(15) % 3, 400
    found = dict.fromkeys(share, 0)
    for seed in range(many):
        sizes = model.training_sizes(15, seed, labels)
        for label in range(3):
            for size in SIZES:
                count = int(((sizes == torch.tensor(size)).all(1) & (labels == label)).sum())
                assert abs(count - 5 * share[label, size]) < 1  # rounded up or down
                found[label, size] += count
    for kind, expected in share.items():
        assert found[kind] / (5 * many) == pytest.approx(expected, abs=0.02)
        assert (found[kind] == 0) == (expected == 0)


def test_a_class_without_images_has_the_shapes_of_all_and_models_may_have_no_classes(
    tmp_path: Path, model: Model
) -> None:
    table = tuple((0, *counts[1:]) for counts in model.spec.shape_counts)
    rare = dataclasses.replace(model, spec=dataclasses.replace(model.spec, shape_counts=table))
    for label in (0, 3):  # 3 = unknown
        sizes = rare.training_sizes(32, 0, torch.full((32,), label))
        for size, counts in zip(rare.spec.shapes, table, strict=True):
            found = int((sizes == torch.tensor(size)).all(1).sum())
            assert abs(found - 32 * sum(counts) / sum(map(sum, table))) < 1
    train(tiny_config(signal="hidden"), tmp_path / "run", images=tiny_shaped(labelled=False))
    plain = load_model(tmp_path / "run")
    assert [len(counts) for counts in plain.spec.shape_counts] == [1] * 4
    assert {image.shape[1:] for image in plain.sample_shapes(24)} == set(SIZES)


def test_images_are_judged_as_the_square_that_real_ones_become(model: Model) -> None:
    drawn, judged = model.sample_shapes(12, 4), model.sample_for_judging(12, 4)
    assert judged.shape == (12, 1, 8, 8)
    for image, square in zip(drawn, judged, strict=True):
        pixels = to_uint8(image)[None]
        same = pixels.shape[2:] == (8, 8)
        assert torch.equal(square, to_floats(pixels if same else resize_array(pixels, (8, 8)))[0])
    with torch.no_grad():
        weight = next(model.denoiser.parameters())
        kept = weight.clone()
        weight.fill_(torch.nan)
        assert bool(model.sample_for_judging(2).isnan().all())
        weight.copy_(kept)


def test_an_older_model_file_is_one_of_squares(trained: Path, tmp_path: Path) -> None:
    new = load_model(trained)
    path = trained / "model" / "model.json"
    before = path.read_text()
    facts = json.loads(before)
    assert [tuple(shape) for shape in facts["shapes"]] == list(new.spec.shapes)
    for key in ("shapes", "shape_counts"):
        facts.pop(key)
    path.write_text(json.dumps(facts))
    old = load_model(trained)
    path.write_text(before)
    assert (old.spec.shapes, old.spec.shape_counts) == ((), ())
    assert torch.equal(torch.stack(old.sample_shapes(4)), new.sample(4))


def test_sizes_that_a_model_does_not_draw_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"6x8 pixels were asked for, and can't be cut into patches of 4x4\. Choose a width"
    ):
        model.sample(1, size=(8, 6))
    train(tiny_config(signal="none"), tmp_path / "run", images=tiny_images())
    plain = load_model(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"12x4 pixels were asked for, but this model draws images of 8x8 pixels alone.*fit buckets"
    ):
        plain.sample(1, size=(4, 12))
    assert plain.sample(2, weak=plain, size=(8, 8)).shape == (2, 1, 8, 8)
    assert model.sample(2, weak=plain).shape == (2, 1, 8, 8)
    with pytest.raises(
        UserError, match=r"the weak model draws images of 8x8 pixels alone, and images of 12x4 are to be"
    ):
        model.sample(1, weak=plain, size=(4, 12))


def test_files_drawn_a_batch_at_a_time_are_the_images_drawn_at_once(model: Model, tmp_path: Path) -> None:
    sampling = model.sampling.model_copy(update={"batch": 4})
    labels = model.training_labels(22, 7)
    with StopRequest() as stop, generated_images(tmp_path, model, "a test") as outputs:
        wanted = ImageSequence(model, 22, 7, labels, sampling)
        assert wanted.write(outputs, Listener(), stop) == 0
        assert wanted.write(outputs, Listener(), stop) == 22
        wide = ImageSequence(model, 22, 7, labels, sampling, size=(4, 12))
        (tmp_path / wanted.name(3)).unlink()
        whole = [read_png(tmp_path / wanted.name(i)) for i in range(22) if i != 3]
        sizes = wanted.sizes().tolist()
        assert wide.write(outputs, Listener(), stop) == 21 - sum(
            size != [4, 12] for i, size in enumerate(sizes) if i != 3
        )
    drawn = [image for i, image in enumerate(model.sample_shapes(22, 7, labels, sampling=sampling)) if i != 3]
    for image, pixels in zip(drawn, whole, strict=True):
        assert torch.equal(to_uint8(image), torch.from_numpy(pixels).permute(2, 0, 1))
    assert {read_png(tmp_path / wanted.name(i)).shape for i in range(22)} == {(4, 12, 1)}
    some = model.sample_shapes(22, 7, labels, only=[9, 2], size=(4, 12))
    alone = model.sample(22, 7, labels, size=(4, 12))
    torch.testing.assert_close(torch.stack(some), alone[[9, 2]], rtol=1e-4, atol=1e-5)
