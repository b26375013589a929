"""What README.md and README.ja.md say of the results: a picture, and structure guidance against plain training, row by row."""

from __future__ import annotations

from typing import Any

from benchmarks.common import DECIDING, result_path, stored
from sadm.experiments.report.formatting import change
from sadm.experiments.statistics import Interval, Missing, outcome

CAPTIONS = {
    "en": "Digits, 8x8 pixels. First row: real images; then three rows each of plain training, of structure guidance in a "
    "hidden layer and of the game (SADM), at equal cost and from the same noise. Columns are classes.",
    "ja": "手書き数字、8×8画素。1行目：実画像。続いて3行ずつ、通常の学習、隠れ層での構造誘導、ゲーム（SADM）。"
    "費用とノイズは同じ。列はクラス。",
}
HEADS = {
    "en": ["trained on", "classifier", "components of the pixels", "pairs", "structure guidance is"],
    "ja": ["学習データ", "分類器", "画素の主成分", "対の数", "構造誘導は"],
}
EXPLAINED = {
    "en": "*Structure guidance in a hidden layer against plain training, at equal training cost: change of FD − floor (lower is "
    "better) as two judges see it, a classifier trained on other images and principal components of the pixels, with 95 % "
    "intervals over paired seeds. It is called better or worse where both intervals lie on that side of zero.*",
    "ja": "*隠れ層での構造誘導と通常の学習との比較（学習コストは同一）：別の画像で学習した分類器と、画素の主成分という"
    "二つの評価器で見た、FD − 下限（小さいほど良い）の変化。括弧内は対にしたシードにわたる95 %区間。"
    "両方の区間がゼロの同じ側にあるときに限り、優れている、または劣っているとします。*",
}
OUTCOMES = {
    "en": {"better": "**better**", "worse": "**worse**", "mixed": "better and worse", "undecided": "cannot be told"},
    "ja": {
        "better": "**優れている**",
        "worse": "**劣っている**",
        "mixed": "評価器で異なる",
        "undecided": "判断できない",
    },
}
ROWS = {
    "digits": {"en": "digits, 8x8", "ja": "手書き数字、8×8"},
    "Z": {"en": "Fashion-MNIST, 8x8, AdamW", "ja": "Fashion-MNIST、8×8、AdamW"},
    "M2": {"en": "Fashion-MNIST, 8x8, Muon", "ja": "Fashion-MNIST、8×8、Muon"},
    "N8": {"en": "Fashion-MNIST, 28x28, AdamW, 1,000 steps", "ja": "Fashion-MNIST、28×28、AdamW、1,000ステップ"},
    "M3": {
        "en": "Fashion-MNIST, 28x28, Muon and what else suits plain training best, 3,000 steps",
        "ja": "Fashion-MNIST、28×28、Muonなど通常の学習に最も適した設定、3,000ステップ",
    },
}
"""The comparison on digits, and rows of `benchmarks.structure.pairs`."""


def block(lang: str) -> str:
    """Picture and table, in Markdown."""
    caption = CAPTIONS[lang]
    lines = [f"![{caption}](docs/images/digits.png)", "", f"*{caption}*", "", *table(lang), "", EXPLAINED[lang], ""]
    return "\n".join(lines)


def table(lang: str) -> list[str]:
    """A line for each result that is stored."""
    lines = [f"| {' | '.join(HEADS[lang])} |", f"|{' --- |' * len(HEADS[lang])}"]
    for name, title in ROWS.items():
        found = ratios(name)
        if found is None:
            continue
        cells = [_cell(found[judge], lang) for judge in DECIDING]
        verdict = OUTCOMES[lang][outcome([_ratio(found[judge]) for judge in DECIDING])]
        lines.append(f"| {title[lang]} | {' | '.join(cells)} | {pairs(name)} | {verdict} |")
    return lines


def ratios(name: str) -> dict[str, dict[str, Any]] | None:
    """By judge the ratio at equal cost that a row shows; None before it is stored."""
    if name == "digits":
        found: dict[str, dict[str, Any]] = stored("digits", "comparison")["ratios"]["equal_cost"]["hidden"]
        return found
    if not result_path("structure", name).exists():
        return None
    row = stored("structure", name)
    own: dict[str, dict[str, Any]] = row.get("equal_cost", row)["ratios"]
    return own


def pairs(name: str) -> int:
    """Paired seeds behind a row."""
    return len(
        stored("digits", "comparison")["protocol"]["seeds"] if name == "digits" else stored("structure", name)["seeds"]
    )


def _ratio(found: dict[str, Any]) -> Interval | Missing:
    return Missing(found["reason"]) if found["mean"] is None else Interval(**found)


def _cell(ratio: dict[str, Any], lang: str) -> str:
    if ratio["mean"] is None:  # one of the two is as good as real images, or diverged
        return {"en": "no ratio", "ja": "比なし"}[lang]
    to = "〜" if lang == "ja" else " to "
    return f"{change(ratio['mean'])} ({change(ratio['low'])}{to}{change(ratio['high'])})"
