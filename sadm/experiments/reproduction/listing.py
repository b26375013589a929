"""Experiments as text and as JSON: published figures, plan, data to get, ours."""

from __future__ import annotations

from typing import Any

from sadm.core.languages import in_language
from sadm.experiments.planning.devices import Gpu
from sadm.experiments.reproduction.plan import Plan, plan_for
from sadm.experiments.reproduction.rehearsal import Rehearsal
from sadm.experiments.reproduction.targets import Figure, Target
from sadm.experiments.reproduction.texts import TABLES

Results = list[dict[str, Any]]


def entry(name: str, target: Target, results: Results, gpu: Gpu, arms: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is known of an experiment, for JSON; `arms` are those that are planned, the first one by default."""
    own = [result for result in results if result["experiment"] == name]
    return {
        "name": name,
        **target.model_dump(mode="json", include={"title", "kind", "inferred", "choices", "resolution"}),
        "figures": [figure.model_dump() for figure in target.figures],
        "plans": {arm: plan_for(target, arm, gpu=gpu).as_dict() for arm in arms or (target.first_arm,)},
        "gpu": vars(gpu),
        "data": target.images.model_dump(mode="json"),
        "start": None if target.start is None else target.start.model_dump(mode="json"),
        "protocol": target.protocol.model_dump(mode="json"),
        "ours": own,
    }


def listed(name: str, target: Target, results: Results, gpu: Gpu, lang: str) -> list[str]:
    """An experiment in a few lines."""
    say = in_language(TABLES, lang)
    lines = [f"{name}  {target.title} ({say[target.kind]})"]
    if target.inferred:
        lines.append(f"  {say['inferred']}")
    lines += _block(say["published"], [_figure(figure, say) for figure in target.figures])
    lines += _block(say["plan"], _plan(target, target.first_arm, gpu, say))
    lines += _block(say["data"], _data(target, say))
    return lines + _block(say["ours"], _ours(name, results, say) or [say["none"]])


def described(name: str, target: Target, results: Results, gpu: Gpu, lang: str) -> list[str]:
    """All that there is to say about an experiment, with what to type next."""
    say = in_language(TABLES, lang)
    lines = listed(name, target, results, gpu, lang)
    for arm in list(target.arms)[1:]:
        lines += _block(say["plan"], _plan(target, arm, gpu, say))
    sampling = target.config(target.first_arm).sampling
    protocol = say["protocol_line"].format(
        images=f"{target.protocol.images:,}",
        solver=sampling.solver,
        steps=sampling.steps,
        guidance=sampling.guidance_scale,
        read_in=target.protocol.read_in,
    )
    lines += _block(say["choices"], target.choices) + _block(say["protocol"], [protocol])
    return [*lines, *_block(say["next"], _commands(name, target)), say["hours_note"]]


def rehearsed(rehearsal: Rehearsal, lang: str) -> list[str]:
    """What a rehearsal did."""
    say, plan, small = in_language(TABLES, lang), rehearsal.plan, rehearsal.small
    counts = {"parameters": f"{plan.counts.parameters:,}", "learning": f"{plan.counts.learning:,}"}
    done = [say["dry_network"].format(**counts, output="x".join(map(str, rehearsal.network)))]
    net = ", ".join(f"{key} {value}" for key, value in small["net"].items())
    done.append(say["dry_small"].format(**{**small, "net": net, "pixels": small["resolution"]}))
    if rehearsal.result is not None:
        ours = rehearsal.result["ours"]
        start = say["dry_start"] if small["starts"] else ""
        done.append(say["dry_done"].format(start=start, metric=ours["metric"], value=f"{ours['value']:.3g}"))
    done += [say["dry_missing"].format(name=item.name, remedy=item.remedy) for item in rehearsal.missing]
    if rehearsal.result is None:
        done.append(say["dry_stopped"])
    head = say["dry_not" if rehearsal.result is None else "dry_ok"]
    return [head.format(**vars(rehearsal)), *(f"  {line}" for line in done)]


def _figure(figure: Figure, say: dict[str, str]) -> str:
    text = say["unread_figure" if figure.value is None else "figure"].format(**figure.model_dump())
    notes = [] if figure.read == "none" else [say[f"read_{figure.read}"].format(read_in=figure.read_in)]
    notes += [] if figure.arm is not None else [say["no_arm"]]
    return "; ".join([text, *notes])


def _plan(target: Target, arm: str, gpu: Gpu, say: dict[str, str]) -> list[str]:
    plan = plan_for(target, arm, gpu=gpu)
    hours = say["hours"].format(
        arm=arm,
        hours=f"{plan.hours:,.0f}",
        training=f"{plan.training_hours:,.0f}",
        sampling=f"{plan.sampling_hours:,.0f}",
        memory=f"{plan.memory:,.0f}",
        gpu=gpu.name,
        share=f"{gpu.share:.0%}",
        tflops=f"{gpu.tflops:g}",
    )
    batch = target.config(arm).optimiser.batch
    fits = say["fits" if batch <= plan.largest_batch else "too_large"].format(batch=batch, largest=plan.largest_batch)
    counts = {"learning": f"{plan.counts.learning:,}", "parameters": f"{plan.counts.parameters:,}"}
    return [hours, fits, "; ".join([say["learning"].format(**counts), *_room(plan, say)])]


def _room(plan: Plan, say: dict[str, str]) -> list[str]:
    found = {"room": plan.host, "latents": plan.latents}
    names = {"room": "host", "latents": "latents"}
    return [say[key].format(**{names[key]: f"{value:.1f}"}) for key, value in found.items() if value is not None]


def _data(target: Target, say: dict[str, str]) -> list[str]:
    images = target.images
    count = say["unknown"] if images.images is None else f"{images.images:,}"
    classes = say["unknown"] if images.classes is None else str(images.classes)
    kinds = say["classes"].format(classes=classes) if images.labelled else say["unlabelled"]
    lines = [
        f"{say['images'].format(images=count)}, {kinds}",
        say["page"].format(page=images.page),
        say["path"].format(path=images.path),
        say["licence"].format(licence=images.licence or say["unknown"]),
        say["read_data"].format(read_in=images.read_in),
    ]
    if images.unread is not None:
        lines.append(say["unread"].format(unread=images.unread))
    if target.start is not None:
        lines.append(f"{say['start']}: {say['start_line'].format(**target.start.model_dump())}")
    return lines


def _ours(name: str, results: Results, say: dict[str, str]) -> list[str]:
    lines = []
    for result in results:
        if result["experiment"] == name:
            ours = {
                **result["ours"],
                "value": f"{result['ours']['value']:.4g}",
                "images": f"{result['ours']['images']:,}",
            }
            lines.append(say["result"].format(arm=result["arm"], **ours))
            if result["changed"]:
                lines.append(say["changed"].format(changed="; ".join(result["changed"])))
    return lines


def _commands(name: str, target: Target) -> list[str]:
    start, commands = target.start, []
    model = ""
    if start is not None:
        model = " --from models/dit"
        commands.append(
            f"sadm convert {start.file} --family {start.family} --autoencoder {start.autoencoder} --out models/dit"
        )
    commands.append(f"sadm reproduce {name} --dry-run")
    return [*commands, f"sadm reproduce {name} --data DATA{model} --out runs/{name}"]


def _block(title: str, lines: list[str]) -> list[str]:
    return [f"  {title}", *(f"    {line}" for line in lines)]
