"""One of N processes: trains cases for a few steps, and writes what came of them.

torchrun --nproc-per-node 2 -m benchmarks.parallel.worker CASES.json OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.parallel.cases import Case
from sadm.core.progress import Silent
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.learner import Learner
from sadm.training.parallel.engine import whole
from sadm.training.parallel.team import Team, team_for
from sadm.training.run import split_for
from sadm.training.signals import prepare_signals
from sadm.training.spec import spec_for
from sadm.training.starting import process_of


def trained(config: TrainConfig, team: Team) -> dict[str, torch.Tensor]:
    """The losses of all steps, the gradients of the first as the optimiser sees them, and the last weights and averages."""
    images = split_for(config).train
    spec = spec_for(images, config.net, process_of(config), config.data)
    signals = prepare_signals(config, images, Silent()).signals
    learner = Learner(config, images, spec, signals, team=team)
    named = {name: part for name, part in learner.denoiser.net.named_parameters() if part.requires_grad}
    step, found, losses = learner.optimiser.step, {}, []

    def watched(*given: Any) -> Any:
        if not found:
            found.update(
                {f"gradient/{name}": whole(part.grad).clone() for name, part in named.items() if part.grad is not None}
            )
        return step(*given)

    learner.optimiser.step = watched  # type: ignore[method-assign]
    for _ in range(config.optimiser.steps):
        losses.append(float(learner.advance()["loss"]))
    weights = {f"weight/{name}": whole(part).detach() for name, part in named.items()}
    averages = {f"average/{name}": whole(part).detach() for name, part in learner.ema.module.state_dict().items()}
    players = _tensors([signal.state_dict() for signal in signals], "player")
    return {"loss": torch.tensor(losses), **found, **weights, **averages, **players}


def _tensors(value: Any, name: str) -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {name: value.detach().clone()} if value.is_floating_point() else {}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {key: part for place, each in parts for key, part in _tensors(each, f"{name}/{place}").items()}


def run(cases: list[Case], out: Path, team: Team) -> None:
    """Trains the cases one after another; the first process writes a file for each."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    for number, case in enumerate(cases):
        config = load_train_config(overrides=case.settings(team.count))
        found = trained(config, team)
        if team.first:
            save_file({name: tensor.contiguous() for name, tensor in found.items()}, out / f"{number}.safetensors")


def main(cases: str, out: str) -> None:
    """As one of the processes that torchrun has started."""
    with team_for("cpu") as team:
        run([Case(**case) for case in json.loads(Path(cases).read_text())], Path(out), team)


if __name__ == "__main__":
    main(*sys.argv[1:])
