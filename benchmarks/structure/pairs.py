"""Paired trainings at steps that are known beforehand: sabotage of the game; many seeds, shares of the cost, sizes of the
network and lengths of the training for the default."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, relative, store, stored
from benchmarks.paired import above_floor, cost_beside, seconds, train_all
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.noisy import write_noisy
from benchmarks.structure.regimes import ARMS, REGIMES, REPORT_SEEDS, SIDE
from benchmarks.structure.trainings import NAME

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

NOISY = "noisy-fashion-mnist"
MORE_SEEDS = tuple(range(105, 120))
FEW_SEEDS = REPORT_SEEDS[:3]
FORMER = "hidden - no bound"
PAIRED_ARMS = {**ARMS, FORMER: {"signal": "hidden", "control": {"ratio": None}}}
"""The arms of the regimes, and the default as it was before it had a bound."""
SHORT_28 = {
    "optimiser": {"steps": 1000, "warmup_steps": 100, "ema_half_life": 10000},
    "sampling": {"solver": "dpmpp_2m", "steps": 17},
}

BEST_28 = {
    "net": {"width": 64},
    "process": {"p_mean": 0.8},
    "optimiser": {
        "kind": "muon",
        "steps": 3000,
        "batch": 32,
        "learning_rate": 0.0135,
        "warmup_steps": 50,
        "ema_half_life": 10000,
    },
    "structure": {"encoder_batch": 64, "encoder_steps": 120},
}
"""What `benchmarks.peers` found for 28x28 pixels, at the length of its search, with as much pre-training as it gives for that."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Plain training and one other arm, pair by pair.

    Attributes:
        title: what it is.
        arm: which of `PAIRED_ARMS`.
        change: on top of the recipe, for both.
        arm_change: on top of the arm.
        seeds: paired.
        cost_of: the regime whose cost gives the arm's steps at equal cost; None = equal steps.
        share: of plain training's cost, with `cost_of`.
        extends: whether that regime's pairs are counted in.
        noisy: train on Fashion-MNIST with a tenth of pure noise.
        recipe: of both, one of `benchmarks.pinned`.
        beside: the row in whose folder this one is trained, so that plain trainings are shared; None = its own.
        measured: also train the arm at equal cost, as it is measured beside this network.
    """

    title: str
    arm: str = "sadm"
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = REPORT_SEEDS
    cost_of: str | None = None
    share: float = 1.0
    extends: bool = False
    noisy: bool = False
    recipe: str = f"fashion_mnist_{SIDE}"
    arm_change: dict[str, Any] = dataclasses.field(default_factory=dict)
    beside: str | None = None
    measured: bool = False


PAIRS = {
    "Z": Pairs("20 seeds of the default at equal cost", arm="hidden", seeds=MORE_SEEDS, cost_of="B", extends=True),
    "S1": Pairs("encoder learning rate x100", change={"structure": {"learning_rate": 100 * 2e-5}}),
    "S2": Pairs("ratio at its cap", change={"structure": {"ratio": 0.99}}),
    "S3": Pairs("batch of 4", change={"optimiser": {"batch": 4}}),
    "S4": Pairs("a tenth of the images pure noise", noisy=True),
    "DR": Pairs(
        "one class at 2 %: the game with RBF affinity, equal cost",
        change=REGIMES["D"].change,
        cost_of="B",
        arm_change={"structure": {"relation": "rbf"}},
    ),
}
SHARES = {
    "K70": Pairs("the default at 70 % of plain's cost", arm="hidden", cost_of="B", share=0.7),
    "K85": Pairs("the default at 85 % of plain's cost", arm="hidden", cost_of="B", share=0.85),
}
"""For the share of plain training's cost at which the default is as good as plain training at its full cost, in regime B."""
SIZES = {
    "N1": Pairs("width 64, 4 tokens", "hidden", {"net": {"width": 64}}, FEW_SEEDS, measured=True),
    "N2": Pairs("width 128, 4 tokens", "hidden", {}, FEW_SEEDS, measured=True),
    "N3": Pairs("width 224, 4 tokens", "hidden", {"net": {"width": 224}}, FEW_SEEDS, measured=True),
    "N4": Pairs("width 64, 16 tokens", "hidden", {"net": {"width": 64, "patch": 2}}, FEW_SEEDS, measured=True),
    "N5": Pairs("width 128, 16 tokens", "hidden", {"net": {"width": 128, "patch": 2}}, FEW_SEEDS, measured=True),
    "N6": Pairs("16x16 pixels, width 96, 16 tokens", "hidden", {}, FEW_SEEDS, recipe="fashion_mnist_16", measured=True),
    "N7": Pairs("width 416, 4 tokens", "hidden", {"net": {"width": 416}}, FEW_SEEDS, measured=True),
    "N8": Pairs(
        "28x28 pixels, width 128, 49 tokens, 1,000 steps",
        "hidden",
        SHORT_28,
        FEW_SEEDS,
        recipe="fashion_mnist",
        measured=True,
    ),
}
"""The default signal beside networks of several sizes, at equal steps and at equal cost."""
TUNED = {
    "M": Pairs(
        "width 128, 4 tokens, both with Muon at the rate of AdamW",
        "hidden",
        {"optimiser": {"kind": "muon"}},
        measured=True,
    ),
    "M2": Pairs(
        "width 128, 4 tokens, both with Muon at twice that rate",
        "hidden",
        {"optimiser": {"kind": "muon", "learning_rate": 8e-3}},
        tuple(range(100, 110)),
        measured=True,
    ),
    "M3": Pairs(
        "28x28 pixels, width 64, 49 tokens, 3,000 steps, both with Muon",
        "hidden",
        BEST_28,
        recipe="fashion_mnist",
        measured=True,
    ),
}
"""The default signal where plain training has more of what was found since, at equal steps and at equal cost; the rate that suits
Muon is of search seeds (`benchmarks.structure.variants`)."""
STEPS = (100, 200, 400, 600, 1200, 2400)
LENGTHS = {
    f"T{steps}": Pairs(
        f"{steps} steps", "hidden", {"optimiser": {"steps": steps, "warmup_steps": min(50, steps // 10)}}, REPORT_SEEDS
    )
    for steps in STEPS
}
"""The default in trainings of several lengths, each with its own schedule, at equal steps."""
CONFIRMED = {
    "N8G": Pairs(
        "28x28 pixels, 1,000 steps: the game", "sadm", SHORT_28, FEW_SEEDS, recipe="fashion_mnist", beside="N8"
    ),
    "N8F": Pairs(
        "28x28 pixels, 1,000 steps: frozen encoder", "frozen", SHORT_28, FEW_SEEDS, recipe="fashion_mnist", beside="N8"
    ),
}
"""The paper's form where N8 has the default, at equal steps."""
SIZES_BEFORE, LENGTHS_BEFORE = (
    {
        f"{name}U": dataclasses.replace(
            pairs, title=f"{pairs.title}, without the bound", arm=FORMER, beside=name, measured=False
        )
        for name, pairs in rows.items()
    }
    for rows in (SIZES, LENGTHS)
)
"""Sizes and lengths with the default as it was before it had a bound, at equal steps."""
ALL = {**PAIRS, **SHARES, **SIZES, **TUNED, **LENGTHS, **CONFIRMED, **SIZES_BEFORE, **LENGTHS_BEFORE}


def run_pairs(name: str) -> None:
    """Trains what is missing and stores the row; resumable."""
    from sadm.experiments.config import CONTROL

    pairs, (config, steps) = ALL[name], compared_pairs(name)
    folder, whole = RUNS / NAME / (pairs.beside or name), steps[CONTROL]
    floor = train_all(config, folder, steps)
    found = row(name, folder, steps, floor)
    if pairs.measured:
        cost = cost_beside(config, folder, pairs.arm)
        afforded = cost.equal_cost_steps(whole)
        train_all(config, folder, {pairs.arm: afforded})
        ratios = row(name, folder, {CONTROL: whole, pairs.arm: afforded}, floor)["ratios"]
        found["equal_cost"] = {"steps": afforded, "step_ratio": cost.step_ratio, "ratios": ratios}
    store(NAME, name, found)


def compared_pairs(name: str) -> tuple[CompareConfig, dict[str, int]]:
    """What a row compares, and the steps of plain training and of its arm."""
    from sadm.core.config import merge
    from sadm.experiments.config import CONTROL, CompareConfig

    pairs = ALL[name]
    train = pinned_recipe(pairs.recipe, {**pairs.change, "log": {"samples": 0}})
    if pairs.noisy:
        source = relative(write_noisy(RUNS / NAME / NOISY))
        train = train.model_copy(update={"data": train.data.model_copy(update={"source": source})})
    arms = {CONTROL: ARMS[CONTROL], pairs.arm: merge(PAIRED_ARMS[pairs.arm], pairs.arm_change)}
    config = CompareConfig(train=train, arms=arms, seeds=[*pairs.seeds], groups=1)
    whole = train.optimiser.steps
    own = whole if pairs.cost_of is None else steps_at_share(stored(NAME, pairs.cost_of), pairs.arm, whole, pairs.share)
    return config, {CONTROL: whole, pairs.arm: own}


def steps_at_share(regime: dict[str, Any], arm: str, whole: int, share: float) -> int:
    """Steps of an arm that cost this share of plain training's `whole` steps, by the costs measured in a stored regime."""
    from sadm.experiments.cost import ArmCost

    cost, control = regime["cost"][arm], regime["cost"]["plain"]
    measured = ArmCost(
        step_ratio=cost["step_ratio"],
        control_cpu_seconds_per_step=control["cpu_seconds_per_step"],
        pretrain_cpu_seconds=cost["pretrain_cpu_seconds"],
        control_pretrain_cpu_seconds=0.0,  # plain training has none
        steps_measured=cost["steps_measured"],
    )
    return measured.equal_cost_steps(share * whole)


def row(name: str, folder: Path, steps: dict[str, int], floor: dict[str, float]) -> dict[str, Any]:
    """What is kept: by judge the ratio of both arms' FD - floor pair by pair, and plain training's mean; what the watchdog did;
    divergence."""
    from sadm.core.provenance import provenance
    from sadm.experiments.runs import Runs
    from sadm.experiments.statistics import paired_ratio

    pairs = ALL[name]
    found = {arm: Runs.read(folder, arm, pairs.seeds, count) for arm, count in steps.items()}
    control, treated = found.values()
    diverged = {arm: runs.diverged for arm, runs in found.items()}
    earlier = stored(NAME, pairs.cost_of) if pairs.cost_of and pairs.extends else None
    judges, plain = {}, {}
    for judge in floor if not any(diverged.values()) else ():
        before = [] if earlier is None else earlier["ratios"]["equal_cost"][pairs.arm][judge]["values"]
        excess = [above_floor(runs, judge, floor) for runs in (treated, control)]
        judges[judge] = paired_ratio([*before, *excess[0]], [1.0] * len(before) + excess[1]).as_dict()
        plain[judge] = sum(excess[1]) / len(excess[1])
    return {
        "name": name,
        "title": pairs.title,
        "arm": pairs.arm,
        "seeds": [*(earlier["seeds"] if earlier else ()), *pairs.seeds],
        "steps": steps,
        "ratios": judges,
        "plain": plain,
        "events": [watchdog_events(job.folder(folder)) for job in treated.jobs],
        "account": [watchdog_account(job.folder(folder)) for job in treated.jobs],
        "diverged": diverged,
        "cpu_seconds": {arm: [seconds(result) for result in runs.finished] for arm, runs in found.items()},
        "parameters": next((result["parameters"] for result in control.finished), None),
        "provenance": provenance(),
    }


def watchdog_events(run: Path) -> int | None:
    """How often the watchdog acted in a run; None without one."""
    from sadm.training.journal import read_metrics

    counts = [line["events"] for line in read_metrics(run) if "events" in line]
    return int(max(counts)) if counts else None


def watchdog_account(run: Path) -> list[str]:
    """What the watchdog did in a run, in words; nothing where it has no account."""
    from sadm.core.files import read_json

    facts = run / "run.json"
    return list(read_json(facts).get("watchdog", [])) if facts.exists() else []
