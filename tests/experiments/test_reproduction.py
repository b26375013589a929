"""The paper's experiments: their files, what a plan counts, and the whole job made small."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from sadm.cli.main import run
from sadm.core.config import build_config, merge
from sadm.core.errors import UserError
from sadm.core.progress import Silent
from sadm.data import Fit, ImageSet, open_source
from sadm.evaluation import GaussianFit, RandomConvJudge, frechet_distance
from sadm.experiments.planning.devices import Gpu
from sadm.experiments.planning.flops import count
from sadm.experiments.planning.signals import signal_cost
from sadm.experiments.reproduction import rehearsal
from sadm.experiments.reproduction.images import PER_CLASS, UNLABELLED, write_like
from sadm.experiments.reproduction.plan import plan_for
from sadm.experiments.reproduction.rehearsal import reduced, rehearse
from sadm.experiments.reproduction.running import Job, departures, reproduce
from sadm.experiments.reproduction.scoring import Scoring, score
from sadm.experiments.reproduction.targets import Figure, Target, load_target, target_names
from sadm.experiments.reproduction.texts import ENGLISH, JAPANESE
from sadm.training.config import load_train_config
from sadm.training.model_folder import load_model

NAMES = target_names()
FINE_TUNING = ["artbench10", "caltech101", "cars196", "cub200", "df20m", "flowers102", "food101", "sun397"]
TRAINING = ["celeba64", "cifar10", "ffhq64", "imagenet256", "imagenet512"]


# ---- files -----------------------------------------------------------------------------------------------------------


def test_there_are_the_papers_data_sets() -> None:
    assert NAMES == FINE_TUNING + TRAINING
    assert [name for name in NAMES if load_target(name).inferred] == ["artbench10", "caltech101", "cars196"]
    for name in NAMES:
        assert load_target(name).kind == ("fine-tuning" if name in FINE_TUNING else "training")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_everything_about_its_arms(name: str) -> None:
    target = load_target(name)
    assert target.first_arm == "sadm"
    assert target.config("sadm").signal == "structure"
    for arm in target.arms:
        config = target.config(arm)
        assert (config.signal == "structure") == (arm == "sadm")
        if target.start is not None:  # the options that a fine-tuning would choose itself are all in the recipe
            assert {"steps", "batch", "learning_rate", "warmup_steps", "ema_half_life"} <= set(
                target.keys(arm)["optimiser"]
            )
    assert target.figure("sadm") is not None


def test_a_figure_has_a_value_if_it_was_read() -> None:
    facts = {"what": "a model", "paper": "a paper", "place": "a table"}
    assert Figure(**facts, read="none").value is None
    for wrong in (
        {"read": "none", "value": 1.0},
        {"read": "paper", "value": 1.0},
        {"read": "listing", "read_in": "a page"},
    ):
        with pytest.raises(ValueError, match="if, and only if, it was read"):
            Figure(**facts, **wrong)


def test_bad_names_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        UserError, match=r"unknown experiment 'fod101'; there are artbench10, .* \(nearest: 'food101'\)"
    ):
        load_target("fod101")
    with pytest.raises(UserError, match=r"unknown arm 'sdam'; there are sadm, full, difffit \(nearest: 'sadm'\)"):
        load_target("food101").config("sdam")
    values = load_target("food101").model_dump(mode="json", exclude_unset=True)
    values["figures"][0]["arm"] = "other"
    with pytest.raises(UserError, match="food101 changed: .*a figure names the arm 'other'"):
        build_config(Target, values, "food101 changed")


# ---- plan ------------------------------------------------------------------------------------------------------------


def test_hours_follow_from_operations() -> None:
    target = load_target("food101")
    plan, counts = plan_for(target, "full"), count(target.latent_shape, target.config("full"), 101)
    seconds = 24000 * 32 * counts.step / (19.5e12 * 0.5)
    assert plan.training_hours == pytest.approx(seconds / 3600)
    assert plan.sampling_hours == pytest.approx(10000 * 50 * 2 * counts.forward / (19.5e12 * 0.5) / 3600)
    assert plan_for(target, "full", gpu=Gpu(share=0.25)).hours == pytest.approx(2 * plan.hours)
    assert plan.signal_share == 0
    structure = plan_for(target, "sadm")
    added = signal_cost(target.latent_shape, target.config("sadm"), 101, counts).operations / counts.step
    assert structure.training_hours / plan.training_hours == pytest.approx(1 + added)
    assert 0 < added < 0.01
    image = structure.activations / 32
    assert structure.largest_batch * image + structure.fixed <= 80
    assert (structure.largest_batch + 1) * image + structure.fixed > 80
    difffit = plan_for(target, "difffit")
    assert difffit.counts.learning < 0.01 * difffit.counts.parameters
    assert difffit.memory < plan.memory
    # Heun's method evaluates the network twice in all steps but the last, and needs no second pass without classes.
    faces = load_target("celeba64")
    assert plan_for(faces, "plain").sampling_hours == pytest.approx(
        50000 * 79 * plan_for(faces, "plain").counts.forward / (19.5e12 * 0.5) / 3600
    )


# ---- the job made small ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_generated_images_are_read_as_the_data_set_is(name: str, tmp_path: Path) -> None:
    images = load_target(name).images
    read = open_source(str(write_like(images, tmp_path)), fit=Fit(resolution=16))
    assert isinstance(read, ImageSet)
    assert set(read.parts or ()) == ({"train", "held_out"} if images.layout == "parts" else set())
    assert read.shape == (3, 16, 16)
    if images.labelled:
        assert set(read.class_names) == set(images.examples)
        assert read.labels is not None
        assert len(read.labels.unique()) == len(images.examples)
    else:
        assert read.labels is None
        assert len(read) == UNLABELLED
    assert not read.skipped


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_job_runs_small(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    if target.start is not None:
        pytest.importorskip("diffusers")
    result = rehearsal.try_small(name, target, "sadm", tmp_path)
    assert (result["experiment"], result["arm"], result["ours"]["steps"]) == (name, "sadm", 1)
    assert result["ours"]["value"] > 0
    assert result["changed"] == []
    assert result["published"] == target.figure("sadm").model_dump()  # type: ignore[union-attr]
    spec = load_model(tmp_path / "out" / "run").spec
    assert set(spec.class_names) == set(target.images.examples)
    assert spec.process == target.config("sadm").process.denoiser


def test_a_rehearsal_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    target = load_target("cifar10")
    tried = rehearse("cifar10", target, "plain")
    assert tried.result is not None
    assert tried.network == (3, 32, 32)
    assert tried.plan.counts.parameters > 50_000_000
    assert [item.name for item in tried.missing] == ["FID's network"]
    assert tried.result["ours"]["metric"] == "FD, random_conv"
    monkeypatch.setattr(rehearsal.importlib.util, "find_spec", lambda name: None)
    assert [item.name for item in rehearsal.missing_for(load_target("food101"), "sadm") if item.stops] == [
        "the package diffusers"
    ]
    stopped = rehearse("food101", load_target("food101"), "sadm")
    assert stopped.result is None


def test_scoring_in_parts_is_scoring_at_once_and_is_kept(tmp_path: Path) -> None:
    rehearsal.try_small("cifar10", load_target("cifar10"), "plain", tmp_path)
    model, images = load_model(tmp_path / "out" / "run"), open_source(str(tmp_path / "images" / "images.zip"))
    assert isinstance(images, ImageSet)
    judge = RandomConvJudge(3)
    values = [
        score(model, images, Scoring(judge, None, 7, at_once=size), tmp_path / str(size), Silent()) for size in (3, 7)
    ]
    drawn = model.sample(7, 0, model.training_labels(7, 0))
    whole = dataclasses.replace(images.subset(torch.arange(7)), images=((drawn + 1) * 127.5).round().to(torch.uint8))
    expected = frechet_distance(GaussianFit.of(judge.features(whole)), GaussianFit.of(judge.features(images)))
    assert values == pytest.approx([expected, expected], rel=1e-4)
    kept = sorted(path.name for path in (tmp_path / "3").iterdir())
    assert kept == ["features-0-0-3.npy", "features-0-3-3.npy", "features-0-6-1.npy"]

    def refuse(*_: object) -> None:
        raise AssertionError("drawn again")

    broken = dataclasses.replace(model, denoiser=refuse)
    assert score(broken, images, Scoring(judge, None, 7, at_once=3), tmp_path / "3", Silent()) == values[0]


def test_another_model_or_job_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    target, small = load_target("food101"), reduced(load_target("food101"))
    job = Job("food101", small, "sadm", "images", None, RandomConvJudge(3))
    with pytest.raises(
        UserError, match=r"--from is missing: food101 starts from DiT-XL-2-256x256.pt. Get it from https://"
    ):
        reproduce(job, tmp_path / "out")
    model = rehearsal.small_weights(small, tmp_path)
    with pytest.raises(
        UserError, match=r"that is not DiT-XL-2-256x256.pt, which food101 starts from \(network .*width=384"
    ):
        reproduce(dataclasses.replace(job, target=target, model=str(model)), tmp_path / "out")
    with pytest.raises(UserError, match="celeba64 is trained from scratch"):
        reproduce(
            dataclasses.replace(job, name="celeba64", target=load_target("celeba64"), model="m"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_departures_from_a_recipe_are_named() -> None:
    target = load_target("cifar10")
    change = {"optimiser": {"batch": 64}, "net": {"depth": 6}, "device": "cpu"}
    job = Job("cifar10", target, "plain", "images", None, change=change, images=1000)
    config = load_train_config(overrides=merge(target.keys("plain"), {**change, "data": {"resolution": 32}}))
    assert departures(job, config) == [
        "net.depth: recipe 12, here 6",
        "optimiser.batch: recipe 512, here 64",
        "images: recipe 50000, here 1000",
    ]


# ---- command line ----------------------------------------------------------------------------------------------------


def features() -> torch.nn.Module:
    """What ``python:`` names below."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 6))


