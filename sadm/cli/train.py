"""``sadm train``."""

from __future__ import annotations

from sadm.cli.options import network_defaults, parse, required, speaks, take
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.training.config import TrainConfig, load_train_config, recipe_names

DESCRIPTION = """Trains a model in a run folder, or goes on where the same command stopped.

  --out FOLDER      the run folder (required)
  --recipe NAME     start from a packaged recipe: {recipes}
  --config FILE     start from a YAML file, on top of the recipe

examples:
  sadm train --out runs/digits --recipe digits
  sadm train --out runs/plain --recipe digits --signal none --optimiser.steps 400
  sadm train --out runs/mine --recipe folder32 --data path/to/images --strict
  sadm train --out runs/small --data path/to/images --data.resolution 64 --net.named DiT-S/4
  sadm train --out runs/unet --recipe digits --net.kind unet --net.unet.channels 32 64
  torchrun --nproc-per-node 2 -m sadm train --out runs/two --recipe digits
  sadm train --out runs/latent --data path/to/images --data.resolution 256 --data.autoencoder path/to/vae
"""


def run(arguments: list[str]) -> None:
    """Parses the arguments, trains, and says where the results are."""
    (out, recipe, file), rest = take(arguments, "out", "recipe", "config")
    defaults = load_train_config(recipe, file, network_defaults(rest))
    description = DESCRIPTION.format(recipes=", ".join(recipe_names()))
    config: TrainConfig = parse(TrainConfig, rest, "train", description, defaults)
    folder = required(out, "out", "train")
    from sadm.training.run import train

    with ConsoleReporter() as reporter:
        result = train(config, folder, reporter)
    if not speaks():
        return
    say(f"{result.steps} steps in {result.cpu_seconds + result.pretrain_cpu_seconds:.0f} CPU-seconds.")
    say(f"Draw images with: sadm sample {folder}")
