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
_ROWS = 32  # of fewer, some processors sum the last ones in another order
_REMEDY = "with flips, crops or other augmentation leave index out"


class _Shelf:
    """What is kept of images of one size [C, H, W]: room for a number of them, of which the first `slots` are taken."""

    def __init__(self, x0: torch.Tensor, stages: Stages) -> None:
        self.tables = tuple(stage.new_empty(0, *stage.shape[1:]) for stage in stages)
        size = x0[0].numel()
        draws = torch.Generator().manual_seed(0)
        self.pattern = (torch.randn(size, generator=draws, dtype=torch.float32) / max(1, size) ** 0.5).to(x0.device)
        self.fingerprints = self.fingerprints_of(x0[:0])
        self.bytes_each = max(1, sum(stage[0].numel() * stage.element_size() for stage in stages))
        self.slots: dict[int, int] = {}

    @property
    def room(self) -> int:
        return len(self.fingerprints)

    def fingerprints_of(self, x0: torch.Tensor) -> torch.Tensor:
        return x0.flatten(1).float() @ self.pattern  # [B]

    def reserve(self, images: int) -> None:
        def longer(table: torch.Tensor) -> torch.Tensor:
            return torch.cat([table, table.new_empty(images - self.room, *table.shape[1:])])

        self.tables, self.fingerprints = tuple(longer(table) for table in self.tables), longer(self.fingerprints)


class EmbeddingCache:
    """Real images' embeddings by image index, so that a frozen encoder sees each real image only once.

    Valid as long as an index always means the same pixels: not with flips, crops or other augmentation. Each image carries a
    fingerprint, and one that has changed is refused. Images may be of several sizes, those of a batch being of one. An encoder
    whose weights change empties the cache, unless they are written through ``.data``, which torch does not count; of one without
    weights (such as `DenoiserFeatures`) nothing tells whether it changes, so nothing of it is kept.

    The numbers of a training do not depend on what happens to be in the cache, nor on a resumption, although an encoder's last
    digits can depend on the batch: batches are answered whole or not at all, and embedded whole, in numbers that processors treat
    all rows alike in (seen for encoders whose numbers of channels are multiples of 8).

    Args:
        encoder: the frozen encoder.
        max_bytes: when they are used up, no further images are added.
    """

    def __init__(self, encoder: nn.Module, max_bytes: int = MAX_BYTES) -> None:
        self.encoder, self.max_bytes = encoder, max_bytes
        self._shelves: dict[torch.Size, _Shelf] = {}
        self._version = self._weights_version()

    def __len__(self) -> int:
        return sum(len(shelf.slots) for shelf in self._shelves.values())

    @property
    def bytes(self) -> int:
        """Memory set aside for embeddings."""
        return sum(shelf.room * shelf.bytes_each for shelf in self._shelves.values())

    def through(self, index: torch.Tensor | None, x0: torch.Tensor, embed: Callable[[torch.Tensor], Stages]) -> Stages:
        """The stages of these images, kept or from `embed`; without an index nothing is looked up or kept.

        What is kept is embedded in batches of whole `_ROWS`, the last image repeated.

        Raises:
            StructureError: what `get` refuses.
        """
        if index is None:
            return embed(x0)
        stages = self.get(index, x0)
        if stages is None:
            whole = torch.cat([x0, x0[-1:].expand(-len(x0) % _ROWS, *x0.shape[1:])]) if len(x0) % _ROWS else x0
            stages = tuple(stage[: len(x0)] for stage in embed(whole))
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
        if version != self._version:
            self._shelves, self._version = {}, version
        images = index.tolist()
        for size, other in self._shelves.items():
            if size != x0.shape[1:] and not other.slots.keys().isdisjoint(images):
                raise StructureError(
                    f"these images are of another size than those whose embeddings are cached: {_REMEDY}"
                )
        shelf = self._shelves.get(x0.shape[1:])
        if shelf is None:
            return None
        slots = [shelf.slots.get(image, -1) for image in images]
        known = [row for row, slot in enumerate(slots) if slot >= 0]
        if not known:
            return None
        kept = shelf.fingerprints[[slots[row] for row in known]]
        change = (shelf.fingerprints_of(x0[known]) - kept).abs() > _FINGERPRINT_TOLERANCE
        if bool(change.any()):
            image = int(index[known][change.to(index.device)][0])
            raise StructureError(f"image {image} is not what it was when its embedding was cached: {_REMEDY}")
        return tuple(table[slots] for table in shelf.tables) if len(known) == len(slots) else None

    def put(self, index: torch.Tensor, x0: torch.Tensor, stages: Stages) -> None:
        """Adds those images that are new, while there is room."""
        if self._version is None:
            return
        shelf = self._shelves.get(x0.shape[1:])
        if shelf is None:
            shelf = self._shelves[x0.shape[1:]] = _Shelf(x0, stages)
        capacity = shelf.room + max(0, self.max_bytes - self.bytes) // shelf.bytes_each
        before = len(shelf.slots)
        new = {image: row for row, image in enumerate(index.tolist()) if image not in shelf.slots}
        new = dict(itertools.islice(new.items(), max(0, capacity - before)))
        if not new:
            return
        wanted = before + len(new)
        if wanted > shelf.room:
            shelf.reserve(min(capacity, max(wanted, 2 * shelf.room)))
        rows, slots = list(new.values()), list(range(before, wanted))
        for table, stage in zip(shelf.tables, stages, strict=True):
            table[slots] = stage.detach()[rows]
        shelf.fingerprints[slots] = shelf.fingerprints_of(x0[rows])
        shelf.slots.update(zip(new, slots, strict=True))

    def _weights_version(self) -> int | None:
        # A change in place, by an optimiser, an average of weights or load_state_dict, raises a tensor's version.
        versions = [tensor._version for tensor in itertools.chain(self.encoder.parameters(), self.encoder.buffers())]
        return sum(versions) if versions else None
