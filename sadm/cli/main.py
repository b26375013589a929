"""``sadm COMMAND``: finds the command's module and turns errors for people into messages and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from sadm.core.allocation import keep_freed_memory

COMMANDS = {
    "prepare": "find out what is wrong with a folder of images, and what to type next",
    "train": "train a model, plain or structure-guided, in a run folder",
    "finetune": "adapt a trained model to other images, with few parameters",
    "sample": "draw images from a trained model",
    "defects": "draw defects on real good images: pairs of image and mask, to train an inspection on",
    "inpaint": "make a part of your images anew so that it fits the rest, in several proposals",
    "vary": "variations of your images: by strength, between two designs, to another class or a mix of classes",
    "restore": "restore damaged images in several proposals, with a map of what is uncertain",
    "evaluate": "judge a trained model against held-out images",
    "audit": "find out whether a trained model copies its training images",
    "monitor": "find out whether new images still suit a model in operation, or ask for training anew",
    "augment": "fill unbalanced classes with filtered images of a model, and measure whether they help",
    "convert": "bring published weights into a model folder, or a model into a folder of diffusers",
    "export": "write the images of any source to a folder, or a model as ONNX or for diffusers",
    "card": "write a model card: data, settings, metrics, memorisation, intended use",
    "verify": "read the marks of images: which model made them, from which data and seed",
    "encode": "encode images into a cache of latents to train on, ahead of time and on all cores",
    "compare": "train plain and structure-guided models at equal cost and report which is better",
    "poc": "find out in which of several domains structure guidance pays, within a budget",
    "sweep": "search a grid of training options with paired seeds, and how to confirm what it found",
    "studio": "a page in the browser for all this, on this machine",
    "plan": "what a training would take: operations, memory, hours, money, traffic; measured here or for devices by name",
    "reproduce": "the paper's experiments: published figures, what each would take, a rehearsal, the job itself",
}

TOGETHER = ("train", "finetune")
"""Commands that several processes, as torchrun starts them, run together."""

USER_ERROR = 2
INTERRUPTED = 130


def usage() -> str:
    """The overview that ``sadm --help`` prints."""
    lines = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    return (
        "usage: sadm COMMAND [OPTIONS]\n\n"
        "Structure-guided adversarial training of diffusion models.\n\n"
        f"commands:\n{lines}\n\n"
        "examples:\n"
        "  sadm prepare path/to/images\n"
        "  sadm train --out runs/digits --recipe digits\n"
        "  sadm train --data path/to/images --out runs/mine --recipe folder32\n"
        "  sadm sample runs/digits --count 100\n"
        "  sadm compare --out runs/compare --recipe digits\n\n"
        "sadm COMMAND --help explains a command's options."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; always ends with SystemExit (0 well, 1 a command's "no", 2 the user's mistake, 130 interrupted)."""
    keep_freed_memory()
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it flushes
        code = 0
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else USER_ERROR
    name, *rest = arguments
    if name == "--version":
        from sadm import __version__

        print(f"sadm {__version__}")
        return 0
    if name not in COMMANDS:
        return _complain(_unknown(name))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and name not in TOGETHER:
        from sadm.cli.options import speaks

        return _complain(_not_together(name)) if speaks() else USER_ERROR
    return _guarded(name, rest)


def _guarded(name: str, arguments: list[str]) -> int:
    from sadm.core.errors import InterruptedRun, UserError
    from sadm.core.terminal import complain

    try:
        code = importlib.import_module(f"sadm.cli.{name}").run(arguments)
    except UserError as error:
        return USER_ERROR if error.said_by_another else _complain(str(error))
    except InterruptedRun as error:
        if not error.said_by_another:
            complain(f"\n{error}")
        return INTERRUPTED
    except KeyboardInterrupt:
        print("\nInterrupted. To go on, run the same command.", file=sys.stderr)
        return INTERRUPTED
    return code or 0  # most commands return nothing


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(COMMANDS)}."
    return f"unknown command '{name}'; {hint}"


def _not_together(name: str) -> str:
    return (
        f"torchrun has started {os.environ['WORLD_SIZE']} processes of '{name}', which would all do the same; the commands that "
        f"several processes run together are {' and '.join(TOGETHER)}. Start it alone: sadm {name} …"
    )


def _complain(message: str) -> int:
    from sadm.core.terminal import complain

    complain(f"sadm: {message}")
    return USER_ERROR
