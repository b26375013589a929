"""Many arms against plain training at equal steps in regime B: what the project began with as hypotheses, the controls, and
options of the game that the search left out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, SEARCHED_FROM, store
from benchmarks.paired import rows_of_arms
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.pairs import FORMER
from benchmarks.structure.regimes import REGIMES, REPORT_SEEDS, SEARCH_SEEDS
from benchmarks.structure.trainings import NAME

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

WHOLE = {**SEARCHED_FROM, "end": 1.0}
"""The game as it was first tried: in every step, to the end, with an encoder of full resolution."""
GAME, FROZEN, FEATURES = "game - noisiest third", "frozen - noisiest third", "point-wise features - noisiest third"
BATCH, CLEANEST, MIDDLE = "game - balanced over the batch", "game - cleanest third", "game - middle third"
FORMER_RANDOM = f"{FORMER} - random encoder"
RANDOM, HALF = "frozen random encoder", "game - ends half-way"


@dataclasses.dataclass(frozen=True)
class Variants:
    """A table.

    Attributes:
        title: of its section.
        arms: each as of a comparison, by what it is.
        seeds: paired with plain training's.
        together: whether the arms were trained side by side, so that their CPU-seconds can be compared.
        change: on top of the recipe, for all arms and for plain training.
    """

    title: str
    arms: dict[str, dict[str, Any]]
    seeds: tuple[int, ...] = REPORT_SEEDS
    together: bool = True
    change: dict[str, Any] = dataclasses.field(default_factory=dict)


def game(**change: Any) -> dict[str, Any]:
    """The game as it was first tried, with other options."""
    return {"signal": "structure", "structure": {**WHOLE, **change}}


def hidden(**change: Any) -> dict[str, Any]:
    """Structure in a hidden layer with other options than the default."""
    return {"signal": "hidden", **({"control": change} if change else {})}


def at_rate(signal: str, rate: float) -> dict[str, Any]:
    """A signal, or none, at another learning rate than the recipe's."""
    return {"signal": signal, "optimiser": {"learning_rate": rate}}


