"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored

NAME = "metrics"
ROUTES = {
    "scipy_sqrtm": "scipy's square root of the product",
    "eigenvalues_of_the_product": "eigenvalues of the product (torch-fidelity, torchmetrics)",
    "eigenvalue_form": "square roots by eigenvalues, then singular values",
    "eigenvalue_form_few_images": "the same, fewer images than features",
}


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    where = found["provenance"]
    lines = [
        "## Do the metrics agree with other packages?",
        "",
        "`make benchmark-metrics`",
        "",
        f"Largest relative deviation on the same features, over {found['seeds']} pairs of sets; draws of subsets and splits are "
        "the package's. torch-fidelity averages shares in single precision. What each metric is: [metrics.md](metrics.md).",
        "",
        "| package | version | metric | largest relative deviation |",
        "| --- | --- | --- | --- |",
    ]
    for package, metrics in found["largest_deviation"].items():
        for name, value in metrics.items():
            lines.append(f"| {package} | {found['packages'][package]} | {name.replace('_', ' ')} | {value:.1e} |")
    return "\n".join([*lines, "", *frechet_table(found), "", f"{where['machine']}; commit {where['commit']}.", ""])


def frechet_table(found: dict[str, Any]) -> list[str]:
    """Error and cost of the Fréchet distance by route."""
    lines = [
        f"The Fréchet distance from means and covariances of {found['length']:,} features, fitted to {found['count']:,} images "
        f"each ({found['few']} in the last row); CPU-seconds of one thread, medians of turns.",
        "",
        "| against | relative difference | its CPU-seconds | ours | times as fast |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, title in ROUTES.items():
        row = found["frechet"][name]
        lines.append(
            f"| {title} | {row['relative_error']:.1e} | {row['other_cpu_seconds']:.2f} | {row['cpu_seconds']:.2f} | "
            f"{row['speedup']:.1f} |"
        )
    return lines
