"""Configurations of comparisons, measurements of cost, and the runs that follow from them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_comparison import FROZEN, HIDDEN, PLAIN, SADM, STEPS, TINY, WILD, tiny

from sadm.core.config import merge
from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import ArmCost, measure_costs, read_costs, step_ratio, store_costs
from sadm.experiments.plan import RESULT, RunJob, expected_runs, missing_evaluations, planned_jobs
from sadm.training.config import TrainConfig
from sadm.training.latents import TrainingSet
from sadm.training.run import split_for
from sadm.training.signals import PreparedSignals, prepare_signals

FREE = ArmCost(1.0, 0.5, 0.0, 0.0, 200)
DEAR = ArmCost(1.25, 0.5, 2.5, 0.0, 200)


# ---- configuration ---------------------------------------------------------------------------------------------------


def test_the_treatment_is_sadm_or_else_the_first_other_arm() -> None:
    assert tiny().treatment == "sadm"
    assert tiny(arms={"frozen": FROZEN, "plain": PLAIN, "sadm": SADM}).treatment == "sadm"
    assert tiny(arms={"sadm": SADM, "plain": PLAIN, "hidden": HIDDEN}).treatment == "hidden"
    assert CompareConfig().treatment == "hidden"
    assert CompareConfig().others == ["hidden", "sadm"]
    own = tiny(arms={"second": FROZEN, "plain": PLAIN, "third": SADM})
    assert own.treatment == "second"
    assert own.others == ["second", "third"]


def test_an_arm_may_change_anything_but_what_makes_it_comparable() -> None:
    config = tiny(
        arms={"plain": PLAIN, "own": {"net": {"width": 32}, "sampling": {"rho": 5.0}, "process": {"p_mean": 0.0}}}
    )
    own = config.arm_config("own", 3, steps=7)
    assert (own.net.width, own.sampling.rho, own.process.p_mean, own.seed, own.optimiser.steps) == (32, 5.0, 0.0, 3, 7)
    same = {"data": {"held_out": 0.4}, "device": "auto"}  # as the comparison has it
    assert tiny(arms={"plain": PLAIN, "own": same}).arm_config("own", 3).data.held_out == 0.4


def test_a_sampler_changes_an_arms_own_sampling() -> None:
    config = tiny(arms={"plain": PLAIN, "own": {"sampling": {"rho": 5.0}}}, samplers={"few": {"steps": 3}})
    assert (config.sampling("own", "few").steps, config.sampling("own", "few").rho) == (3, 5.0)
    assert (config.sampling("plain", "few").steps, config.sampling("plain", "few").rho) == (3, 7.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seeds": [1, 1]}, "seeds must differ"),
        ({"seeds": []}, "seeds"),
        ({"arms": {"plain": PLAIN}}, "arms must be 'plain', the control, and at least one other, got .'plain'."),
        ({"arms": {"sadm": SADM, "other": PLAIN}}, "arms must be 'plain', the control"),
        ({"arms": {"plain": PLAIN, "sadm": {"structur": {}}}}, "unknown key 'structur'; did you mean 'structure'"),
        ({"arms": {"plain": PLAIN, "a/b": SADM}}, "'a/b' can't name an arm"),
        ({"arms": {"plain": PLAIN, "": SADM}}, "'' can't name an arm"),
        ({"arms": {"plain": PLAIN, "x" * 61: SADM}}, "at most 60 letters"),
        ({"samplers": {"../few": {"steps": 3}}}, "can't name an arm or a sampler"),
        ({"samplers": {"few": {"stepps": 3}}}, "sampler few: unknown key 'stepps'; did you mean 'steps'"),
        ({"cost_shares": [1.0]}, "cost_shares.0"),
        (
            {"arms": {"plain": PLAIN, "own": {"data": {"limit": 100}}}},
            "arm 'own' sets data.limit to 100, the comparison to None: all arms train on the same images",
        ),
        ({"arms": {"plain": PLAIN, "own": {"seed": 5}}}, "arm 'own' sets seed to 5.*list them under 'seeds'"),
        ({"arms": {"plain": PLAIN, "own": {"optimiser": {"steps": 5}}}}, "optimiser.steps to 5.*budgets"),
        ({"arms": {"plain": {"device": "cpu"}, "own": SADM}}, "arm 'plain' sets device to 'cpu'"),
    ],
)
def test_bad_configurations(change: dict, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        tiny(**change)


def test_arms_may_augment_the_same_images_differently() -> None:
    config = tiny(arms={"plain": PLAIN, "augmented": {**PLAIN, "data": {"augment": {"preset": "photos"}}}})
    assert config.arm_config("augmented", 0).data.augment.preset == "photos"
    assert config.arm_config("plain", 0).data.augment.preset == "none"


# ---- cost ------------------------------------------------------------------------------------------------------------


def test_equal_cost_by_hand() -> None:
    cost = ArmCost(1.2, 0.5, 10.0, 0.0, 200)
    assert cost.equal_cost_steps(100) == 66  # (100 * 0.5 - 10) / (1.2 * 0.5)
    assert cost.equal_cost_steps(50) == 25
    assert cost.equal_cost_steps(10) == 1  # the encoder alone costs more than that
    assert cost.share(66, 100) == pytest.approx((66 * 0.6 + 10) / 50)
    assert cost.share(1, 10) == pytest.approx((0.6 + 10) / 5)
    both = dataclasses.replace(cost, control_pretrain_cpu_seconds=10.0)
    assert both.equal_cost_steps(100) == 83  # 50 / 0.6
    assert both.share(100, 100) == pytest.approx(70 / 60)


def test_an_arms_afforded_steps_are_the_most_that_fit() -> None:
    for cost in (FREE, DEAR, ArmCost(0.7, 0.01, 0.3, 0.1, 20)):
        for steps in (60, 100, 333):
            afforded = cost.equal_cost_steps(steps)
            assert cost.share(afforded, steps) <= 1 + 1e-12 < cost.share(afforded + 1, steps) + 1e-12


def test_a_disturbed_slice_does_not_move_the_cost() -> None:
    slow = [0.5] * 20
    assert step_ratio([0.6] * 20, slow) == pytest.approx(1.2)
    drifting = [0.5 * (1 + index / 10) for index in range(20)]
    assert step_ratio([1.2 * t for t in drifting], drifting) == pytest.approx(1.2)
    assert step_ratio([0.6] * 19 + [7.0], [9.0, *slow[1:]]) == pytest.approx(1.2)
    assert step_ratio([0.6] * 3, slow) == pytest.approx(1.2)  # the arm diverged after three slices
    assert step_ratio([0.6, 9.0, 0.6], [9.0, 0.5, 0.5]) == pytest.approx(1.2)  # one round is left
    assert step_ratio([], slow) == 1.0


def test_what_an_arm_does_seldom_is_charged_in_full() -> None:
    """An arm that acts in a tenth of its training, or in every eighth slice, costs what it costs on average."""
    slow = [0.5] * 40
    assert step_ratio([0.75] * 4 + [0.5] * 36, slow) == pytest.approx(1.05)
    assert step_ratio([0.7 if index % 8 == 0 else 0.5 for index in range(40)], slow) == pytest.approx(1.05)


def test_every_arm_is_measured_beside_the_control_and_stored_by_arm(tmp_path: Path) -> None:
    config = tiny(arms={"plain": PLAIN, "sadm": SADM, "twin": PLAIN, "wild": WILD})
    images = split_for(config.train).train
    store_costs(tmp_path, {"sadm": DEAR})
    found = measure_costs(config, ["twin", "wild"], images, Silent())
    store_costs(tmp_path, found)
    assert read_costs(tmp_path) == {"sadm": DEAR, **found}
    assert found["twin"].steps_measured == 20
    assert found["twin"].step_ratio > 0
    assert found["twin"].control_cpu_seconds_per_step > 0
    assert (found["wild"].steps_measured, found["wild"].step_ratio) == (0, 1.0)
    assert found["twin"].pretrain_cpu_seconds == 0


def test_an_arm_is_not_charged_for_first_calls_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []

    def recorded(config: TrainConfig, images: TrainingSet, reporter: Reporter) -> PreparedSignals:
        steps.append((config.signal, config.structure.encoder_steps))
        return prepare_signals(config, images, reporter)

    monkeypatch.setattr("sadm.experiments.cost.prepare_signals", recorded)
    config = tiny(arms={"plain": PLAIN, "sadm": SADM})
    measure_costs(config, ["sadm"], split_for(config.train).train, Silent())
    assert steps == [("none", 1), ("none", 2), ("structure", 1), ("structure", 2)]  # the first of each is not measured


def test_a_control_that_diverges_at_once_can_not_be_compared_with() -> None:
    wild = merge(TINY["train"], {"optimiser": {"learning_rate": 1e30}})
    config = tiny(train=wild)
    with pytest.raises(UserError, match="'plain' diverged within its first 8 steps.*learning-rate .now 1e.30"):
        measure_costs(config, ["sadm"], split_for(config.train).train, Silent())


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_jobs_are_paired_and_named() -> None:
    jobs = planned_jobs(tiny(seeds=[100, 101]), {})
    assert jobs == [RunJob(arm, seed, STEPS) for seed in (100, 101) for arm in ("plain", "sadm")]
    assert len({job.name for job in jobs}) == 4


def test_runs_at_equal_cost_and_at_shares_follow_the_measured_cost() -> None:
    config = tiny(seeds=[1], arms={"plain": PLAIN, "sadm": SADM, "own": FROZEN}, cost_shares=[0.5])
    jobs = planned_jobs(config, {"sadm": DEAR})
    assert {(job.arm, job.steps) for job in jobs} == {
        ("plain", 40),
        ("plain", 20),
        ("sadm", 40),
        ("sadm", 28),  # (40 - 5) / 1.25
        ("sadm", 12),  # (20 - 5) / 1.25
        ("own", 40),  # its cost is not known yet
    }
    assert expected_runs(config) == len(planned_jobs(config, {"sadm": DEAR, "own": DEAR})) == 8


def test_runs_whose_steps_coincide_are_planned_once() -> None:
    config = tiny(seeds=[1, 2], cost_shares=[0.01, 0.02, 0.5])
    jobs = planned_jobs(config, {"sadm": FREE})
    assert len(jobs) == len(set(jobs))
    assert sorted(job.steps for job in jobs if job.arm == "sadm" and job.seed == 1) == [1, 20, 40]
    assert sorted(job.steps for job in jobs if job.arm == "plain" and job.seed == 1) == [1, 20, 40]


def test_a_job_is_complete_with_everything_that_is_asked_for(tmp_path: Path) -> None:
    job = RunJob("sadm", 1, 5)

    def complete(result: dict | None, **change: object) -> bool:
        job.folder(tmp_path).mkdir(parents=True, exist_ok=True)
        (job.folder(tmp_path) / RESULT).unlink(missing_ok=True)
        if result is not None:
            (job.folder(tmp_path) / RESULT).write_text(json.dumps(result))
        return job.is_complete(tmp_path, tiny(**change))

    few: CompareConfig = tiny(samplers={"few": {"steps": 3}})
    plainly = {"diverged": False, "evaluation": {"fd": {}}}
    assert not complete(None)
    assert complete(plainly)
    assert not complete(plainly, samplers=few.samplers)
    assert complete({**plainly, "evaluations": {"few": {}}}, samplers=few.samplers)
    assert not complete(plainly, per_class=True)
    assert complete({"diverged": False, "evaluation": {"fd": {}, "classes": {}}}, per_class=True)
    assert complete({"diverged": True}, samplers=few.samplers, per_class=True)
    assert missing_evaluations(plainly, few) == ["few"]
    assert missing_evaluations({}, few) == [None, "few"]
