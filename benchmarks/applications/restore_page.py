"""Restoration in docs/results.md, and its summary."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, rounded, stored

NAME, PART = "applications", "restore"
WORDS = {
    "mask": "missing parts (`mask`)",
    "lowres": "half the resolution (`lowres`)",
    "blur": "blur and a little noise (`blur`)",
    "noise": "noise (`noise`)",
    "unknown-fade": "fading",
    "unknown-stain": "stains",
    "unknown-fold": "folds",
    "unknown-tear": "torn parts",
    "unknown-blur": "blur",
    "unknown-coarse": "coarse scan",
    "unknown-grain": "grain and dust",
    "unknown-all": "all of these, each with probability 1/2",
}
MEAN = "sadm, mean"
MEASURES = {"psnr": "PSNR (dB)", "features": "distance in features", "lines": "lines"}
TOLD = """{images} line drawings of 32x32 pixels, made by the benchmark and not learned from, are damaged and restored,
{proposals} proposals of each ([restore.md](restore.md)). The model was trained on {drawings} others for {steps} steps of
{batch}, with `--data.tell damage`: half of the time it saw what an image looks like damaged. Damage of the upper rows is known
(`--damage`), of the lower ones it is not (`--damage unknown`). "Best filter" is, for each measure, the best in the mean of
those that suit the damage: nothing, a median, bicubic enlargement, a Wiener filter, stretched levels, and for holes OpenCV's
inpainting{opencv}. "sadm" is the mean (`000002-mean.png`): of the proposals, or of all that fits, where damage is not known.
In brackets: by how much it is better than that filter on the same images, with its 95 % interval over images; below 0 the filter
is better. A distance in features is better the smaller it is."""


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, PART).exists():
        return None
    found = stored(NAME, PART)
    opencv = any("opencv" in case["gains"] for case in found["cases"].values())
    told = TOLD.format(
        **{key: found[key] for key in ("images", "proposals", "drawings")},
        steps=found["optimiser"]["steps"],
        batch=found["optimiser"]["batch"],
        opencv="" if opencv else " (not installed here)",
    )
    heads = [
        "damage",
        *(f"{title}: {what}" for title in MEASURES.values() for what in ("damaged", "best filter", "sadm")),
    ]
    lines = [
        "### Damaged drawings restored",
        "",
        told,
        "",
        f"| {' | '.join(heads)} | map |",
        f"|{' --- |' * (len(heads) + 1)}",
    ]
    for case, own in found["cases"].items():
        cells = [WORDS[case]]
        for measure in MEASURES:
            cells += _cells(own, measure)
        honest = own["uncertainty"]
        lines.append(f"| {' | '.join(cells)} | {'–' if honest is None else f'{honest:.2f}'} |")
    seconds, where = found["cpu_seconds"], found["provenance"]
    lines += [
        "",
        "`map` is the correlation over pixels between the map of uncertainty and the error of the mean. "
        f"{seconds['training']:.0f} CPU-seconds of training and {seconds['restoring']:.0f} of restoring; one training. Commit "
        f"{where['commit']}, torch {where['torch']}, {where['machine']}.",
        "",
    ]
    return "\n".join(lines)


def summary() -> dict[str, Any] | None:
    """By damage and measure the means of all methods, and the gain over the best filter; None where nothing is stored."""
    if not result_path(NAME, PART).exists():
        return None
    found = {}
    for case, own in stored(NAME, PART)["cases"].items():
        of = {}
        for measure in MEASURES:
            best = best_filter(own, measure)
            gain = {key: own["gains"][best][measure][key] for key in ("mean", "low", "high")}
            means = {name: method[measure]["mean"] for name, method in own["methods"].items()}
            of[measure] = {"methods": means, "best_filter": best, "gain": gain}
        found[case] = of
    result: dict[str, Any] = rounded(found)
    return result


def best_filter(case: dict[str, Any], measure: str) -> str:
    """The filter over which the gain is smallest."""
    return min(case["gains"], key=lambda name: case["gains"][name][measure]["mean"])


def _cells(case: dict[str, Any], measure: str) -> list[str]:
    """Of the damaged images, of the best filter, and of the mean with its gain."""
    best, methods = best_filter(case, measure), case["methods"]
    digits = 1 if measure == "psnr" else 2 if measure == "lines" else 3

    def of(name: str) -> str:
        return f"{methods[name][measure]['mean']:.{digits}f}"

    gain = case["gains"][best][measure]
    told = f"{gain['mean']:+.{digits}f}, {gain['low']:+.{digits}f} to {gain['high']:+.{digits}f}"
    return [of("as it is"), f"{of(best)} ({best})", f"{of(MEAN)} ({told})"]
