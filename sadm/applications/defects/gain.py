"""What generated defects are worth: detectors with and without them, on real images that were held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.grids import read_png
from sadm.core.progress import Reporter
from sadm.data import Split
from sadm.evaluation.detection import DetectorSettings, Examples, measure_detection, pasted
from sadm.training.outputs import read_records

GENERATED, PASTED = "generated", "pasted"
_PARTS = "detectors"


def measure_gain(
    folder: str | Path,
    split: Split,
    seeds: int = 5,
    settings: DetectorSettings | None = None,
    device: torch.device | str = "cpu",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Compares detectors trained with a folder's pairs, with pasted real defects, and with neither.

    Args:
        folder: that `write_defects` has filled.
        split: real images with masks, to train on and held out.
        seeds, settings, device, reporter: see `measure_detection`.

    Returns:
        As `measure_detection`, for the arms `GENERATED` and `PASTED`, and a ``sentence``.

    Raises:
        UserError: the folder holds no pairs, or as of `measure_detection`.
    """
    generated = read_pairs(folder)
    good, real = Examples.of(split.train)
    control = Examples(*pasted(good, real.images, real.masks, len(generated.images), seed=0))
    added = {GENERATED: generated, PASTED: control}
    found = measure_detection(
        split.train,
        split.held_out,
        added,
        seeds,
        settings or DetectorSettings(),
        device,
        reporter,
        Path(folder) / _PARTS,
    )
    return {**found, "sentence": sentence(found)}


def read_pairs(folder: str | Path) -> Examples:
    """The pairs of a folder, whatever its layout.

    Raises:
        UserError: it holds none.
    """
    records = [record for record in read_records(folder).values() if "mask" in record["details"]]
    if not records:
        raise UserError(f"{folder} holds no pairs of image and mask. Draw some with: sadm defects RUN --out {folder}")
    images = torch.stack([_read(Path(folder) / record["file"]) for record in records])
    return Examples(images, torch.stack([_read(Path(folder) / record["details"]["mask"]) for record in records]))


def sentence(found: dict[str, Any]) -> str:
    """What the measurement says, for people: helps, hurts, or not shown to do either, and beside it what pasting does."""
    gains = found["gains"]
    parts = [
        f"{name}: {_verdict(gains[name]['auroc'])}; {_verdict(gains[name]['pixel_ap'], 'average precision of pixels')}"
        for name in (GENERATED, PASTED)
    ]
    better = gains[GENERATED]["pixel_ap"]["mean"] > gains[PASTED]["pixel_ap"]["mean"]
    rest = "" if better else " Pasting real defects costs nothing and does as well here: prefer it."
    return f"On {sum(found['test'].values())} held-out real images: " + ". ".join(parts) + "." + rest


def _verdict(gain: dict[str, Any], what: str = "AUROC of images") -> str:
    does = "helps" if gain["low"] > 0 else "hurts" if gain["high"] < 0 else "not shown to help"
    return f"{does} ({what} {gain['mean']:+.3f}, 95 % interval {gain['low']:+.3f} to {gain['high']:+.3f})"


def _read(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_png(path)).permute(2, 0, 1)
