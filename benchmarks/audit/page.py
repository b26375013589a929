"""The section of docs/results.md, and the summary."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored

NAME = "audit"
DEFINITIONS = """Copies of training images, changed as listed, are audited in place of generated images; recall is the share
called copies. Real images that neither training nor the audit's held-out images contain are audited likewise: those called copies
are false alarms. The threshold is calibrated on a third of the held-out images, other ones than those. Then a share of the fresh
images is replaced by copies of all kinds in turn, and lastly real images alone are audited in many divisions: if the test is
calibrated, its p-values are uniform (divisions share images, so the p-value of the distance to uniform is a guide only)."""


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    sets = found["sets"]
    kinds = list(next(iter(sets.values()))["kinds"])
    lines = ["## Are copies found?", "", "`python -m benchmarks.audit --run`", "", DEFINITIONS, ""]
    lines += [
        f"| set | {' | '.join(kinds)} | fresh images called copies | promised at most |",
        f"|{' --- |' * (len(kinds) + 3)}",
    ]
    for title, row in sets.items():
        recall = " | ".join(f"{row['kinds'][kind]['recall']:.1%}" for kind in kinds)
        fresh = row["fresh"]
        lines.append(
            f"| {title} | {recall} | {fresh['copies']} of {row['fresh_images']} ({fresh['false_alarm_rate']:.2%}) | "
            f"{row['promised_false_alarms']:.2%} |"
        )
    lines += [
        "",
        "| set | planted | found | false alarms | verdict | p of so many copies | p of no closer |",
        f"|{' --- |' * 7}",
    ]
    for title, row in sets.items():
        lines.append(rate_row(title, "nothing", row["fresh"]))
        for rate, at in row["rates"].items():
            lines.append(rate_row(title, f"{float(rate):.1%}: {at['planted']}", at))
    lines += [
        "",
        "| set | audits of real images | p < 0.01 | p < 0.05 | p < 0.1 | distance to uniform (p) |",
        f"|{' --- |' * 6}",
    ]
    for title, row in sets.items():
        p, test = row["p_value"], row["p_value"]["kolmogorov_smirnov"]
        shares = " | ".join(f"{share:.1%}" for share in p["share_below"].values())
        lines.append(f"| {title} | {p['audits']} | {shares} | {test['statistic']:.3f} ({test['p_value']:.2g}) |")
    first = next(iter(sets.values()))
    where = found["provenance"]
    lines += [
        "",
        f"{first['planted']} copies of each kind. Commit {where['commit']}, torch {where['torch']}, {where['machine']}.",
        "",
    ]
    return "\n".join(lines)


def rate_row(title: str, planted: str, at: dict[str, Any]) -> str:
    """One audit."""
    found = at.get("found", 0)
    alarms = at.get("false_alarms", at["copies"])
    return f"| {title} | {planted} | {found} | {alarms} | {at['verdict']} | {at['copies_p_value']:.2g} | {at['p_value']:.2g} |"


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Recall and false alarms."""
    return {
        title: {
            "recall": {kind: row["recall"] for kind, row in values["kinds"].items()},
            "found_at_rate": {rate: f"{at['found']}/{at['planted']}" for rate, at in values["rates"].items()},
            "false_alarm_rate": values["fresh"]["false_alarm_rate"],
            "promised_false_alarms": values["promised_false_alarms"],
            "p_below_0.05_on_real_images": values["p_value"]["share_below"]["0.05"],
        }
        for title, values in found["sets"].items()
    }
