"""A plan as a table of at most 100 columns."""

from __future__ import annotations

from sadm.experiments.planning.devices import HERE
from sadm.experiments.planning.plan import Plan

WIDTH = 28
PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "optimiser's moments",
    "averages": "averaged weights",
    "source": "the model to start from",
    "buckets": "gathered, or to be sent",
    "activations": "activations",
    "working": "for a moment, backward",
    "structure": "structure: networks",
    "relating": "structure: for a moment",
    "batch": "images and noise",
}


def lines_of(plan: Plan, price: float | None = None, currency: str = "") -> list[str]:
    """The table.

    Args:
        plan: what would be taken.
        price: of an hour of a device; None = no money.
        currency: of the price.
    """
    return [
        *_head(plan),
        "",
        *_operations(plan),
        "",
        *_memory(plan),
        "",
        *_time(plan, price, currency),
        "",
        *_sent(plan),
    ]


def quantity(size: float) -> str:
    """Bytes with a unit that suits them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB" if size >= 10 else f"{size:.3g} TiB"


def operations(number: float) -> str:
    """Operations with a unit that suits them."""
    for unit in ("", "K", "M", "G", "T"):
        if number < 1000:
            return f"{number:.4g} {unit}FLOP"
        number /= 1000
    return f"{number:,.4g} PFLOP"


def duration(seconds: float) -> str:
    """A time with a unit that suits it."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:,.4g} h"


def _row(name: str, value: str, note: str = "") -> str:
    return f"  {name:<{WIDTH}}{value:>16}  {note}".rstrip()


def _head(plan: Plan) -> list[str]:
    config, parallel = plan.subject.config, plan.parallel
    shape = "x".join(map(str, plan.subject.shape))
    extra = [f"{parallel.accumulate} micro-batches"] if parallel.accumulate > 1 else []
    extra += ["blocks computed again"] if parallel.recompute else []
    where = plan.gpu.name if plan.cluster.count == 1 else f"{plan.cluster.count} x {plan.gpu.name}"
    spread = [parallel.strategy] if plan.cluster.count > 1 else []
    return [
        f"{plan.subject.name}: {config.optimiser.steps:,} steps of {config.optimiser.batch:,} images {shape}, signal "
        f"{config.signal}",
        f"{where}: {', '.join([parallel.precision, *spread, *extra])}; {plan.local_batch:,} images at once on each",
    ]


def _operations(plan: Plan) -> list[str]:
    counts, step = plan.counts, plan.step
    part = f"{counts.learning:,} learn" if counts.learning != counts.parameters else ""
    rows = [
        _row("parameters", f"{counts.parameters:,}", part),
        _row("forward, one image", operations(counts.forward), f"{counts.published_gflops:.4g} G multiply-adds"),
        _row("step, plain", operations(step.plain), _of_step(plan)),
    ]
    if step.structure:
        share = "in all steps" if step.taking_part == 1 else f"in {step.taking_part:.0%} of the steps"
        rows.append(
            _row(
                "step, with structure",
                operations(step.plain + step.structure),
                f"+{step.structure / step.plain:.2%}, {share}",
            )
        )
    return ["operations (a multiplication and an addition are two)", *rows]


def _of_step(plan: Plan) -> str:
    share = plan.counts.optimiser / plan.step.plain
    return "forward and backward of the batch" + (f", and {share:.1%} for Muon" if share else "")


def _memory(plan: Plan) -> list[str]:
    rows = [
        _row(title, quantity(getattr(plan.memory, name))) for name, title in PARTS.items() if getattr(plan.memory, name)
    ]
    fits = "fits" if plan.local_batch <= plan.largest_batch else "does NOT fit"
    rows.append(
        _row("sum", quantity(plan.memory.total), f"{fits} {plan.gpu.gib:g} GiB; at most {plan.largest_batch:,} at once")
    )
    if plan.process_mib is not None:
        rows.append(
            _row("process", f"{plan.process_mib:,.0f} MiB", "with Python, torch, and what the allocator takes more")
        )
    if plan.host_gib is not None:
        rows.append(
            _row("main memory for images", f"{plan.host_gib:.3g} GiB", f"{plan.subject.images:,} images, decoded")
        )
    return ["memory of a device", *rows]


def _time(plan: Plan, price: float | None, currency: str) -> list[str]:
    hours, step = plan.hours, plan.step
    if plan.calibration is None:
        how = f"at {plan.gpu.share:.0%} of {plan.gpu.tflops:g} TFLOPS (assumed)"
    else:
        unit = "CPU-seconds" if plan.calibration.device == "cpu" else "seconds"
        how = f"{unit}, from smaller versions measured {HERE}"
    rows = [_row("step, computing", duration(step.computing), how)]
    if plan.cluster.count > 1:
        rows.append(
            _row("step, waiting for traffic", duration(step.waiting), f"{step.waiting / step.seconds:.1%} of the step")
        )
    rows.append(_row("training", duration(3600 * hours.training)))
    if hours.sampling:
        rows.append(_row("drawing images", duration(3600 * hours.sampling), f"{plan.subject.samples:,} to judge it by"))
    rows += [
        _row("lost", duration(3600 * hours.lost), "to checkpoints, failures and restarts"),
        _row("all", duration(3600 * hours.elapsed), f"{hours.paid:,.4g} device-hours"),
    ]
    if price is not None:
        rows.append(_row("money", f"{hours.price(price):,.2f} {currency}", f"at {price:g} {currency} a device-hour"))
    return ["time", *rows]


def _sent(plan: Plan) -> list[str]:
    failing = plan.failures
    rows = [
        _row("checkpoint", quantity(plan.checkpoint), f"stops training for {duration(failing.save_seconds)}"),
        _row("save every", duration(failing.daly_seconds), f"(Daly), one failure in {failing.mtbf_hours:,.4g} h"),
    ]
    if plan.cluster.count > 1:
        rows += [
            _row("sent a step, weights", quantity(plan.traffic.weights), "by each device"),
            _row(
                "sent a step, structure", quantity(plan.traffic.structure), "embeddings or Gram matrices, never images"
            ),
        ]
    return ["checkpoints and traffic", *rows]
