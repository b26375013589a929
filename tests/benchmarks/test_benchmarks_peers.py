"""`benchmarks.peers`: budgets, resumption, the restated loop, samplers, and from stored results to summary and page."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import common
from benchmarks.peers import environment, page, plan, search, summary, training
from benchmarks.peers.__main__ import main
from benchmarks.peers.company import Company, work
from benchmarks.peers.contestant import changes_of, find
from benchmarks.peers.dit_loop import AVERAGES
from benchmarks.peers.pace import calibrate, undisturbed_mean
from benchmarks.peers.pool import Pool
from benchmarks.peers.scores import score
from benchmarks.peers.training import draw, images_path, run_job, train
from benchmarks.peers.workplace import Workplace
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import write_json
from sadm.core.progress import Silent
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet
from sadm.training.checkpoint import load_checkpoint
from sadm.training.config import NetConfig, ProcessConfig
from sadm.training.spec import spec_for

HERE = ("ours_plain", "ours_structure", "diffusers_unet", "dit_loop")
TINY = {
    "ours_plain": {"patch": 2, "width": 16, "depth": 2, "heads": 2},
    "ours_structure": {"patch": 2, "width": 16, "depth": 2, "heads": 2},
    "diffusers_unet": {"channels": (8, 16), "layers": 1},
    "dit_loop": {"patch": 2, "width": 16, "depth": 2, "heads": 2},
}
STEPS = 6


def images(side: int = 8, count: int = 40) -> ImageSet:
    """Made-up images of ten classes."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=draws)
    classes = tuple(map(str, range(10)))
    return ImageSet(pixels, torch.arange(count) % 10, classes, tuple(map(str, range(count))), "made up")


def workplace(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, stop: Any = None, after: int = -1) -> Workplace:
    """A tiny job, which asks `stop` to stop after so many steps."""
    if name.startswith("diffusers") or name == "dit_loop":
        pytest.importorskip("diffusers")
    contestant = find(name)
    monkeypatch.setattr(contestant, "sizes", {"small": TINY[name]}, raising=True)
    monkeypatch.setattr(contestant, "batch", 4, raising=True)

    def progress(stage: str, done: int, total: int, note: str) -> None:
        if stage == "training" and done == after:
            stop.requested = True

    return Workplace(plan.Job(name, "small", 1e-3, 0, 5.0), contestant, images(), folder, progress)


