"""The watchdog: notices that the game diverges, reins it in step by step, and says so.

Its rules need no tuning to a data set, since each compares like with like: what the ascending encoder sees with what its
starting weights see in the same images, and the denoiser with itself at its best. What it did is not undone after a quiet
period: quiet is what an intervention is meant to bring, and says nothing about what would follow without it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from sadm.structure.errors import StructureError
from sadm.structure.players.discriminator import END, HALVE, ROLL_BACK

BLIND = 0.1
"""An encoder is blind when its gap, or the spread of its relations, is below this share of what its start sees."""
MUTE = 1e-4
"""A discriminator is mute when its gap hardly depends on the images: what is left of the gradient is rounding error."""
OUT_OF_TOUCH = 0.25
"""An encoder is out of touch when real and denoised relations correlate below this share of what they do at its start."""
GAP_GROWTH, GRADIENT_GROWTH = 2.0, 1.25
"""The denoiser has become worse when both the gap and the denoising gradient have grown by these factors over its best."""
STANDARD_ERRORS = 2.0, 5.0
"""Significance asked of a difference of correlations, and of a growth over the best of many windows (which is lucky by 3)."""
SKIPS = 3
"""Plays without finite numbers in one window after which the ladder acts."""


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that the watchdog did.

    Attributes:
        step: of the game.
        action: a rung of the discriminator's ladder.
        reason: in plain words.
        numbers: what was measured, by name; all finite.
    """

    step: int
    action: str
    reason: str
    numbers: dict[str, float]

    def __str__(self) -> str:
        return f"step {self.step}: {self.action}, since {self.reason}"


@dataclasses.dataclass
class Pairs:
    """Relations over pairs, pooled over plays; see `sadm.structure.players.outputs.pair_moments` for the six numbers."""

    count: float = 0.0
    mean: float = 0.0
    mean_hat: float = 0.0
    square: float = 0.0
    square_hat: float = 0.0
    product: float = 0.0

    def add(self, moments: Sequence[float]) -> None:
        """Pools those of another play (Chan et al. 1979, the parallel form of Welford's sums)."""
        count, mean, mean_hat, square, square_hat, product = moments
        total = self.count + count
        change, change_hat = mean - self.mean, mean_hat - self.mean_hat
        share = self.count * count / total
        self.square += square + change**2 * share
        self.square_hat += square_hat + change_hat**2 * share
        self.product += product + change * change_hat * share
        self.mean += change * count / total
        self.mean_hat += change_hat * count / total
        self.count = total

    @property
    def spread(self) -> float:
        """Standard deviation of real relations."""
        return math.sqrt(self.square / self.count) if self.count else 0.0

    @property
    def spread_hat(self) -> float:
        """Standard deviation of denoised relations."""
        return math.sqrt(self.square_hat / self.count) if self.count else 0.0

    @property
    def correlation(self) -> float:
        """Between real and denoised relations; 0 where one side does not vary."""
        scale = math.sqrt(self.square) * math.sqrt(self.square_hat)
        return max(-1.0, min(1.0, self.product / scale)) if scale > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class Probed:
    """The same images through the ascending encoder as it is, and through its starting weights.

    Attributes:
        gap: now.
        gap_start: as the starting weights see it.
        moments_start: as the starting weights see it.
    """

    gap: float
    gap_start: float
    moments_start: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Reading:
    """One play in numbers.

    Attributes:
        step: of the game.
        images: that took part.
        gap: what the denoiser descends.
        g_dsm: mean gradient norm of the denoising loss.
        sensitivity: of the gap; see `Measured`.
        moments: of the relations.
        probed: None where the play was not probed.
    """

    step: int
    images: int
    gap: float
    g_dsm: float
    sensitivity: float
    moments: Sequence[float]
    probed: Probed | None = None


@dataclasses.dataclass
class Window:
    """What some plays in a row have shown."""

    gaps: list[float] = dataclasses.field(default_factory=list)
    gradients: list[float] = dataclasses.field(default_factory=list)
    sensitivities: list[float] = dataclasses.field(default_factory=list)
    skips: int = 0
    images: int = 0
    gaps_now: list[float] = dataclasses.field(default_factory=list)
    gaps_start: list[float] = dataclasses.field(default_factory=list)
    now: Pairs = dataclasses.field(default_factory=Pairs)
    start: Pairs = dataclasses.field(default_factory=Pairs)

    def add(self, reading: Reading) -> None:
        """Adds a play."""
        self.gaps.append(reading.gap)
        self.gradients.append(reading.g_dsm)
        self.sensitivities.append(reading.sensitivity)
        if reading.probed is not None:
            self.images += reading.images
            self.gaps_now.append(reading.probed.gap)
            self.gaps_start.append(reading.probed.gap_start)
            self.now.add(reading.moments)
            self.start.add(reading.probed.moments_start)


