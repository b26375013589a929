"""Accelerators by name: peaks, memory and links, as their makers' data sheets say. Imports no torch."""

from __future__ import annotations

import dataclasses
import difflib

from sadm.core.errors import UserError

HERE = "here"
"""Names this machine, whose speed is measured: `sadm.experiments.planning.calibration`."""
NVLINK = 8
"""Devices of a machine whose links are NVLink; also assumed of the others."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What hours are counted for.

    Attributes:
        name: of the GPU.
        tflops: its peak in the precision of the training, in 10^12 operations a second.
        gib: its memory.
        share: of the peak that is assumed to be reached.
    """

    name: str = "A100 80 GB"
    tflops: float = 19.5
    gib: float = 80.0
    share: float = 0.5

    def hours(self, operations: float) -> float:
        """Hours that so many operations take."""
        return operations / (self.tflops * 1e12 * self.share) / 3600


@dataclasses.dataclass(frozen=True)
class Device:
    """An accelerator, by its data sheet.

    Attributes:
        title: as people call it.
        float32: peak in single precision, without tensor cores, in 10^12 operations a second; the trainer's default.
        bfloat16: peak of the tensor cores, without sparsity; None where it has none for bfloat16.
        gib: memory; the sheet's GB are taken as GiB, of which a driver keeps a little.
        link: GB/s in one direction to the other devices of its machine (half of what the sheet adds up).
        source: where that was read.
    """

    title: str
    float32: float
    bfloat16: float | None
    gib: float
    link: float
    source: str

    def peak(self, precision: str) -> float:
        """The peak in a precision.

        Raises:
            UserError: the device has none.
        """
        if precision == "bfloat16" and self.bfloat16 is None:
            raise UserError(
                f"{self.title} has no tensor cores for bfloat16. Plan with --train.parallel.precision float32."
            )
        return float(self.bfloat16 or 0) if precision == "bfloat16" else self.float32

    def gpu(self, precision: str, share: float = Gpu.share) -> Gpu:
        """What hours are counted for."""
        return Gpu(self.title, self.peak(precision), self.gib, share)


DEVICES: dict[str, Device] = {
    "v100": Device("V100 SXM2 32 GB", 15.7, None, 32, 150, "NVIDIA V100 data sheet"),
    "t4": Device("T4", 8.1, None, 16, 16, "NVIDIA T4 data sheet; PCIe 3 x16"),
    "a10": Device("A10", 31.2, 125, 24, 32, "NVIDIA A10 data sheet; PCIe 4 x16"),
    "a100-40": Device("A100 SXM 40 GB", 19.5, 312, 40, 300, "NVIDIA A100 data sheet"),
    "a100": Device("A100 80 GB", 19.5, 312, 80, 300, "NVIDIA A100 data sheet (SXM)"),
    "l4": Device("L4", 30.3, 121, 24, 32, "NVIDIA L4 data sheet; PCIe 4 x16"),
    "l40s": Device("L40S", 91.6, 362, 48, 32, "NVIDIA L40S data sheet; PCIe 4 x16"),
    "rtx3090": Device("RTX 3090", 35.6, 71, 24, 32, "NVIDIA GA102 white paper; PCIe 4 x16"),
    "rtx4090": Device("RTX 4090", 82.6, 165.2, 24, 32, "NVIDIA Ada GPU architecture white paper; PCIe 4 x16"),
    "h100": Device("H100 SXM", 67, 989.4, 80, 450, "NVIDIA H100 data sheet (half of what it gives with sparsity)"),
    "h200": Device("H200 SXM", 67, 989.4, 140, 450, "NVIDIA H200 data sheet (half of what it gives with sparsity)"),
}
"""What `--device` names."""


def device_named(name: str) -> Device:
    """A device of `DEVICES`.

    Raises:
        UserError: there is none of that name.
    """
    if name not in DEVICES:
        near = difflib.get_close_matches(name, DEVICES, n=1, cutoff=0.4)
        hint = f" (nearest: '{near[0]}')" if near else ""
        raise UserError(
            f"unknown device '{name}'; there are {', '.join(DEVICES)}, and '{HERE}' with --calibrate{hint}. For another, give "
            "the nearest one with --tflops, --gpu-memory and --link."
        )
    return DEVICES[name]
