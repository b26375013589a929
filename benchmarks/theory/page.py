"""Writes the numbers into docs/theory.md."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from benchmarks.common import ROOT, stored

NAME = "theory"
PAGE = ROOT / "docs" / "theory.md"


def write_page() -> None:
    """Writes every block of the page from the stored numbers."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(text, blocks(stored(NAME, "summary"))), encoding="utf-8")


def filled(text: str, contents: dict[str, str]) -> str:
    """The page with each block's content between its markers.

    Raises:
        SystemExit: a block has no markers.
    """
    for name, content in contents.items():
        begin, end = (re.findall(rf"<!-- theory:{name}:{side}[^\n]*-->", text) for side in ("begin", "end"))
        if len(begin) != 1 or len(end) != 1:
            raise SystemExit(f"{PAGE} needs the markers of 'theory:{name}' once, it has them {len(begin)} times")
        before, rest = text.split(begin[0])
        text = before + begin[0] + "\n" + content + end[0] + rest.split(end[0])[1]
    return text


def blocks(summary: dict[str, Any]) -> dict[str, str]:
    """Each block's Markdown by name."""
    bound, zero, noise = summary["bound"], summary["zero_gap"], summary["high_noise"]
    gaussian, fields = summary["gaussian"], summary["fields"]
    return {
        "worst_case": worst_case_table(bound),
        "mixture": mixture_table(bound),
        "linear_class": linear_class_table(bound),
        "relations": relations_table(zero),
        "penalties": penalties_table(zero),
        "gaps": gaps_table(noise),
        "sampling": sampling_table(noise),
        "euclidean": euclidean_table(gaussian),
        "spread": spread_table(gaussian),
        "fields": fields_table(fields),
        "two_players": two_players_table(fields, gaussian),
        "hidden": hidden_table(summary["hidden"]),
    }