def tensors(value: Any, path: str = "") -> dict[str, torch.Tensor]:
    """All tensors of nested dictionaries and lists, by their place."""
    if isinstance(value, torch.Tensor):
        return {path: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {place: found for key, part in parts for place, found in tensors(part, f"{path}/{key}").items()}


@pytest.mark.parametrize("name", HERE)
def test_a_training_that_was_stopped_goes_on_to_the_same_weights_and_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = workplace(name, tmp_path / "whole", monkeypatch)
    labels = torch.arange(3)
    sampler = next(iter(whole.contestant.samplers.values()))
    trained = train(whole, STEPS, StopRequest())
    draw(whole, trained, "main", sampler, labels, StopRequest())

    stop = StopRequest()
    parts = workplace(name, tmp_path / "parts", monkeypatch, stop, after=3)
    counted = itertools.count(0, 5)
    monkeypatch.setattr("benchmarks.peers.training._interruptions", lambda: next(counted))
    with pytest.raises(InterruptedRun, match="step 3 of 6"):
        train(parts, STEPS, stop)
    resumed = train(parts, STEPS, StopRequest())
    draw(parts, resumed, "main", sampler, labels, StopRequest())

    found, expected = (tensors(load_checkpoint(tmp_path / part / "checkpoint")) for part in ("parts", "whole"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    one, other = (np.load(images_path(tmp_path / part, "main"))["images"] for part in ("parts", "whole"))
    assert np.array_equal(one, other)
    facts = json.loads((tmp_path / "parts" / "training.json").read_text())
    assert (facts["steps"], facts["images_seen"], facts["diverged"]) == (STEPS, 4 * STEPS, False)
    assert len(facts["losses"]) == STEPS
    spent = facts["cpu_seconds"] - facts["setup_cpu_seconds"]
    assert facts["interruptions_a_second"] == pytest.approx(5 * STEPS / spent, rel=0.2)  # 5 in each step
    assert facts["parameters"] == sum(p.numel() for p in network(resumed).parameters())
    assert (facts["setup_cpu_seconds"] > 0) == (name == "ours_structure")


def network(training: Any) -> torch.nn.Module:
    """The generator of a training."""
    return training.learner.denoiser if hasattr(training, "learner") else training.net


def test_finished_stages_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workplace("ours_plain", tmp_path, monkeypatch)
    stop = StopRequest()
    stop.requested = True
    with pytest.raises(InterruptedRun, match="while the cost of a step was measured"):
        calibrate(place, stop)
    first = calibrate(place, StopRequest())
    assert calibrate(place, stop) == first
    assert first["seconds_per_step"] > 0
    trained = train(place, STEPS, StopRequest())
    before = (tmp_path / "training.json").read_bytes()
    again = train(place, STEPS, StopRequest())
    assert (tmp_path / "training.json").read_bytes() == before
    assert all(map(torch.equal, network(trained).parameters(), network(again).parameters()))


def test_a_training_whose_calibration_was_disturbed_is_done_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace("ours_plain", tmp_path, monkeypatch)
    place = dataclasses.replace(place, job=dataclasses.replace(place.job, budget=0.5))
    write_json(tmp_path / "calibration.json", {"setup_seconds": 0.0, "seconds_per_step": 0.1, "steps": 4})
    sampler = next(iter(place.contestant.samplers))
    done = []
    real = training.train
    monkeypatch.setattr(training, "train", lambda place, steps, *more: done.append(steps) or real(place, steps, *more))
    run_job(place, {sampler: place.contestant.samplers[sampler]}, torch.arange(2))
    calibration, facts = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("calibration", "training"))
    assert done[0] == 5
    assert done[1] == facts["steps"] == math.floor(0.5 / calibration["seconds_per_step"])
    assert calibration["corrected"] is True
    run_job(place, {sampler: place.contestant.samplers[sampler]}, torch.arange(2))
    assert done[2:] == [facts["steps"]]  # found as it was, whatever it took


def test_a_training_within_its_budget_or_at_a_shared_cost_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace("ours_plain", tmp_path, monkeypatch)
    trained = train(place, STEPS, StopRequest())
    facts = json.loads((tmp_path / "training.json").read_text())
    for spent, in_turns, stays in ((4.6, 0, True), (5.4, 0, True), (4.4, 1, True), (4.4, 0, False)):
        cost = {"setup_seconds": 0.0, "seconds_per_step": 1.0, "steps": 4, **({"in_turns": True} if in_turns else {})}
        write_json(tmp_path / "calibration.json", cost)
        write_json(tmp_path / "training.json", {**facts, "cpu_seconds": spent, "setup_cpu_seconds": 0.0})
        assert training.correct(place, trained) is not stays
        assert (tmp_path / "training.json").exists() is stays
        assert (tmp_path / "checkpoint").exists() is stays


def test_images_do_not_depend_on_where_drawing_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.training.PART", 2)
    place = workplace("ours_plain", tmp_path, monkeypatch)
    trained = train(place, STEPS, StopRequest())
    sampler = place.contestant.samplers["dpmpp_2m 20"]
    draw(place, trained, "at once", sampler, torch.arange(5), StopRequest())
    stop = StopRequest()
    stopped = Workplace(
        place.job, place.contestant, place.images, place.folder, lambda *_: setattr(stop, "requested", True)
    )
    with pytest.raises(InterruptedRun, match="2 of 5"):
        draw(stopped, trained, "in parts", sampler, torch.arange(5), stop)
    draw(place, trained, "in parts", sampler, torch.arange(5), StopRequest())
    one, other = (np.load(images_path(tmp_path, name)) for name in ("at once", "in parts"))
    assert np.array_equal(one["images"], other["images"])
    assert one["images"].shape == (5, 1, 8, 8)


def test_a_loss_that_is_not_finite_is_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workplace("dit_loop", tmp_path, monkeypatch)
    monkeypatch.setattr(
        "benchmarks.peers.dit_loop.squared_error", lambda *_: torch.tensor(math.nan, requires_grad=True)
    )
    assert train(place, STEPS, StopRequest()) is None
    assert json.loads((tmp_path / "training.json").read_text())["diverged"] is True
    assert train(place, STEPS, StopRequest()) is None


@pytest.mark.parametrize(
    ("budget", "setup", "cost", "steps"), [(600, 0, 0.5, 1200), (600, 99.9, 0.5, 1000), (1, 0, 1, 1)]
)
def test_a_budget_buys_whole_steps_after_the_setup(budget: float, setup: float, cost: float, steps: int) -> None:
    assert plan.steps_within(budget, setup, cost) == steps


@pytest.mark.parametrize(("budget", "setup", "cost"), [(10, 10, 0.5), (0.4, 0, 0.5), (10, 0, 0), (10, 0, math.nan)])
def test_a_budget_that_buys_nothing_is_refused(budget: float, setup: float, cost: float) -> None:
    with pytest.raises(UserError):
        plan.steps_within(budget, setup, cost)


def test_disturbed_steps_do_not_count() -> None:
    assert undisturbed_mean([1.0, 1.0, 2.0, 9.0]) == pytest.approx(4 / 3)


def test_the_transformer_starts_as_the_zero_function(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    contestant = find("dit_loop")
    monkeypatch.setattr(contestant, "sizes", {"small": TINY["dit_loop"]})
    net = contestant.build(contestant.options("small", {}), (1, 8, 8)).eval()
    x = torch.randn(2, 1, 8, 8)
    assert not net(x, timestep=torch.tensor([1, 2]), class_labels=torch.tensor([3, 10])).sample.any()
    assert not net.transformer_blocks[0].norm1.linear.weight.any()
    assert net.pos_embed.proj.weight.any()
    assert AVERAGES["adapted"](0) == 0.1
    assert AVERAGES["adapted"](10**9) == 0.9999


def test_no_peer_has_more_parameters_than_ours_of_the_same_size() -> None:
    pytest.importorskip("diffusers")
    data = images(28, 10)
    for size in plan.SIZES:
        ours = spec_for(data, NetConfig(**find("ours_plain").sizes[size]), ProcessConfig(sigma_data=0.5)).build()
        limit = sum(p.numel() for p in ours.parameters())
        for name in ("diffusers_unet", "dit_loop"):
            net = find(name).build(find(name).options(size, {}), (1, 28, 28))
            assert 0 < sum(p.numel() for p in net.parameters()) <= limit, (name, size)


@pytest.mark.parametrize("size", plan.SIZES)
@pytest.mark.parametrize("rate", plan.LEARNING_RATES)
def test_every_setting_of_ours_is_one_that_the_trainer_takes(size: str, rate: float) -> None:
    from benchmarks.peers.contestant import Task

    for name in plan.OURS:
        config = find(name).config(Task(images(), size, rate, 100, 900, 600.0))
        assert (config.optimiser.steps, config.optimiser.learning_rate, config.seed) == (900, rate, 100)
        assert config.structure.encoder_steps == 400
    assert (find("ours_plain").signal, find("ours_structure").signal) == ("none", "hidden")


@pytest.mark.parametrize("name", [name for name in HERE if name not in plan.FOLLOWS])
def test_every_variant_trains_otherwise_and_can_be_drawn_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace(name, tmp_path, monkeypatch)
    monkeypatch.setattr("benchmarks.peers.ours.UNET_CHANNELS", {"small": (8, 16)})
    side = 28 if "patch" in TINY[name] else 8  # what patches of 2, 4 and 7 divide
    if "patch" in TINY[name]:
        monkeypatch.setattr(place.contestant, "sizes", {"small": {**TINY[name], "patch": 4}})
    data, labels = images(side, 40), torch.arange(2)
    sampler = min(place.contestant.samplers.values(), key=lambda one: one.nfe)
    trained: dict[str, torch.Tensor] = {}
    for variant in ("", *place.contestant.variants):
        job = dataclasses.replace(place.job, variants=(variant,) if variant else ())
        training = dataclasses.replace(place, job=job, images=data).start(12)
        for _ in range(6):
            assert math.isfinite(training.advance())
        asked = place.contestant.variants.get(variant, {})
        assert training.batch == asked.get("batch", asked.get("optimiser", {}).get("batch", 4))
        drawn = training.draw(labels, 0, 5, sampler)
        assert drawn.shape == (2, 1, side, side)
        assert drawn.isfinite().all()
        trained[variant] = torch.cat([part.detach().flatten() for part in network(training).parameters()])
    weights = [found for variant, found in trained.items() if variant != "shorter average"]
    assert not [one for one, other in itertools.combinations(weights, 2) if torch.equal(one, other)]


@pytest.mark.parametrize("name", [name for name in plan.CONTESTANTS if name not in plan.FOLLOWS])
def test_everyone_gets_as_many_variants(name: str) -> None:
    contestant = find(name)
    assert len(contestant.variants) == plan.VARIANTS
    for variant in contestant.variants:
        assert changes_of(contestant, [variant]) == contestant.variants[variant]
        assert plan.Job(name, "small", 1e-3, 0, 5.0, (variant,)).name != plan.Job(name, "small", 1e-3, 0, 5.0).name
    with pytest.raises(UserError, match="unknown variant 'faster' of .*there are batch "):
        changes_of(contestant, ["faster"])


def test_the_options_of_the_library_in_its_own_environment_are_what_variants_say() -> None:
    contestant = find("ddpm_pytorch")
    for variant, changes in contestant.variants.items():
        options = contestant.options("small", changes)
        assert {key: getattr(options, key) for key in changes} == changes, variant
        assert options != contestant.options("small", {})
    given = {
        variant: contestant.options("large", changes).diffusion for variant, changes in contestant.variants.items()
    }
    assert given["v"]["objective"] == "pred_v"
    assert (given["offset noise"]["offset_noise_strength"], given["v"]["offset_noise_strength"]) == (0.1, 0.0)
    assert (given["min-SNR"]["min_snr_loss_weight"], given["v"]["min_snr_loss_weight"]) == (True, False)
    assert "objective" not in contestant.options("large", {}).diffusion


def test_a_job_is_what_its_file_says() -> None:
    job = plan.Job("ours_plain", "small", 1e-3, 0, 120.0, ("batch 32", "Muon"))
    assert plan.Job.from_dict(json.loads(json.dumps(job.as_dict()))) == job
    assert job.name == "ours-plain-small-lr-0.001-batch-32-Muon-120-seconds-seed-0"


def test_what_helps_is_combined_unless_it_changes_the_same() -> None:
    contestant = find("ours_plain")
    gains = dict.fromkeys(contestant.variants, -0.1)
    assert search.combinations(contestant, gains) == []
    assert search.combinations(contestant, gains | {"Muon": 0.2}) == []
    found = search.combinations(
        contestant, gains | {"Muon": 0.2, "batch 32": 0.1, "batch 128": 0.3, "lower noise": 0.05}
    )
    assert found == [("batch 128", "Muon"), ("batch 128", "Muon", "lower noise")]
    assert search.combinations(contestant, gains | {"UNet": 0.2, "patch 2": 0.1, "Muon": 0.05}) == [("UNet", "Muon")]
    assert search.combinations(contestant, gains | {"Muon": 0.2, "lower noise": 0.001}) == []


class Judged:
    """A study whose trainings end as a table says."""

    def __init__(self, values: dict[tuple[Any, ...], tuple[float, float] | None]) -> None:
        self.values, self.asked = values, []

    def available(self, contestants: Any) -> tuple[list[str], dict[str, str]]:
        here = [name for name in contestants if name != "ddpm_pytorch"]
        return here, {name: "no network" for name in contestants if name not in here}

    def forget(self, contestant: str, budget: float | None = None) -> None: ...

    def run(self, wanted: Any) -> dict[plan.Job, dict[str, Any]]:
        self.asked += list(wanted)
        found = {}
        for job, samplers in wanted.items():
            fd = self.values.get((job.size, job.learning_rate, *job.variants), (3.5, 3.25))
            one = result(job.contestant, 0, fd, job.learning_rate)
            best = one["judged"].pop("best", None)
            if best is not None:
                extra = {"heun 25": -0.01}
                one["judged"] = {
                    name: {**best, "fd": {judge: value + extra.get(name, 0) for judge, value in best["fd"].items()}}
                    for name in samplers
                }
            found[job] = {**one, "job": job.as_dict()}
        return found


def test_the_search_goes_from_the_grid_to_variants_to_combinations_to_samplers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    best = ("medium", 1.5e-3)
    values = {
        best: (2.5, 2.25),
        (*best, "Muon"): (1.5, 1.25),
        (*best, "patch 2"): (2.3, 2.05),
        (*best, "patch 7"): None,
        (*best, "Muon", "patch 2"): (1.0, 0.75),
        ("large", best[1], "Muon", "patch 2"): (1.5, 1.25),
        ("medium", 4.5e-3, "Muon", "patch 2"): None,
    }
    study = Judged(values)
    search.run_search(study, ["ours_structure", "ours_plain", "ddpm_pytorch"])
    found = common.stored("peers", "search")
    assert list(found["contestants"]) == ["ours_plain"]
    assert found["missing"] == {"ddpm_pytorch": "no network"}
    one = found["contestants"]["ours_plain"]
    assert (one["size"], one["learning_rate"], one["variants"]) == (*best, ["Muon", "patch 2"])
    assert one["sampler"] == "heun 25"
    assert len(one["rows"]) == 9 + plan.VARIANTS + 1 + 4 == len(study.asked) - 1
    section = page.section()
    assert "| ours_plain | 28 | medium | 0.0015 | no | Muon, patch 2 | heun 25, after 10 minutes |" in section
    assert "`ours_structure` gets what was found for `ours_plain`." in section
    assert "- `ours_plain`: Muon, patch 2 -75.0%; Muon -50.0%; patch 2 -10.0%;" in section
    assert "patch 7 diverged. The best of these at other sizes and learning rates: large at 0.0015 +100.0%; " in section
    assert "; medium at 0.0045 diverged." in section


def result(name: str, seed: int, fd: tuple[float, float] | None, rate: float = 1e-3) -> dict[str, Any]:
    """A job's result as a study stores it; diverged without FD."""
    judged = {} if fd is None else {"best": {"fd": dict(zip(("mlp", "pixels"), fd, strict=True))}}
    for scores in judged.values():
        scores |= {"sampler": "a sampler", "nfe": 20, "cpu_ms_per_image": 1.0, "label_accuracy": 0.5}
    provenance = {"torch": "2", "machine": "a machine", "commit": "abc"}
    return {
        "job": plan.Job(name, "small", rate, seed, 600.0).as_dict(),
        "training": {
            "diverged": fd is None, "images_seen": 6400 + seed, "parameters": 9, "cpu_seconds": 598.5, "steps": 100,
            "versions": {}, "provenance": provenance,
        },
        "judged": judged,
        "calibration": {"setup_seconds": 0.0, "seconds_per_step": 0.5, "steps": 200, "in_turns": True},
        "floor": {"mlp": 0.5, "pixels": 0.25},
        "deciding": ["mlp", "pixels"],
        "generated": 30,
        "provenance": provenance,
    }  # fmt: skip


def store_fixture(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Five contestants at ten minutes; `ddpm_pytorch` diverged with one seed."""
    monkeypatch.setattr(common, "ROOT", folder)
    found: dict[str, list[tuple[float, float] | None]] = {
        "ours_plain": [(1.5, 0.75), (2.5, 0.75)],
        "ours_structure": [(1.0, 0.5), (1.5, 0.5)],
        "diffusers_unet": [(2.5, 0.45), (4.5, 0.45)],
        "dit_loop": [(1.5, 1.25), (2.5, 1.25)],
        "ddpm_pytorch": [(0.6, 0.3), None],
    }
    for name, values in found.items():
        rows = [result(name, seed, fd) for seed, fd in zip((100, 101), values, strict=True)]
        value = {"contestant": name, "budget_cpu_minutes": 10.0, "sampler": "best", "results": rows}
        common.store("peers", f"{name}-10-minutes", value)


def test_the_summary_is_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    store_fixture(monkeypatch, tmp_path)
    assert main(["--summary"]) == 0
    found = json.loads(capsys.readouterr().out)
    here = found["budgets"]["10 minutes"]
    plain = here["contestants"]["ours_plain"]["fd"]["mlp"]  # excess 1 and 2 over a floor of 0.5
    half = 12.706204736174698 * 0.5  # Student's quantile for two values times their standard error
    assert plain["values"] == [1.0, 2.0]
    assert (plain["mean"], plain["low"], plain["high"]) == pytest.approx((1.5, 1.5 - half, 1.5 + half))
    assert here["contestants"]["ours_plain"]["images_seen"] == [6500, 6501]
    assert here["contestants"]["ddpm_pytorch"]["fd"] is None
    ratios = here["fd_ratio_to_best_peer"]
    assert set(ratios) == {"ours_plain", "ours_structure"}
    assert ratios["ours_structure"]["mlp"]["best_peer"] == "dit_loop"
    assert ratios["ours_structure"]["mlp"]["values"] == pytest.approx([0.5, 0.5])
    assert ratios["ours_plain"]["pixels"]["best_peer"] == "diffusers_unet"
    assert ratios["ours_plain"]["pixels"]["mean"] == pytest.approx(0.5 / 0.2)
    assert "ours_plain-30-minutes" in found["missing"]
    assert [name for name in found["missing"] if "10-minutes" in name] == ["ours_unet-10-minutes"]
    assert "fd_ratio_at_less_cost" not in found


def test_ours_after_a_third_of_the_cost_against_the_best_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_fixture(monkeypatch, tmp_path)
    for name, values in {"ours_plain": (0.6, 0.3), "dit_loop": (1.0, 0.65)}.items():
        rows = [result(name, seed, values) for seed in (100, 101)]
        common.store(
            "peers",
            f"{name}-30-minutes",
            {"contestant": name, "budget_cpu_minutes": 30.0, "sampler": "best", "results": rows},
        )
    found = summary.summary()["fd_ratio_at_less_cost"]
    assert (found["ours_minutes"], found["peers_minutes"]) == (10.0, 30.0)
    assert found["ratios"]["ours_structure"]["mlp"]["values"] == pytest.approx([0.5 / 0.5, 1.0 / 0.5])
    assert found["ratios"]["ours_plain"]["pixels"]["mean"] == pytest.approx(0.5 / 0.4)
    assert "`ours_plain` after 10 minutes against the best peer after 30, pixels: +25.0%" in page.section()


@pytest.mark.parametrize(
    ("plain", "structure", "told"),
    [
        ((0.5, 0.6), (0.7, 0.1), "reached by `ours_plain`."),
        ((0.5, 0.61), (0.59, None), "missed."),
        ((0.1, 0.1), (0.2, 0.2), "reached by `ours_plain`, `ours_structure`."),
    ],
)
def test_the_goal_is_one_of_every_judge(plain: Any, structure: Any, told: str) -> None:
    ratios = {
        name: {judge: {"mean": mean} for judge, mean in zip(("mlp", "pixels"), means, strict=True)}
        for name, means in {"ours_plain": plain, "ours_structure": structure}.items()
    }
    (line,) = page.goal_lines(ratios, "10 minutes")
    assert line.strip() == f"The goal at 10 minutes, at most 0.6 times the best peer's in every judge: {told}"
    assert page.goal_lines({}, "10 minutes") == []


def test_the_page_shows_every_contestant_and_what_could_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    assert page.section() is None
    store_fixture(monkeypatch, tmp_path)
    row = {"size": "small", "learning_rate": 5e-4, "variants": [], "excess": {"mlp": 1.0, "pixels": 4.0}}
    searched = {
        "budget_cpu_minutes": 2.0, "seed": 0, "missing": {"ddpm_pytorch": "no network"},
        "contestants": {
            "dit_loop": {
                "size": "small", "learning_rate": 5e-4, "learning_rate_at_edge": True, "sampler": "ddim 50",
                "variants": ["v"], "grid": {"size": "small", "learning_rate": 5e-4},
                "rows": [row, {**row, "variants": ["v"], "excess": {"mlp": 0.5, "pixels": 2.0}}],
            }
        },
    }  # fmt: skip
    common.store("peers", "search", searched)
    found = page.section()
    assert (
        "| 10 minutes | ours_plain: sadm, plain training | 9 | 500.0 | 6500 | 10.0 | a sampler, 20 | 1.5 | 0.5 | 50.0% |"
        in found
    )
    assert "| diverged | diverged |" in found
    header, rule, first = found[found.index("| budget |") :].splitlines()[:3]
    assert header.count("|") == rule.count("|") == first.count("|")
    assert "`ours_structure` against the best peer at 10 minutes, mlp: -50.0%" in found
    assert "| dit_loop | 2 | small | 0.0005 | yes | v | ddim 50, after 2 minutes |" in found
    assert "`ddpm_pytorch` could not be run: no network." in found
    assert "30 images, labels at training frequencies. Torch 2, a machine." in found


def test_the_page_says_which_machine_each_seed_ran_on_where_they_differ() -> None:
    def contestant(*machines: str) -> dict[str, Any]:
        return {"seeds": [100, 101], "machines": list(machines)}

    budgets = {
        "10 minutes": {"contestants": {"ours_plain": contestant("A", "B"), "dit_loop": contestant("A", "C")}},
        "30 minutes": {"contestants": {"ours_plain": contestant("A", "A")}},
    }
    assert page.machines(budgets) == (
        "10 minutes, seed 100: A; 10 minutes, seed 101: B and C; 30 minutes, seed 100: A; 30 minutes, seed 101: A."
    )


def test_the_search_takes_the_smallest_mean_logarithm_and_passes_over_divergence() -> None:
    def job(rate: float) -> plan.Job:
        return plan.Job("dit_loop", "small", rate, 0, 120.0)

    values: dict[float, tuple[float, float] | None] = {1e-3: (1.5, 0.35), 2e-3: (0.75, 0.75), 3e-3: None}
    results = {job(rate): result("dit_loop", 0, fd, rate) for rate, fd in values.items()}
    assert search.best_job(results, "dit_loop", "best") == job(1e-3)  # above the floor, 1 x 0.1 against 0.25 x 0.5
    assert score({"a": 2.0, "b": 8.0}) == pytest.approx(math.log(4))
    with pytest.raises(UserError, match="every training of dit_loop"):
        search.best_job({job(3e-3): results[job(3e-3)]}, "dit_loop", "best")


def test_the_grid_is_the_same_for_everyone() -> None:
    jobs = plan.search_jobs(plan.CONTESTANTS)
    assert len(jobs) == len({job.name for job in jobs}) == 9 * len(plan.CONTESTANTS)
    assert {(job.seed, job.budget) for job in jobs} == {(0, 180.0)}


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="no stored result"):
        main(["--summary"])
    assert main(["--run", "--only", "ours_plain"]) == 2
    assert "--search --only ours_plain" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown contestant 'gan'"):
        find("gan")
    with pytest.raises(SystemExit) as refused:
        main(["--run", "--only", "gan"])
    assert refused.value.code == 2


def test_why_a_contestant_cannot_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "venv")
    monkeypatch.setattr(environment.sys, "executable", str(tmp_path / "no python"))
    assert environment.unavailable("ddpm_pytorch") == "venv failed: FileNotFoundError"
    assert environment.unavailable("ours_plain") is None


def test_a_job_that_fails_ends_the_others_with_its_own_words(tmp_path: Path) -> None:
    job = plan.Job("ours_plain", "small", 1e-3, 0, 5.0)
    with pytest.raises(UserError, match=r"ours-plain-small-lr-0\.001-5-seconds-seed-0: .*job\.json does not exist"):
        Pool(1, Silent()).run({job: tmp_path / job.name}, lambda done: None)


def test_idle_processors_are_kept_busy_and_left_when_all_is_done(tmp_path: Path) -> None:
    company = Company()
    company.keep(2)
    first, second = company.processes
    company.keep(1)
    assert first.poll() is None
    assert second.poll() is not None
    company.keep(0)
    assert first.poll() is not None
    assert company.processes == []


def test_useless_work_ends_with_the_process_that_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    work(7)
    assert list(parents) == []


def test_a_job_with_room_for_three_has_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(Company, "keep", lambda self, count: counts.append(count))
    job = plan.Job("ours_plain", "small", 1e-3, 0, 5.0)
    with pytest.raises(UserError, match="does not exist"):
        Pool(3, Silent()).run({job: tmp_path / job.name}, lambda done: None)
    assert counts[0] == 2
    assert counts[-1] == 0
