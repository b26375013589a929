"""Which groups of images are held out: whole groups, so that each class comes near to its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from sadm.core.seeds import generator


def held_out_groups(
    groups: Sequence[str], labels: Sequence[int], targets: dict[int, int], fewest: int, seed: int
) -> torch.Tensor | None:
    """Chooses groups to hold out, greedily.

    Groups come in random order. The first round takes each that fits into what is still open of every class in it; the second
    each of the others that brings the classes nearer to their targets, by the sum of squared errors, each relative to the size
    of its class. A group that holds the rest of a class stays in training. If fewer than `fewest` images are held out by then,
    those groups follow that do the least harm; where none can, one group alone is held out.

    Args:
        groups: of each image [N].
        labels: of each image [N]; all equal where there are no classes.
        targets: images to hold out, by label.
        fewest: images in each part, at least.
        seed: decides the order, together with that of the images.

    Returns:
        Whether each image is held out, bool [N]; None where no choice leaves both parts `fewest` images.
    """
    choice = _Choice(groups, labels, targets, fewest)
    names = list(choice.content)
    order = torch.randperm(len(names), generator=generator(seed, "split groups")).tolist()
    shuffled = [names[i] for i in order]
    for wanted in (choice.fits, choice.helps):
        for name in shuffled:
            if choice.may_leave(name) and wanted(name):
                choice.take(name)
    if not choice.complete(shuffled):
        choice = _Choice(groups, labels, targets, fewest)  # what was taken stood in the way of a larger group
        large = [name for name in shuffled if choice.may_leave(name) and choice.content[name].total() >= fewest]
        if not choice.complete(large or shuffled):
            return None
    return torch.tensor([name in choice.taken for name in groups])


class _Choice:
    """The groups taken so far, and what another one would change."""

    def __init__(self, groups: Sequence[str], labels: Sequence[int], targets: dict[int, int], fewest: int) -> None:
        self.content: dict[str, Counter[int]] = {}  # images of each class, by group, in order of appearance
        for name, label in zip(groups, labels, strict=True):
            self.content.setdefault(name, Counter())[label] += 1
        self.sizes = Counter(labels)
        self.missing = Counter(targets)  # below 0 where too many are taken
        self.left = Counter(labels)  # in training
        self.fewest, self.most = fewest, len(labels) - fewest
        self.taken: set[str] = set()
        self.taken_images = 0

    def may_leave(self, name: str) -> bool:
        """Whether training can do without this group: enough images stay, and some of each class."""
        content = self.content[name]
        enough = self.taken_images + content.total() <= self.most
        return name not in self.taken and enough and all(self.left[c] > count for c, count in content.items())

    def fits(self, name: str) -> bool:
        """Whether it exceeds the target of no class."""
        return all(count <= self.missing[c] for c, count in self.content[name].items())

    def helps(self, name: str) -> bool:
        """Whether it brings the classes nearer to their targets."""
        return self.harm(name) < 0

    def harm(self, name: str) -> float:
        """Change of the summed squared error, each class relative to its size."""
        return sum(
            (count * count - 2 * count * self.missing[c]) / self.sizes[c] ** 2
            for c, count in self.content[name].items()
        )

    def complete(self, names: Sequence[str]) -> bool:
        """Takes of these groups those that do the least harm until enough images are held out; False if that can't be."""
        while self.taken_images < self.fewest:
            open_names = [name for name in names if self.may_leave(name)]
            if not open_names:
                return False
            self.take(min(open_names, key=self.harm))
        return True

    def take(self, name: str) -> None:
        """Holds this group out."""
        content = self.content[name]
        self.taken.add(name)
        self.taken_images += content.total()
        self.missing.subtract(content)
        self.left.subtract(content)
