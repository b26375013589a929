"""InceptionV3 as the Fréchet Inception Distance uses it: the network of December 2015, with the weights in torch's layout.

It differs from the published InceptionV3 (Szegedy et al. 2016, arXiv 1512.00567) in that averages over 3x3 neighbours leave out
what lies beyond the border, its last block takes maxima instead, and it has 1,008 classes; pytorch-fid and torch-fidelity
describe these differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.errors import UserError
from sadm.evaluation.features.resizing import resize_as_tensorflow_1
from sadm.models.weights.files import read_weights

Kernel = int | tuple[int, int]
Layer = tuple[int, Kernel] | tuple[int, Kernel, int]
"""Channels out, kernel, stride (1 if missing); padded to the same size at stride 1, not at all at stride 2."""
Chain = Sequence[Layer | tuple[Layer, Layer]]
"""Layers one after the other; a pair, at the end, works side by side."""

FILE = "pt_inception-2015-12-05-6726825d.pth"
RELEASE = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"
"""Where the weights' converter published them; the file's name ends in the first digits of its SHA-256."""
SIDE = 299
"""Images are resized to this side."""
SPATIAL_CHANNELS = 7
"""Of the 17x17 maps that sFID looks at: the first ones of Mixed_6d's 1x1 branch, which ADM's evaluator calls mixed_6/conv."""
CLASSES = 1008
ROW: Kernel = (1, 7)
COLUMN: Kernel = (7, 1)
FORK: tuple[Layer, Layer] = ((384, (1, 3)), (384, (3, 1)))


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation with stored statistics, ReLU."""

    def __init__(self, channels: int, layer: Layer, padded: bool | None = None) -> None:
        super().__init__()
        out, kernel, stride = (*layer, 1)[:3]
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        same = stride == 1 if padded is None else padded
        padding = (sides[0] // 2, sides[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(channels, out, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    """Branches side by side, joined along the channels; the last one begins with pooling.

    Args:
        channels: in.
        branches: by name, their layers. A branch of one layer gives its name to the layer; layers of longer ones are numbered
            from 1, and those of a pair lettered.
        pooling: ``average`` or ``maximum`` over 3x3 neighbours, or ``halving``: the maximum at stride 2.
        pooled: channels of the layer after it; None = no layer there.
    """

    def __init__(self, channels: int, branches: dict[str, Chain], pooling: str, pooled: int | None) -> None:
        super().__init__()
        self.pooling, self.pooled = pooling, pooled is not None
        self.chains = {name: self._add(name, channels, chain) for name, chain in branches.items()}
        if pooled is not None:
            self.branch_pool = ConvNorm(channels, (pooled, 1))

    def _add(self, branch: str, channels: int, chain: Chain) -> list[tuple[str, ...]]:
        """Registers a branch's layers; returns the names of what works side by side, step by step."""
        steps: list[tuple[str, ...]] = []
        for number, step in enumerate(chain, start=1):
            layers: Any = step if isinstance(step[0], tuple) else (step,)
            base = branch if len(chain) == 1 else f"{branch}_{number}"
            names = (base,) if len(layers) == 1 else (f"{base}a", f"{base}b")
            for name, layer in zip(names, layers, strict=True):
                self.add_module(name, ConvNorm(channels, layer))
            steps.append(names)
            channels = sum(layer[0] for layer in layers)
        return steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([*(self._run(chain, x) for chain in self.chains.values()), self._pool(x)], dim=1)

    def _run(self, chain: list[tuple[str, ...]], x: torch.Tensor) -> torch.Tensor:
        for names in chain:
            x = torch.cat([self.get_submodule(name)(x) for name in names], dim=1)
        return x

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        if self.pooling == "halving":
            return F.max_pool2d(x, 3, 2)
        if self.pooling == "maximum":
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _fine(channels: int, pooled: int) -> Block:
    """35x35."""
    branches: dict[str, Chain] = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return Block(channels, branches, "average", pooled)


def _middle(width: int) -> Block:
    """17x17."""
    branches: dict[str, Chain] = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, ROW), (192, COLUMN)],
        "branch7x7dbl": [(width, 1), (width, COLUMN), (width, ROW), (width, COLUMN), (192, ROW)],
    }
    return Block(768, branches, "average", 192)


