"""Plain against structure-guided training on scanned digits, the demo's comparison with more seeds.

python -m benchmarks.digits --run       # resumable; about two minutes a seed on two cores
python -m benchmarks.digits --summary   # the stored result, as JSON
python -m benchmarks.digits --docs      # writes the stored result into README.md, README.ja.md and docs/results.md
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "digits"
RUN = ROOT / "runs" / "benchmark-digits"
PICTURE = ROOT / "docs" / "images" / "digits.png"
SEEDS = [100, 101, 102, 103, 104]


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--run", action="store_true", help="train what is missing and store the result")
    action.add_argument("--summary", action="store_true", help="print the stored result")
    action.add_argument("--docs", action="store_true", help="write the stored result into the documentation")
    options = parser.parse_args()
    if options.run:
        run()
    elif options.docs:
        write_docs()
    else:
        print(json.dumps(stored("summary.json"), indent=1))


def run() -> None:
    """Trains what is missing, then stores numbers and picture."""
    from sadm.core.files import write_json
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import compare
    from sadm.experiments.config import CompareConfig
    from sadm.training.config import load_train_config

    config = CompareConfig(train=load_train_config("digits"), seeds=SEEDS)
    with ConsoleReporter() as reporter:
        comparison = compare(config, RUN, reporter)
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / "comparison.json", comparison)
    shutil.copy(RUN / "summary.json", RESULTS / "summary.json")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(RUN / "samples.png", PICTURE)
    print(comparison["verdict"]["sentence"])


def stored(name: str) -> dict[str, Any]:
    """A stored result."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def write_docs() -> None:
    """Writes the demo block of both READMEs and docs/results.md from the stored comparison."""
    from sadm.experiments.report import verdict_sentence

    comparison = stored("comparison.json")
    steps = comparison["arms"]["sadm"]["steps"]
    captions = {
        "README.md": "Digits, 8x8 pixels. First row: real images; then three rows of plain training, three of SADM at equal "
        "cost, from the same noise. Columns are classes.",
        "README.ja.md": "手書き数字、8×8画素。1行目：実画像。続く3行：通常の学習。最後の3行：同じ費用・同じノイズのSADM。"
        "列はクラス。",
    }
    for name, caption in captions.items():
        language = "ja" if name.endswith(".ja.md") else "en"
        body = f"![{caption}](docs/images/digits.png)\n\n*{caption}*\n\n> {verdict_sentence(comparison, language)}\n"
        replace_block(ROOT / name, body)
    (ROOT / "docs" / "results.md").write_text(results_page(comparison, steps), encoding="utf-8")


def replace_block(path: Path, body: str) -> None:
    """Replaces what stands between the demo markers of a file."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- demo:begin[^\n]*-->\n).*?(<!-- demo:end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{path} has no demo markers")
    path.write_text(pattern.sub(lambda match: match[1] + body + match[2], text), encoding="utf-8")


def results_page(comparison: dict[str, Any], steps: int) -> str:
    """docs/results.md, whole."""
    from sadm.experiments.report import verdict_sentence

    regimes = [
        ("plain", comparison["arms"]["plain"], None),
        (f"SADM, equal cost ({steps} steps)", comparison["arms"]["sadm"], "equal_cost"),
        ("SADM, equal steps", comparison["equal_steps"]["sadm"], "equal_steps"),
    ]
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.digits --docs` from `benchmarks/results`.",
        "How they were obtained: [protocol.md](protocol.md).",
        "",
        "## Digits",
        "",
        verdict_sentence(comparison, "en"),
        "",
        "| judge | arm | FD - floor, mean over seeds | change against plain | 95 % interval | CPU-seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for judge, facts in comparison["judges"].items():
        for title, arm, budget in regimes:
            excess = arm["fd"][judge]["mean"] - comparison["floor"][judge]
            ratio = comparison["ratios"][budget][judge] if budget else None
            lines.append(
                f"| {facts['title']}{'' if facts['decides'] else ' (for information)'} | {title} | {excess:.4g} | "
                f"{change_columns(ratio)} | {arm['cpu_seconds']:.1f} |"
            )
    cost, protocol, where = comparison["cost"], comparison["protocol"], comparison["provenance"]
    lines += [
        "",
        f"A step costs {cost['step_ratio']:.3f} times as much with structure, a whole training of equal steps "
        f"{cost['total_ratio']:.3f} times (encoder pre-training included), measured over "
        f"{cost['steps_measured']} interleaved steps.",
        "",
        f"Seeds {', '.join(map(str, protocol['seeds']))}; {protocol['sampler']}, {protocol['nfe']} NFE, guidance scale "
        f"{protocol['guidance_scale']:g}; {protocol['samples']} samples in groups of {protocol['group']}, labels at "
        f"{protocol['label_sampling']}; EMA {protocol['ema']}; {protocol['reference']}.",
        "",
        f"Commit {where['commit']}, torch {where['torch']}, {where['machine']}, {where['processes']} processes of one thread; "
        f"{comparison['minutes_total']:.1f} minutes in all.",
        "",
    ]
    return "\n".join(lines)


def change_columns(ratio: dict[str, Any] | None) -> str:
    """Change and interval of a ratio, as two columns."""
    if ratio is None:
        return " | "
    if ratio["mean"] is None:
        return f"{ratio['reason']} | "
    return f"{ratio['mean'] - 1:+.1%} | {ratio['low'] - 1:+.1%} to {ratio['high'] - 1:+.1%}"


if __name__ == "__main__":
    main()
