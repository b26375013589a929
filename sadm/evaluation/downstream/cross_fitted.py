"""Does an image show its class? Classifiers on real images, none of which is asked about an image that it was trained on.

Real images are divided into folds, and each classifier learns from all folds but one, which tells how sure it is of images that
it has not seen (cross-conformal prediction, Vovk 2015, arXiv 1208.0806). That a class is rare is not held against an image: what
is known of frequencies is taken out of the logits (Menon et al. 2021, arXiv 2007.07314), so that all classes are equally likely
beforehand.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from sadm.core.devices import one_thread
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import derive_seed, generator
from sadm.core.store import Store
from sadm.data import ImageSet
from sadm.evaluation.downstream.classifier import ClassifierSettings, logits_of, trained_network
from sadm.evaluation.units import unit_numbers

FOLDS = 3
TASK = "classifiers of the filter"


@dataclasses.dataclass(frozen=True)
class Consistency:
    """How well M images show a class.

    Attributes:
        probability: of the class, all classes being equally likely beforehand; the mean over classifiers [M].
        called: whether no other class has a larger mean [M], bool.
        share: of the real images of the class, those of which classifiers are as unsure, or less sure [M]; each is compared in
            the eyes of the classifier that has not seen it.
    """

    probability: np.ndarray
    called: np.ndarray
    share: np.ndarray


class CrossFitted:
    """Classifiers, each trained on all folds of the real images but one.

    Args:
        training: real images, labelled; those of one group are in one fold.
        settings: of the classifiers.
        folds: at least 2.
        seed: of folds and classifiers.
        device: where they are.
        reporter: told about progress.
        store: where trained classifiers are kept; None = nowhere.

    Attributes:
        fold: which fold each training image is in [N], int64.
        own: the probability that the classifier of an image's fold gives to its class [N], float64.
    """

    def __init__(
        self,
        training: ImageSet,
        settings: ClassifierSettings,
        folds: int = FOLDS,
        seed: int = 0,
        device: torch.device | str = "cpu",
        reporter: Reporter | None = None,
        store: Store | None = None,
    ) -> None:
        assert training.labels is not None  # noqa: S101 - for the type checker; callers have checked
        self.training, self.labels, self.device = training, training.labels, device
        self.fold = folds_of(training, self.labels, folds, seed)
        self._networks: list[nn.Module] = []
        self._priors: list[torch.Tensor] = []
        self.own = np.zeros(len(training))
        shown, kept = reporter or Silent(), store or Store(None, {})
        for number in range(folds):
            shown.update(TASK, number, folds)
            self._learn(number, settings, derive_seed(seed, "cross-fitted", number), kept)
        shown.update(TASK, folds, folds)

    def _learn(self, number: int, settings: ClassifierSettings, seed: int, store: Store) -> None:
        seen = (self.fold != number).nonzero().flatten()
        images = self.training.subset(seen)
        made: list[nn.Module] = []

        def learn() -> torch.Tensor:
            made.append(trained_network(images, settings, seed, self.device))
            return _weights(made[0])

        weights = store.get(f"classifier-{number}", learn)
        self._networks.append(made[0] if made else _with_weights(settings, images, weights).to(self.device))
        counts = torch.bincount(self.labels[seen], minlength=images.num_classes).double()
        self._priors.append(((counts + 1) / (counts + 1).sum()).log())  # a class that is missing here is not impossible
        unseen = (self.fold == number).nonzero().flatten()
        if len(unseen):
            found = self._probabilities(number, self.training.subset(unseen))
            self.own[unseen.numpy()] = found[np.arange(len(unseen)), self.labels[unseen].numpy()]

    def _probabilities(self, number: int, images: ImageSet) -> np.ndarray:
        """[M, K]."""
        logits = logits_of(self._networks[number], images, self.device).double()
        return (logits - self._priors[number]).softmax(1).numpy()

    def ask(self, images: ImageSet, label: int) -> Consistency:
        """How well images [M] of the training images' shape show the class `label`, which has real images."""
        found = np.stack([self._probabilities(number, images) for number in range(len(self._networks))])  # [F, M, K]
        mean = found.mean(axis=0)  # [M, K]
        members = (self.labels == label).numpy()
        as_unsure = np.zeros(len(images), dtype=np.int64)
        for number, probabilities in enumerate(found):
            real = self.own[members & (self.fold == number).numpy()]
            as_unsure += (real[None] <= probabilities[:, label, None]).sum(axis=1)
        return Consistency(mean[:, label], mean.argmax(axis=1) == label, as_unsure / members.sum())


def folds_of(images: ImageSet, labels: torch.Tensor, folds: int, seed: int) -> torch.Tensor:
    """Which fold each image is in [N], int64: classes in equal shares, groups whole, decided by the seed."""
    units = unit_numbers(images)
    classes = labels[np.unique(units, return_index=True)[1]]  # of the first image of each unit
    fold, start = torch.zeros(len(classes), dtype=torch.int64), 0
    for label in classes.unique().tolist():
        members = (classes == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator(seed, "folds", label))
        fold[members[order]] = (start + torch.arange(len(members))) % folds
        start += len(members)  # so that classes of one image each don't all fall into one fold
    return fold[units]


def _weights(network: nn.Module) -> torch.Tensor:
    """All weights in a row, float32, on the CPU."""
    return torch.cat([value.detach().flatten().float().cpu() for value in network.state_dict().values()])


def _with_weights(settings: ClassifierSettings, images: ImageSet, weights: torch.Tensor) -> nn.Module:
    with one_thread(), torch.random.fork_rng(devices=[]):
        network = settings.build(images).eval()
    state = network.state_dict()
    parts = weights.split([value.numel() for value in state.values()])
    network.load_state_dict(
        {name: part.view(value.shape).to(value) for (name, value), part in zip(state.items(), parts, strict=True)}
    )
    return network
