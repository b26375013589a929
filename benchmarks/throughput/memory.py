"""Peak memory of one contestant at one shape, beyond that of imports and data, in MiB.

python -m benchmarks.throughput.memory sadm s2
python -m benchmarks.throughput.memory sadm s2 bfloat16

Two training steps and a batch of samples, after a tiny network of the same contestant has done so once.
"""

from __future__ import annotations

import subprocess
import sys

import torch

from benchmarks.throughput.measure import AS_USUAL, CONTESTANTS, Manner, as_precise, made_up_data
from benchmarks.throughput.shapes import Shape, shapes
from sadm.core.devices import resolve_device
from sadm.core.provenance import peak_memory_mib

TINY = Shape((1, 8, 8), 4, 16, 1, 2, 10, train_batch=2, sample_batch=2, sample_steps=2)


def main(name: str, shape_name: str, precision: str = "") -> None:
    """Measures in this process, and prints."""
    manner = Manner(bfloat16=precision == "bfloat16")
    torch.set_num_threads(1)
    device = resolve_device("auto")
    (kind,) = (kind for kind in CONTESTANTS if kind.name == name)
    shape = shapes()[shape_name]
    work_with(kind, TINY, manner, *made_up_data(TINY, device))
    data = made_up_data(shape, device)
    before = peak_mib(device)
    work_with(kind, shape, manner, *data)
    print(peak_mib(device) - before)


def work_with(kind: type, shape: Shape, manner: Manner, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Two training steps and a batch of samples."""
    contestant = kind(shape, images, labels)
    for work in (contestant.train_step, contestant.train_step, contestant.sample):
        as_precise(work, images.device, manner.dtype(images.device))()


def peak_mib(device: torch.device) -> float:
    """The most memory held so far: of the process, or on the accelerator."""
    if device.type == "cpu":
        return peak_memory_mib()
    return torch.accelerator.max_memory_allocated() / 2**20


def measured_apart(name: str, shape_name: str, manner: Manner = AS_USUAL) -> float:
    """The same in a process of its own."""
    precision = ["bfloat16"] if manner.bfloat16 else []
    command = [sys.executable, "-m", "benchmarks.throughput.memory", name, shape_name, *precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return round(float(done.stdout.split()[-1]), 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
