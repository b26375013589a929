"""Clusters of images that belong together, by union and find."""

from __future__ import annotations

from collections.abc import Iterable


class Clusters:
    """A partition of positions 0 to count - 1: each alone, but for `ties`, whose members belong together."""

    def __init__(self, count: int, ties: Iterable[Iterable[int]] = ()) -> None:
        self._parent = list(range(count))
        for members in ties:
            self.join(members)

    def join(self, members: Iterable[int]) -> None:
        """Puts all members, and what belongs to them, into one cluster, known by its smallest position."""
        roots = sorted({self.root(i) for i in members})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def root(self, position: int) -> int:
        """The smallest position in the cluster of `position`."""
        parent = self._parent
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    def roots(self) -> list[int]:
        """The root of each position."""
        return [self.root(i) for i in range(len(self._parent))]

    def members(self, least: int = 2) -> list[list[int]]:
        """Clusters of at least `least` members, in order."""
        found: dict[int, list[int]] = {}
        for i, root in enumerate(self.roots()):
            found.setdefault(root, []).append(i)
        return [members for members in found.values() if len(members) >= least]