def table(head: Collection[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; numbers are given three significant digits."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(cell, line)) + " |\n" for line in lines)


def cell(value: Any) -> str:
    """A number as a person reads it; what is only rounding error is called 0."""
    if not isinstance(value, float):
        return str(value)
    return "0" if abs(value) < 1e-8 else f"{value:.3g}"


def worst_case_table(bound: dict[str, Any]) -> str:
    """The bound where it is attained, and under the strongest admissible field."""
    rows = [[f"worst case, ratio {row['ratio']}", row["shift"], row["bound"]] for row in bound["worst_case"]]
    rows += [
        [f"strongest field, ratio 0.5, Gaussian posterior, d = {row['dimension']}", row["shift"], row["bound"]]
        for row in bound["hostile"]
    ]
    return table(["case", "shift / S", "bound"], rows)


def mixture_table(bound: dict[str, Any]) -> str:
    """The shift on three clusters."""
    rows = [[row["sigma"], row["adversary"], row["mean"], row["largest"], row["bound"]] for row in bound["mixture"]]
    return table(["sigma", "encoder", "mean shift / S", "largest", "bound"], rows)


def linear_class_table(bound: dict[str, Any]) -> str:
    """Shift and loss of a denoiser that is linear in its weights."""
    rows = [[row["ratio"], row["shift"], row["bound"], row["loss"], row["loss_bound"]] for row in bound["linear_class"]]
    return table(["ratio", "shift / error of the best", "bound", "loss / least loss", "bound"], rows)


def relations_table(zero: dict[str, Any]) -> str:
    """The gap after maps of one set, and the dimension of what is ignored."""
    rows = [[row["relation"], *row["gaps"].values(), row["free"], row["nullity"]] for row in zero["relations"]]
    changes = zero["relations"][0]["gaps"]
    return table(["relation", *changes, "ignored dimensions, stated", "found"], rows)


def penalties_table(zero: dict[str, Any]) -> str:
    """The gap between a relation and a changed copy of it."""
    changes = zero["penalties"][0]["gaps"]
    return table(["penalty", *changes], [[row["penalty"], *row["gaps"].values()] for row in zero["penalties"]])


def gaps_table(noise: dict[str, Any]) -> str:
    """The gap of the perfect denoiser and of posterior draws by noise level."""
    names = {
        "cosine_least": "cosine: least of all denoisers",
        "cosine_mean": "perfect denoiser",
        "cosine_draw": "posterior draw",
        "euclidean_mean": "Euclidean: perfect denoiser",
        "euclidean_draw": "posterior draw",
    }
    rows = [[row["sigma"], *(row[name] for name in names)] for row in noise["gaps"]]
    return table(["sigma", *names.values()], rows)


def sampling_table(noise: dict[str, Any]) -> str:
    """Distance of samples from data by number of steps and denoiser."""
    sampling = noise["sampling"]
    names = {
        "perfect": "perfect denoiser",
        "cosine": "cosine",
        "cosine_above_4": "cosine, sigma >= 4 only",
        "euclidean": "Euclidean",
        "euclidean_above_4": "Euclidean, sigma >= 4 only",
    }
    rows = [[row["steps"], *(row[name] for name in names)] for row in sampling["rows"]]
    shifts = ", ".join(
        f"{cell(row['shift'])} ({row['relation']}, sigma {row['sigma']:g})" for row in sampling["shifts"]
    )
    return (
        table(["Euler steps", *names.values()], rows)
        + f"\nTwo sets of real points: {cell(sampling['floor'])}. Shift over S, root mean squares: {shifts}.\n"
    )


def euclidean_table(gaussian: dict[str, Any]) -> str:
    """The Euclidean gap's minimum for Gaussian data."""
    columns = {
        "sigma": "sigma",
        "mean_formula": "gap at the posterior mean, formula",
        "mean_measured": "measured",
        "flow_formula": "gap at sqrt(kappa) x_t, formula",
        "flow_measured": "measured",
        "least_at": "gain with the least gap",
        "sqrt_kappa": "sqrt(kappa)",
    }
    return table(columns.values(), [[row[name] for name in columns] for row in gaussian["euclidean"]])


def spread_table(gaussian: dict[str, Any]) -> str:
    """The spread of samples by share of the way and number of steps."""
    steps = gaussian["spread"][0]["steps"]
    head = ["share of the way", *(f"{n} step{'s' if n != '1' else ''}" for n in steps), "very many", "limit"]
    rows = [
        [f"{row['share']:g}, all sigma", *row["steps"].values(), row["many"], row["limit"]]
        for row in gaussian["spread"]
    ]
    rows += [
        [f"1, sigma >= {row['from']:g}", *([""] * len(steps)), row["many"], row["limit"]]
        for row in gaussian["spread_above"]
        if row["from"] > 0
    ]
    return table(head, rows)


def fields_table(fields: dict[str, Any]) -> str:
    """Asymmetry and circulation of one player's fields."""
    rows = [[row["field"], row["asymmetry"], row["circulation"]] for row in fields["fields"]]
    return table(["field at x0_hat", "antisymmetric part / all", "circulation"], rows)


def two_players_table(fields: dict[str, Any], gaussian: dict[str, Any]) -> str:
    """Two players at once, and the saddle point of inner products."""
    blocks_, saddle, inner = fields["two_players"], gaussian["saddle"], gaussian["balanced_inner_products"]
    cosine = gaussian["cosine_radial"]
    growth = ", ".join(cell(value / saddle["value"]) for value in saddle["without_bound"])
    rows = [
        ["simultaneous steps: cross blocks, size of J_xw + J_wx' over J_xw (5d)", blocks_["across_plus"]],
        ["the same within x0_hat, J_xx - J_xx'", blocks_["within_x0_hat"]],
        ["gap at the saddle point, formula (6b)", saddle["formula"]],
        ["computed", saddle["value"]],
        ["best of 2,000 other encoders, over that", saddle["best_other_encoder"]],
        ["least that another denoiser adds to the gap, 2,000 encoders", saddle["least_gain_of_other_denoisers"]],
        ["gap over that for an encoder of norm 1, 2, 4", growth],
        ["both players at once: distance of the gains from the posterior mean's", saddle["gains_error"]],
        ["and of the encoder from the leading direction", saddle["outside_top_direction"]],
        ["mean structure gradient at the posterior mean over c S, fixed weight (6c)", inner["fixed_weight"]],
        ["balanced image by image", inner["balanced"]],
        ["formula", inner["formula"]],
        ["cosine: largest share of the gradient along x0_hat (6d)", cosine["along"]],
        ["cosine: structure gradient plus its counterpart in the reflected batch", cosine["reflected"]],
    ]
    return table(["quantity", "value"], rows)


def hidden_table(rows: list[dict[str, Any]]) -> str:
    """Where the denoiser comes to rest with the gap in a hidden layer, and with the same gap at the output."""
    columns = {
        "weight": "weight of the gap",
        "gap_before": "gap in the hidden layer, before",
        "gap_after": "at rest",
        "shift_hidden": "distance from the best denoiser, gap in the hidden layer",
        "shift_output": "the same gap at x0_hat",
    }
    return table(columns.values(), [[row[name] for name in columns] for row in rows])
