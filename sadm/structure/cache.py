"""Embeddings of real images, kept while their encoder is frozen."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from sadm.structure.errors import StructureError
from sadm.structure.players.outputs import Stages

MAX_BYTES = 2**28
_FINGERPRINT_TOLERANCE = 1e-4  # of numbers of order 1; rounding changes them by 1e-6, a flip or a shift by 0.1

_REMEDY = "with flips, crops or other augmentation leave index out"


class EmbeddingCache:
    """Real images' embeddings by image index, so that a frozen encoder sees each real image only once.

    Valid as long as an index always means the same pixels: not with flips, crops or other augmentation. Each image carries a
    fingerprint, and one that has changed is refused. An encoder whose weights change empties the cache; of one without weights
    (such as `DenoiserFeatures`) nothing tells whether it changes, so nothing of it is kept.

    Batches are answered whole or not at all, and embedded whole: an encoder's last digits can depend on the batch size, and so
    the numbers of a training do not depend on what happens to be in the cache, nor on a resumption.

    Args:
        encoder: the frozen encoder.
        max_bytes: when they are used up, no further images are added.
    """

    def __init__(self, encoder: nn.Module, max_bytes: int = MAX_BYTES) -> None:
        self.encoder, self.max_bytes = encoder, max_bytes
        self.tables: Stages = ()
        self.fingerprints = self.pattern = torch.empty(0)
        self.slots: dict[int, int] = {}
        self.capacity = 0
        self.version = self._weights_version()

    def __len__(self) -> int:
        return len(self.slots)

    def through(self, index: torch.Tensor | None, x0: torch.Tensor, embed: Callable[[], Stages]) -> Stages:
        """The stages of these images, kept or from `embed`; without an index nothing is looked up or kept.

        Raises:
            StructureError: what `get` refuses.
        """
        if index is None:
            return embed()
        stages = self.get(index, x0)
        if stages is None:
            stages = embed()
            self.put(index, x0, stages)
        return stages

    def get(self, index: torch.Tensor, x0: torch.Tensor) -> Stages | None:
        """The stages of these images, or None if any of them is missing.

        Args:
            index: of each image [B], integers.
            x0: the images [B, C, H, W], to compare their fingerprints.

        Raises:
            StructureError: another shape or kind of index, or images that have changed.
        """
        if index.shape != x0.shape[:1] or index.is_floating_point() or index.is_complex():
            raise StructureError(
                f"expected an integer index [{len(x0)}], one for each image, got {index.dtype} {tuple(index.shape)}"
            )
        version = self._weights_version()
        if version != self.version:
            self.tables, self.slots, self.version = (), {}, version
        slots = [self.slots.get(image, -1) for image in index.tolist()]
        known = [row for row, slot in enumerate(slots) if slot >= 0]
        if not known:
            return None
        kept = self.fingerprints[[slots[row] for row in known]]
        change = (self._fingerprints(x0[known]) - kept).abs() > _FINGERPRINT_TOLERANCE
        if bool(change.any()):
            image = int(index[known][change.to(index.device)][0])
            raise StructureError(f"image {image} is not what it was when its embedding was cached: {_REMEDY}")
        return tuple(table[slots] for table in self.tables) if len(known) == len(slots) else None

    def put(self, index: torch.Tensor, x0: torch.Tensor, stages: Stages) -> None:
        """Adds those images that are new, while there is room."""
        if self.version is None:
            return
        if not self.tables:
            size = sum(stage[0].numel() * stage.element_size() for stage in stages)
            self.capacity = self.max_bytes // max(1, size)
            self.tables = tuple(stage.new_empty(0, *stage.shape[1:]) for stage in stages)
            self.fingerprints = self._fingerprints(x0[:0])
        new = {image: row for row, image in enumerate(index.tolist()) if image not in self.slots}
        new = dict(itertools.islice(new.items(), max(0, self.capacity - len(self))))
        if not new:
            return
        self._reserve(len(self) + len(new))
        rows, slots = list(new.values()), list(range(len(self), len(self) + len(new)))
        for table, stage in zip(self.tables, stages, strict=True):
            table[slots] = stage.detach()[rows]
        self.fingerprints[slots] = self._fingerprints(x0[rows])
        self.slots.update(zip(new, slots, strict=True))

    def _reserve(self, images: int) -> None:
        room = len(self.fingerprints)
        if images <= room:
            return
        more = min(self.capacity, max(images, 2 * room)) - room

        def longer(table: torch.Tensor) -> torch.Tensor:
            return torch.cat([table, table.new_empty(more, *table.shape[1:])])

        self.tables, self.fingerprints = tuple(longer(table) for table in self.tables), longer(self.fingerprints)

    def _fingerprints(self, x0: torch.Tensor) -> torch.Tensor:
        pixels = x0.flatten(1).float()  # [B, C H W]
        if len(self.pattern) != pixels.shape[1]:
            if self.slots:
                raise StructureError(
                    f"these images are of another size than those whose embeddings are cached: {_REMEDY}"
                )
            draws = torch.Generator().manual_seed(0)
            pattern = torch.randn(pixels.shape[1], generator=draws) / max(1, pixels.shape[1]) ** 0.5
            self.pattern = pattern.to(pixels.device)
        return pixels @ self.pattern  # [B]

    def _weights_version(self) -> int | None:
        # Every change in place, by an optimiser, an average of weights or load_state_dict, raises a tensor's version.
        versions = [tensor._version for tensor in itertools.chain(self.encoder.parameters(), self.encoder.buffers())]
        return sum(versions) if versions else None
