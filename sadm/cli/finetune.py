"""``sadm finetune``."""

from __future__ import annotations

from pathlib import Path

from sadm.cli.options import parse, required, speaks, take
from sadm.core.config import merge, read_yaml
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.finetuning.config import METHODS, USUAL
from sadm.training.config import TrainConfig, load_train_config

DESCRIPTION = """Fine-tunes a trained model on other images in a run folder, or goes on where the same command stopped.

Network, process, image size and sampling are the model's. Classes, channels and sizes of the images may differ; what had to be
initialised anew is listed. All options of `sadm train` serve.

  --from MODEL      a run or model folder (required); `sadm convert` makes one of published weights
  --data SOURCE     the new images (required)
  --out FOLDER      the run folder (required)
  --method NAME     {methods}; default lora
  --config FILE     a YAML file with the same keys as the options below

examples:
  sadm finetune --from runs/digits --data path/to/images --out runs/mine
  sadm finetune --from runs/digits --data path/to/images --out runs/mine --method difffit --optimiser.steps 1000
  sadm finetune --from runs/digits --data path/to/images --out runs/mine --early-stop.every 20
  sadm sample runs/mine --count 100
  sadm convert runs/mine --to merged --out models/mine   (one folder that needs no other)
"""


def run(arguments: list[str]) -> None:
    """Parses the arguments, fine-tunes, and says where the results are."""
    names = ("from", "data", "out", "method", "config", "finetune.method")
    (source, data, out, method, file, spelt_out), rest = take(arguments, *names)
    description = DESCRIPTION.format(methods=", ".join(METHODS))
    if any(word in ("-h", "--help") for word in rest):
        parse(TrainConfig, rest, "finetune", description, load_train_config(overrides=USUAL))
    source, folder = required(source, "from", "finetune"), required(out, "out", "finetune")
    change = {} if file is None else read_yaml(file)
    if data is not None:
        change = merge(change, {"data": {"source": data}})
    if "source" not in change.get("data", {}):
        raise UserError("--data is missing: a folder of images or another source. See: sadm finetune --help")
    from sadm.training.finetuning import finetune_config
    from sadm.training.run import train

    named = _method(method, spelt_out) or change.get("finetune", {}).get("method", "lora")
    change = merge(change, {"finetune": {"method": named}})
    config: TrainConfig = parse(TrainConfig, rest, "finetune", description, finetune_config(source, named, change))
    with ConsoleReporter() as reporter:
        result = train(config, folder, reporter)
    if not speaks():
        return
    kept = sum(file.stat().st_size for file in (Path(folder) / "model").glob("*.safetensors"))
    say(
        f"{result.steps} steps in {result.cpu_seconds + result.pretrain_cpu_seconds:.0f} CPU-seconds; "
        f"what learned takes {kept / 1e6:.2f} MB."
    )
    say(f"Draw images with: sadm sample {folder}")


def _method(short: str | None, spelt_out: str | None) -> str | None:
    """The method that was typed, as --method or as --finetune.method: the learning rate depends on it.

    Raises:
        UserError: both were, and differ.
    """
    if short is not None and spelt_out is not None and short != spelt_out:
        raise UserError(f"--method {short} and --finetune.method {spelt_out} differ. Leave one out.")
    return spelt_out if short is None else short