@dataclasses.dataclass(frozen=True)
class Best:
    """The window in which the denoising gradient was smallest, and the noise in all windows.

    Attributes:
        gap: its gap, as the starting encoder sees it where that is known.
        g_dsm: its median denoising gradient.
        error: mean standard error of the logarithm of such medians; that of a single window can be small by chance.
        windows: how many there have been.
    """

    gap: float
    g_dsm: float
    error: float
    windows: int


class Watchdog:
    """Watches one game from its first play; see the module for its principle.

    It looks every `window` plays, and answers with the next rung of the discriminator's ladder: halve the ratio, freeze, roll
    back to the starting weights, end the game (what a kind can't do is left out). Rungs add up. It answers to:

    - an ascending encoder that is *blind*: its gap or the spread of its relations is below a tenth of what its starting weights
      see in the same images. Only rolling it back can cure that, so all rungs up to that one are taken at once;
    - a discriminator that is *mute*: its gap no longer depends on the images, and balance would blow rounding errors up to a
      gradient. Treated in the same way;
    - one that is *out of touch*: real and denoised relations correlate less than a quarter as much as at its start;
    - a denoiser that has become *worse*: the gap (as the starting encoder sees it) is twice, and the denoising gradient 1.25
      times, what they were at its best;
    - three plays whose numbers were not finite and which were skipped; weights that are not finite are rolled back at once.

    Args:
        window: plays between two looks, > 1.
        probe: images a play, on average, that are also seen through the starting weights, > 0; a play is probed whole.

    Attributes:
        events: what was done, in order.
        skipped: plays that were skipped, in all.

    Raises:
        StructureError: a value out of range.
    """

    def __init__(self, window: int = 25, probe: float = 4.0) -> None:
        if not isinstance(window, int) or window < 2:
            raise StructureError(f"the watchdog's window must be a whole number of plays, at least 2, got {window}")
        if not probe > 0:
            raise StructureError(f"the watchdog's probe must be positive, got {probe}")
        self.window, self.probe = window, probe
        self.ladder: tuple[str, ...] = ()
        self.events: list[Event] = []
        self.skipped = 0
        self._rung = -1
        self._credit = 0.0
        self._current = Window()
        self._best: Best | None = None

    def attach(self, ladder: tuple[str, ...]) -> None:
        """Takes charge of a game whose discriminator offers these rungs.

        Raises:
            StructureError: it watches another game already.
        """
        if self.ladder:
            raise StructureError("this watchdog watches another game already; give each game its own")
        self.ladder = ladder

    @property
    def ratio_scale(self) -> float:
        """What the game's ratio is multiplied with."""
        return 0.5 if HALVE in self.ladder[: self._rung + 1] else 1.0

    @property
    def ended(self) -> bool:
        """Whether the game is over."""
        return END in self.ladder[: self._rung + 1]

    def wants_probe(self, images: int) -> bool:
        """Whether this play of so many images is to be probed; asked once a play."""
        if ROLL_BACK in self.ladder[: self._rung + 1]:
            return False  # what is now is what was at the start
        self._credit = min(self._credit, float(images)) + self.probe
        return self._credit >= images

    def observe(self, reading: Reading) -> Event | None:
        """Takes in a play; the event, if it is time to act."""
        if reading.probed is not None:
            self._credit = max(0.0, self._credit - reading.images)
        self._current.add(reading)
        return self._look(reading.step)

    def skip(self, step: int, problem: str, healthy: bool) -> Event | None:
        """Takes in a play that was given up; the event, if it is time to act.

        Args:
            step: of the game.
            problem: what was not finite.
            healthy: whether the adversary's weights are finite.
        """
        self.skipped += 1
        self._current.skips += 1
        numbers = {"skipped": float(self.skipped)}
        if not healthy:
            return self._act(step, "the discriminator's weights hold NaN or infinite values", numbers, ROLL_BACK)
        if self._current.skips >= SKIPS:
            reason = f"{SKIPS} plays within {self.window} were skipped, the last because {problem} was not finite"
            return self._act(step, reason, numbers)
        return self._look(step)

    def _look(self, step: int) -> Event | None:
        window = self._current
        if len(window.gaps) + window.skips < self.window:
            return None
        self._current = Window()
        if not window.gaps:
            return None
        # In this order: an encoder that is blind is out of touch as well, and only the first cure helps.
        found = _blindness(window) or _muteness(window) or _lost_touch(window) or self._decline(window)
        return None if found is None else self._act(step, *found)

    def _decline(self, window: Window) -> tuple[str, dict[str, float]] | None:
        gap = statistics.fmean(window.gaps_start) if window.gaps_start else statistics.median(window.gaps)
        g_dsm, error = statistics.median(window.gradients), _error_of_log_median(window.gradients)
        best = self._best or Best(gap, g_dsm, error, 0)
        error = (best.windows * best.error + error) / (best.windows + 1)
        lowest = (gap, g_dsm) if g_dsm < best.g_dsm else (best.gap, best.g_dsm)
        self._best = Best(*lowest, error, best.windows + 1)
        if min(best.gap, best.g_dsm) <= 0:
            return None
        if gap <= GAP_GROWTH * best.gap or g_dsm <= GRADIENT_GROWTH * best.g_dsm:
            return None
        growth = g_dsm / best.g_dsm
        if math.log(growth) <= STANDARD_ERRORS[1] * math.sqrt(2) * error:
            return None
        numbers = {"gap": gap, "gap_best": best.gap, "g_dsm": g_dsm, "g_dsm_best": best.g_dsm}
        times = f"the gap is {gap / best.gap:.1f} and the denoising gradient {growth:.2f} times"
        return f"the denoiser became worse: {times} what they were at its best", numbers

    def _act(self, step: int, reason: str, numbers: dict[str, float], least: str = HALVE) -> Event | None:
        """The next rung; one not below `least`, or the last where there is none such."""
        self._current, self._best = Window(), None  # what follows is judged afresh
        lowest = self.ladder.index(least) if least in self.ladder else len(self.ladder) - 1
        rung = max(self._rung + 1, lowest)
        if rung >= len(self.ladder):
            return None
        self._rung = rung
        self.events.append(Event(step, self.ladder[rung], reason, numbers))
        return self.events[-1]

    def state_dict(self) -> dict[str, Any]:
        """Events, the rung reached, and the window under way."""
        return {
            "events": [dataclasses.asdict(event) for event in self.events],
            "skipped": self.skipped,
            "rung": self._rung,
            "credit": self._credit,
            "current": dataclasses.asdict(self._current),
            "best": None if self._best is None else dataclasses.asdict(self._best),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.events = [Event(**event) for event in state["events"]]
        self.skipped, self._rung, self._credit = int(state["skipped"]), int(state["rung"]), float(state["credit"])
        pairs = {name: Pairs(**state["current"][name]) for name in ("now", "start")}
        self._current = Window(**{**copy.deepcopy(state["current"]), **pairs})
        self._best = None if state["best"] is None else Best(**state["best"])


def _blindness(window: Window) -> tuple[str, dict[str, float], str] | None:
    if not window.gaps_now:
        return None
    gap, gap_start = statistics.fmean(window.gaps_now), statistics.fmean(window.gaps_start)
    spread, spread_start = window.now.spread, window.start.spread
    numbers = {"gap": gap, "gap_start": gap_start, "spread": spread, "spread_start": spread_start}
    for name, now, start in (("gap", gap, gap_start), ("spread of relations", spread, spread_start)):
        if now < BLIND * start:
            reason = f"the encoder went blind: its {name} is {now:.3g}, where its starting weights see {start:.3g}"
            return reason, numbers, ROLL_BACK
    return None


def _muteness(window: Window) -> tuple[str, dict[str, float], str] | None:
    sensitivity = statistics.median(window.sensitivities)
    if sensitivity >= MUTE:
        return None
    reason = (
        f"the discriminator went mute: images that change by their own size change the gap by {sensitivity:.1g} of it"
    )
    return reason, {"sensitivity": sensitivity, "gap": statistics.median(window.gaps)}, ROLL_BACK


def _lost_touch(window: Window) -> tuple[str, dict[str, float]] | None:
    now, start = window.now.correlation, window.start.correlation
    # Pairs of one image are not independent of each other: half as many observations as images, never as many as pairs.
    observations = window.images / 2
    if observations < 4 or now >= OUT_OF_TOUCH * start:
        return None
    difference = _fisher(start) - _fisher(now)
    if difference <= STANDARD_ERRORS[0] * math.sqrt(2 / (observations - 3)):
        return None
    reason = (
        f"the encoder is out of touch: in its eyes real and denoised relations correlate at {now:.2f}, in those of its starting "
        f"weights at {start:.2f}"
    )
    return reason, {"correlation": now, "correlation_start": start, "images": float(window.images)}


def _fisher(correlation: float) -> float:
    return math.atanh(max(-0.999999, min(0.999999, correlation)))


def _error_of_log_median(values: Sequence[float]) -> float:
    """Standard error of the logarithm of a median, from the median absolute deviation (normal logarithms)."""
    logs = [math.log(max(value, 1e-300)) for value in values]
    centre = statistics.median(logs)
    deviation = 1.4826 * statistics.median(abs(value - centre) for value in logs)
    return 1.2533 * deviation / math.sqrt(len(logs))
