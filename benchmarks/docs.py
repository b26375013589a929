"""Writes every figure in README.md, README.ja.md and docs/results.md, from the stored results.

python -m benchmarks.docs
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks import (
    applications,
    audit,
    data,
    faults,
    finetuning,
    front,
    fuzz,
    monitor,
    muon,
    pairs_memory,
    parallel,
    plan,
    prepare,
    recipes,
    samplers,
    solvers,
    starting,
    structure,
    theory,
    throughput,
)
from benchmarks.common import ROOT, change, result_path, stored
from benchmarks.metrics import page as metrics
from benchmarks.peers import page as peers
from sadm.experiments.report import verdict_sentence


def main() -> None:
    """Writes all pages."""
    comparison = stored("digits", "comparison")
    for name, lang in {"README.md": "en", "README.ja.md": "ja"}.items():
        replace_block(ROOT / name, front.block(lang))
    pages = [HEAD, digits_section(comparison)]
    if result_path("noise_density", "summary").exists():
        pages.append(noise_density_section(stored("noise_density", "summary")["rows"]))
    if result_path(solvers.NAME, "summary").exists():
        pages.append(solvers.section(stored(solvers.NAME, "summary")))
    sections = [
        samplers,
        starting,
        structure,
        finetuning,
        applications,
        audit,
        monitor,
        parallel,
        pairs_memory,
        throughput,
        muon,
        recipes,
        data,
        prepare,
        peers,
        metrics,
        faults,
        fuzz,
        plan,
    ]
    pages += [part for part in (page.section() for page in sections) if part is not None]
    (ROOT / "docs" / "results.md").write_text("\n".join(pages), encoding="utf-8")
    theory.write_page()


HEAD = """# Results

Written by `python -m benchmarks.docs` from `benchmarks/results`; for and against SADM alike. How they were obtained:
[protocol.md](protocol.md). Pairs of trainings can be verified: `python -m benchmarks.structure --verify M2` trains one of them
anew, says whether it gives what is stored to the last digit (on a machine of the same kind) or at least what a further seed
could have given, and fails where it does not.
"""


def replace_block(path: Path, body: str) -> None:
    """Replaces what stands between the demo markers of a file."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- demo:begin[^\n]*-->\n).*?(<!-- demo:end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{path} has no demo markers")
    path.write_text(pattern.sub(lambda match: match[1] + body + match[2], text), encoding="utf-8")


def digits_section(comparison: dict[str, Any]) -> str:
    """The comparison on digits."""
    plain = comparison["arms"]["plain"]
    regimes: list[tuple[str, Any, str | None, str]] = [(f"plain, {plain['steps']} steps", plain, None, "plain")]
    for name in comparison["ratios"]["equal_cost"]:
        own, whole = comparison["arms"][name], comparison["equal_steps"][name]
        regimes.append((f"{name}, equal cost, {own['steps']} steps", own, "equal_cost", name))
        regimes.append((f"{name}, equal steps", whole, "equal_steps", name))
    lines = [
        "## Digits",
        "",
        "`python -m benchmarks.digits --run`",
        "",
        verdict_sentence(comparison, "en"),
        "",
        "| judge | arm | FD - floor, mean over seeds | change against plain | 95 % interval | CPU-seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for judge, facts in comparison["judges"].items():
        name = facts["title"] + ("" if facts["decides"] else ", for information")
        for title, arm, budget, key in regimes:
            excess = arm["fd"][judge]["mean"] - comparison["floor"][judge]
            ratio = comparison["ratios"][budget][key][judge] if budget else None
            lines.append(f"| {name} | {title} | {excess:.4g} | {change_columns(ratio)} | {arm['cpu_seconds']:.1f} |")
    return "\n".join([*lines, "", conditions(comparison), ""])


def conditions(comparison: dict[str, Any]) -> str:
    """What a comparison's numbers depend on, in sentences."""
    protocol, where = comparison["protocol"], comparison["provenance"]
    costs = "; ".join(
        f"a step of {arm} costs {cost['step_ratio']:.3f} times as much as a plain one, a whole training of equal steps "
        f"{cost['total_ratio']:.3f} times (encoder pre-training included)"
        for arm, cost in comparison["cost"].items()
        if "step_ratio" in cost
    )
    return (
        f"Cost: {costs}. Seeds {', '.join(map(str, protocol['seeds']))}; {protocol['sampler']}, {protocol['nfe']} NFE, guidance "
        f"scale {protocol['guidance_scale']:g}; {protocol['samples']} samples in groups of {protocol['group']}, labels at "
        f"{protocol['label_sampling']}; EMA {protocol['ema']}; {protocol['reference']}. Commit {where['commit']}, torch "
        f"{where['torch']}, {where['machine']}, {where['processes']} processes of one thread."
    )


def change_columns(ratio: dict[str, Any] | None) -> str:
    """Change and interval of a ratio, as two columns."""
    if ratio is None:
        return " | "
    if ratio["mean"] is None:
        return f"{ratio['reason']} | "
    return f"{change(ratio['mean'])} | {change(ratio['low'])} to {change(ratio['high'])}"


def noise_density_section(rows: list[dict[str, Any]]) -> str:
    """FD - floor by density of noise levels and arm."""
    judges = list(rows[0]["excess"]["plain"])
    lines = [
        "## Does the density of noise levels explain the gain?",
        "",
        "`python -m benchmarks.noise_density --run` (Fashion-MNIST at 16x16, log-normal noise levels of spread 1.2; one search "
        "seed, so no interval)",
        "",
        f"| mean of ln sigma | arm | steps | {' | '.join(f'FD - floor, {judge}' for judge in judges)} | labels right |",
        f"| --- | --- | --- | {' | '.join('---' for _ in judges)} | --- |",
    ]
    for row in rows:
        for arm, excess in row["excess"].items():
            values = " | ".join(f"{excess[judge]:.4g}" for judge in judges)
            steps, right = row["steps"][arm], row["label_accuracy"][arm]
            lines.append(f"| {row['p_mean']} | {arm.replace('_', ' ')} | {steps} | {values} | {right:.1%} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