RATES = {"half": 2e-3, "twice": 8e-3, "four times": 1.6e-2, "eight times": 3.2e-2}
"""Learning rates that are tried with Muon, by how they compare with the recipe's."""
TABLES = {
    "hypotheses": Variants(
        "What the project began with as hypotheses",
        {
            GAME: game(),
            BATCH: game(balance="batch"),
            CLEANEST: game(choose="cleanest"),
            MIDDLE: game(choose="middle"),
            FROZEN: game(adversary="frozen"),
            FEATURES: {"signal": "features", "structure": WHOLE},
            RANDOM: game(adversary="frozen", encoder_steps=0),
            HALF: game(end=0.5),
        },
    ),
    "controls": Variants(
        "Other signals, as controls",
        {
            FORMER: hidden(ratio=None),
            FORMER_RANDOM: {**hidden(ratio=None), "structure": {"encoder_steps": 0}},
            "labels": {"signal": "labels"},
            "dispersive": {"signal": "dispersive"},
            "dispersive - a tenth of the weight": {"signal": "dispersive", "control": {"weight": 0.05}},
            "contrastive": {"signal": "contrastive"},
            "repa": {"signal": "repa"},
            "sampled": {"signal": "sampled"},
        },
    ),
    "bounds": Variants(
        "How much of structure in a hidden layer",
        {
            "no bound": hidden(ratio=None),
            "ratio 0.1": hidden(ratio=0.1),
            "the default": hidden(),
            "ratio 0.5": hidden(ratio=0.5),
            "ratio 1": hidden(ratio=1.0),
            "weight 20": hidden(weight=20.0),
            "middle block": hidden(tap="blocks.1"),
            "in every step": {**hidden(), "structure": {"every": 1}},
            "in every step - ratio 0.1": {**hidden(ratio=0.1), "structure": {"every": 1}},
            "in every step - ratio 0.5": {**hidden(ratio=0.5), "structure": {"every": 1}},
            "to the end": {**hidden(), "structure": {"end": 1.0}},
            "in every step of the first quarter": {**hidden(), "structure": {"every": 1, "end": 0.25}},
            "half as much pre-training": {**hidden(), "structure": {"encoder_steps": 50}},
            "random encoder": {**hidden(), "structure": {"encoder_steps": 0}},
        },
        SEARCH_SEEDS,
        together=False,
    ),
    "muon": Variants(
        "How much of structure in a hidden layer, where all are trained with Muon",
        {
            "the default": hidden(),
            "no bound": hidden(ratio=None),
            "ratio 0.5": hidden(ratio=0.5),
            "ratio 1": hidden(ratio=1.0),
            "weight 20": hidden(weight=20.0),
            "in every step": {**hidden(), "structure": {"every": 1}},
            "to the end": {**hidden(), "structure": {"end": 1.0}},
            "in every step to the end": {**hidden(), "structure": {"every": 1, "end": 1.0}},
            "middle block": hidden(tap="blocks.1"),
            **{f"plain at {words} the rate": at_rate("none", rate) for words, rate in RATES.items()},
            **{
                f"the default at {words} the rate": at_rate("hidden", rate)
                for words, rate in RATES.items()
                if rate > 4e-3
            },
        },
        SEARCH_SEEDS,
        change={"optimiser": {"kind": "muon"}},
    ),
    "options": Variants(
        "Options of the game that the search left out",
        {
            "evenly chosen": game(choose="evenly"),
            "ratio falls with noise": game(profile="falling"),
            "ratio grows with noise": game(profile="growing"),
            "huber": game(penalty="huber"),
            "spectral": game(penalty="spectral"),
            "vision transformer": game(encoder_kind="vit"),
            "encoder that denoises": game(encoder_training="denoising"),
            "R1 of 1": game(r1=1.0),
            "pull of 0.1": game(pull=0.1),
            "spectral bound of 2": game(spectral_bound=2.0),
            "adversary learns in every 4th play": game(update_every=4),
            "memory of 64 images": game(memory=64),
        },
        SEARCH_SEEDS[:2],
    ),
}


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A claim that one arm is better than another.

    Attributes:
        claim: in words.
        better: the arm that should be.
        worse: than which.
        judges: who decide; None = the deciding judges.
    """

    claim: str
    better: str
    worse: str
    judges: tuple[str, ...] | None = None


HYPOTHESES = (
    Hypothesis("the game is useful when it is balanced image by image, not over the batch", GAME, BATCH),
    Hypothesis("structure is decided at high noise: the noisiest third beats the cleanest", GAME, CLEANEST),
    Hypothesis("… and the middle one", GAME, MIDDLE),
    Hypothesis("there the adversary earns its place: it beats a frozen encoder", GAME, FROZEN),
    Hypothesis("relations beat point-wise features (both frozen)", FROZEN, FEATURES),
    Hypothesis("a random encoder is worse than a trained one (both frozen)", FROZEN, RANDOM),
    Hypothesis("the loss of texture goes away when the game ends half-way", HALF, GAME, ("random_conv",)),
)
CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "open"


def run_variants(name: str) -> None:
    """Trains what is missing of a table and stores it; resumable."""
    from sadm.core.provenance import provenance

    table, config = TABLES[name], compared_variants(name)
    # One folder for all that change nothing: they share the trainings of plain diffusion.
    folder = RUNS / NAME / (f"variants-{name}" if table.change else "variants")
    steps = config.train.optimiser.steps
    found = {
        "title": table.title,
        "seeds": [*table.seeds],
        "steps": steps,
        "rows": rows_of_arms(config, folder, dict.fromkeys(config.arms, steps)),
        "provenance": provenance(),
    }
    store(NAME, name, found)


def compared_variants(name: str) -> CompareConfig:
    """What a table compares."""
    from sadm.experiments.config import CONTROL, CompareConfig

    table = TABLES[name]
    train = pinned_recipe(REGIMES["B"].recipe, {**table.change, "log": {"samples": 0}})
    arms = {CONTROL: {"signal": "none"}, **table.arms}
    return CompareConfig(train=train, arms=arms, seeds=[*table.seeds], groups=1)


def verdict(ratios: list[dict[str, Any]]) -> str:
    """Confirmed or refuted where every interval lies on one side of 1; otherwise open."""
    if any(found["mean"] is None for found in ratios):
        return OPEN
    if all(found["high"] < 1 for found in ratios):
        return CONFIRMED
    return REFUTED if all(found["low"] > 1 for found in ratios) else OPEN