def test_a_reproduction_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = load_target("cifar10")
    data = write_like(target.images, tmp_path / "images")
    change = merge(reduced(target).keys("plain"), {"net": {"width": 32, "depth": 1, "heads": 2}})
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(change), encoding="utf-8")
    command = ["reproduce", "cifar10", "--arm", "plain", "--data", str(data), "--out", str(tmp_path / "runs" / "cifar")]
    command += ["--config", str(tmp_path / "small.yaml"), "--judge", f"python:{__name__}:features", "--images", "8"]
    assert run(command) == 0
    said = capsys.readouterr().out
    assert "published: EDM, class-conditional: FID 1.79 (EDM, 2206.00364)" in said
    assert "Differs from the recipe:" in said
    assert "optimiser.steps: recipe 390625, here 1" in said
    first = json.loads((tmp_path / "runs" / "cifar" / "reproduction.json").read_text("utf-8"))
    assert first["ours"]["metric"].startswith("FD, python:")
    assert run(command) == 0  # goes on, and finds everything done
    assert json.loads((tmp_path / "runs" / "cifar" / "reproduction.json").read_text("utf-8"))["ours"] == first["ours"]
    assert run([*command[:3], "sadm", *command[4:]]) == 2
    assert "holds cifar10, arm plain" in capsys.readouterr().err
    assert run(["reproduce", "cifar10", "--runs", str(tmp_path / "runs")]) == 0
    assert f"FD, python:{__name__}:features {first['ours']['value']:.4g} of 8 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lang", "words"), [("en", ("none yet", "published", "GPU-hours")), ("ja", ("公表値", "GPU 時間"))]
)
def test_the_list(lang: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ENGLISH.keys() == JAPANESE.keys()
    assert run(["reproduce", "--list", "--lang", lang, "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for text in (*words, *NAMES, "1.58", "2.11", "2402.17563", "CC-BY-NC", "arxiv.org/html/2402.17563v2"):
        assert text in said
    for name in NAMES:
        for figure in load_target(name).figures:
            assert figure.value is None or f"{figure.value:g}" in said


def test_the_list_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["reproduce", "--list", "--json", "--runs", str(tmp_path)]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(found) == NAMES
    assert found["cars196"]["inferred"]
    assert found["food101"]["plans"]["sadm"]["counts"]["forward"] > 2e11
    assert found["food101"]["data"]["licence"].startswith("the pictures are Foodspotting")
    assert found["food101"]["ours"] == []


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in (
        (["food1"], "unknown experiment 'food1'"),
        ([], "give the name of an experiment, --list or --dry-run"),
        (["food101", "--data", "x"], "--out is missing"),
        (["food101", "--out", "x"], "--data is missing"),
        (["food101", "--share", "2"], "--share is 2.0"),
        (["food101", "--dry-run", "--arm", "lora"], "unknown arm 'lora'"),
        (["food101", "--data", "x", "--out", "y", "--images", "1"], "--images must be at least 2"),
    ):
        assert run(["reproduce", *arguments]) == 2
        assert complaint in capsys.readouterr().err


# ---- docs/reproduce.md -----------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")


def test_the_page_names_every_experiment_and_its_code_makes_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        assert f"`{name}`" in PAGE
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    pixels = load_target("food101").images
    for place in ("a/abbey", "a/apartment_building/outdoor", "z/zoo"):
        write_like(pixels, tmp_path / "one").joinpath("ramen").rename(tmp_path / "classes")
        (tmp_path / "SUN397" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes").rename(tmp_path / "SUN397" / place)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "page", "exec"), {})  # noqa: S102
    read = open_source("SUN397", fit=Fit(resolution=16))
    assert isinstance(read, ImageSet)
    assert read.class_names == ("abbey", "apartment_building_outdoor", "zoo")
    assert len(read) == 3 * PER_CLASS