def _coarse(channels: int, pooling: str) -> Block:
    """8x8."""
    branches: dict[str, Chain] = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), FORK],
        "branch3x3dbl": [(448, 1), (384, 3), FORK],
    }
    return Block(channels, branches, pooling, 192)


class InceptionV3(nn.Module):
    """The network; keys of its state are those of the files that pytorch-fid and torch-fidelity load."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, (32, 3, 2))
        self.Conv2d_2a_3x3 = ConvNorm(32, (32, 3), padded=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, (64, 3))
        self.Conv2d_3b_1x1 = ConvNorm(64, (80, 1))
        self.Conv2d_4a_3x3 = ConvNorm(80, (192, 3), padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _fine(192, 32), _fine(256, 64), _fine(288, 64)
        self.Mixed_6a = Block(
            288, {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]}, "halving", None
        )
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            _middle(128),
            _middle(160),
            _middle(160),
            _middle(192),
        )
        self.Mixed_7a = Block(
            768,
            {"branch3x3": [(192, 1), (320, 3, 2)], "branch7x7x3": [(192, 1), (192, ROW), (192, COLUMN), (192, 3, 2)]},
            "halving",
            None,
        )
        self.Mixed_7b, self.Mixed_7c = _coarse(1280, "average"), _coarse(2048, "maximum")
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the metrics need of images.

        Args:
            pixels: [B, 3, H, W], uint8.

        Returns:
            ``features`` [B, 2048], FID's; ``spatial`` [B, 7, 17, 17], sFID's; ``logits`` [B, 1008], the Inception score's:
            without the bias, as in its first implementation.
        """
        x = (resize_as_tensorflow_1(pixels.float(), SIDE) - 128) / 128  # [B, 3, 299, 299], about [-1, 1]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [B, 64, 147, 147]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))  # [B, 192, 71, 71]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))  # [B, 288, 35, 35]
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # [B, 768, 17, 17]
        spatial = self.Mixed_6d.get_submodule("branch1x1")(x)[:, :SPATIAL_CHANNELS]
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))))  # [B, 2048, 8, 8]
        features = x.mean(dim=(2, 3))
        return {"features": features, "spatial": spatial, "logits": features @ self.fc.weight.T}


def load_inception(file: str | Path | None = None) -> InceptionV3:
    """The network with FID's weights, in evaluation mode.

    Args:
        file: of pytorch-fid's or torch-fidelity's weights; None = pytorch-fid's, from torch's folder of downloads, or
            downloaded into it once and checked by its hash.

    Raises:
        UserError: no such file, one of other weights, or a download that fails.
    """
    state = _downloaded() if file is None else read_weights(file)
    source = RELEASE if file is None else file
    network = InceptionV3()
    if not isinstance(state, dict):
        raise UserError(
            f"{source} holds a {type(state).__name__}; expected the weights of FID's InceptionV3, such as {FILE}."
        )
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    # Counters of batches, which only training needs, are in some files and not in others.
    counted = {name: torch.tensor(0) for name in expected if name.endswith(".num_batches_tracked")}
    given = counted | {name: tensor for name, tensor in state.items() if name in expected}
    wrong = [name for name, shape in expected.items() if name not in given or given[name].shape != shape]
    if wrong:
        raise UserError(
            f"{source} holds other weights than those of FID's InceptionV3: {len(wrong)} of {len(expected)} tensors are missing "
            f"or of another shape, such as {wrong[0]}. Give {FILE} of pytorch-fid, or torch-fidelity's."
        )
    network.load_state_dict(given)
    return network.eval()


def _downloaded() -> dict[str, torch.Tensor]:
    """From torch's folder of downloads."""
    try:
        return torch.hub.load_state_dict_from_url(
            f"{RELEASE}/{FILE}", map_location="cpu", check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"the weights of FID's InceptionV3 can't be downloaded ({error}). Put {FILE} of pytorch-fid's release 'fid_weights' "
            f"into {folder}, or name the file: inception:FILE."
        ) from error
