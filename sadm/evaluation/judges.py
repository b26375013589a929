"""Judges: feature spaces in which generated and real images are compared.

None shares architecture, weights or training images with a structure encoder (those are convolutional and see the training
images only): a metric that resembles the encoder would reward what the game optimises.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.evaluation.features import Extractor, InceptionV3, extract, open_extractor
from sadm.evaluation.spatial import spatial_features

JUDGE_SEED = 20240227
HELD_OUT_IMAGES, NOTHING, OTHER_IMAGES, UNKNOWN = "held-out images", "no images", "other images", "unknown"
LABEL_BASED, LABEL_FREE = "label-based", "label-free"


class Judge(Protocol):
    """A named feature space.

    Attributes:
        name: key in results.
        title: what it is, for a report.
        kind: ``label-based`` or ``label-free``.
        decides: whether the verdict needs its agreement; other judges are shown beside it.
        learned_from: `HELD_OUT_IMAGES` of its own, `NOTHING`, `OTHER_IMAGES`, or `UNKNOWN`: only then it might share training
            images or weights with a structure encoder.
    """

    name: str
    title: str
    kind: str
    decides: bool
    learned_from: str

    def features(self, images: ImageSet) -> np.ndarray:
        """Features [N, d] of images, float64."""
        ...


@runtime_checkable
class Classifying(Protocol):
    """A judge that knows classes."""

    def probabilities(self, images: ImageSet) -> np.ndarray:
        """Probabilities [N, classes] of its classes."""
        ...


@runtime_checkable
class SeeingPlaces(Protocol):
    """A judge that also has features that keep their place in the image."""

    def spatial_features(self, images: ImageSet) -> np.ndarray:
        """Flattened maps [N, d]; see `sadm.evaluation.spatial`."""
        ...


class MlpJudge:
    """Hidden activations of a multilayer perceptron, trained as a classifier on held-out images of its own.

    Args:
        images: labelled images that no other part of an experiment uses.
        width: hidden units; the activations of the last layer are the features.
    """

    name, title, kind, decides = "mlp", "classifier trained on other images", LABEL_BASED, True
    learned_from = HELD_OUT_IMAGES

    def __init__(self, images: ImageSet, width: int = 64) -> None:
        assert images.labels is not None  # noqa: S101 - for the type checker; `build_judges` has checked
        model = MLPClassifier((2 * width, width), alpha=1e-2, max_iter=200, random_state=JUDGE_SEED % 2**31)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed budget is part of the judge's definition
            model.fit(_flat(images), images.labels.numpy())
        self.model = model

    def features(self, images: ImageSet) -> np.ndarray:
        values = _flat(images).astype(np.float64)
        for weight, bias in zip(self.model.coefs_[:-1], self.model.intercepts_[:-1], strict=True):
            values = np.maximum(values @ weight + bias, 0)
        return values

    def accuracy(self, images: ImageSet) -> float:
        """Share of images whose label it predicts."""
        assert images.labels is not None  # noqa: S101
        return float((self.predict(images) == images.labels.numpy()).mean())

    def predict(self, images: ImageSet) -> np.ndarray:
        """Predicted class indices [N]."""
        return self.model.classes_[self.probabilities(images).argmax(axis=1)]

    def probabilities(self, images: ImageSet) -> np.ndarray:
        """Probabilities [N, classes] of the classes that it was trained on."""
        return self.model.predict_proba(_flat(images))


class PixelJudge:
    """Leading principal components of the pixels, fitted on held-out images of its own.

    Args:
        images: images that no other part of an experiment uses.
        components: at most this many.
    """

    name, title, kind, decides = "pixels", "principal components of the pixels", LABEL_FREE, True
    learned_from = HELD_OUT_IMAGES

    def __init__(self, images: ImageSet, components: int = 32) -> None:
        flat = _flat(images)
        self.model = PCA(
            min(components, *flat.shape), svd_solver="full" if min(flat.shape) < 500 else "randomized", random_state=0
        )
        self.model.fit(flat)

    def features(self, images: ImageSet) -> np.ndarray:
        return self.model.transform(_flat(images).astype(np.float64))


class RandomConvJudge:
    """Pooled responses of a fixed, untrained convolutional network: fine texture, no labels, no training.

    Mean and standard deviation of each of the last layer's channels over the image.

    Args:
        channels: of the images.
        width: channels of the last layer; features are twice as many.
        decides: whether the verdict needs its agreement (it does where there are no labels for another).
    """

    name, title, kind = "random_conv", "random convolutions (fine texture)", LABEL_FREE
    learned_from = NOTHING

    def __init__(self, channels: int, width: int = 32, decides: bool = False) -> None:
        draws = generator(JUDGE_SEED, "random convolutions", channels)
        self.decides = decides
        self.first = torch.randn(width, channels, 3, 3, generator=draws) / (9 * channels) ** 0.5
        self.second = torch.randn(width, width, 3, 3, generator=draws) / (9 * width) ** 0.5

    def features(self, images: ImageSet) -> np.ndarray:
        parts = [
            torch.cat([maps.flatten(2).mean(2), maps.flatten(2).std(2)], dim=1) for maps in self._responses(images)
        ]
        return torch.cat(parts).double().numpy()

    def spatial_features(self, images: ImageSet, grid: int = 4) -> np.ndarray:
        """Its first channels where they stand, on a coarse grid, flattened as `spatial_features` does: [N, grid^2 * 7]."""
        size = min(grid, images.shape[1]), min(grid, images.shape[2])
        maps = torch.cat([F.adaptive_avg_pool2d(maps, size) for maps in self._responses(images)])
        return spatial_features(maps.numpy())

    def _responses(self, images: ImageSet) -> Iterator[torch.Tensor]:
        """The last layer's responses [n, width, H, W], in batches."""
        for start in range(0, len(images), 512):
            x = images.floats(torch.arange(start, min(start + 512, len(images))))  # [n, C, H, W]
            yield F.conv2d(F.relu(F.conv2d(x, self.first, padding=1)), self.second, padding=1)


class NetworkJudge:
    """Features of a network that learned elsewhere, such as DINOv2.

    Args:
        extractor: the network.
        cache: folder where features are kept; None = nowhere.
        reporter: where progress is shown.
    """

    kind, decides = LABEL_FREE, True

    def __init__(self, extractor: Extractor, cache: str | Path | None = None, reporter: Reporter | None = None) -> None:
        self.name, self.title = extractor.name, extractor.title
        self.learned_from = OTHER_IMAGES if extractor.published else UNKNOWN
        self._extract = functools.partial(extract, extractor, cache=cache, reporter=reporter)
        self._known: weakref.WeakKeyDictionary[ImageSet, dict[str, np.ndarray]] = weakref.WeakKeyDictionary()

    def features(self, images: ImageSet) -> np.ndarray:
        return self._of(images)["features"].astype(np.float64)

    def _of(self, images: ImageSet) -> dict[str, np.ndarray]:
        """What the network gives; kept as long as the images are."""
        if images not in self._known:
            self._known[images] = self._extract(images)
        return self._known[images]


class InceptionJudge(NetworkJudge):
    """FID's network: its features give FID, its class probabilities the Inception score, its middle maps sFID."""

    def probabilities(self, images: ImageSet) -> np.ndarray:
        """Probabilities [N, 1008] of its classes."""
        return softmax(self._of(images)["logits"].astype(np.float64), axis=1)

    def spatial_features(self, images: ImageSet) -> np.ndarray:
        """What sFID is computed from: [N, 2023]."""
        return spatial_features(self._of(images)["spatial"])


def network_judges(
    texts: Sequence[str], device: str, cache: str | Path | None = None, reporter: Reporter | None = None
) -> list[Judge]:
    """Judges by what users call feature spaces (see `open_extractor`).

    Raises:
        UserError: one can't be opened, or two have one name.
    """
    found: list[Judge] = []
    for text in texts:
        extractor = open_extractor(text, device)
        if extractor.name in [judge.name for judge in found]:
            raise UserError(f"two judges are called '{extractor.name}' ({', '.join(texts)}); give one of them.")
        kind = InceptionJudge if isinstance(extractor.network, InceptionV3) else NetworkJudge
        found.append(kind(extractor, cache, reporter))
    return found


def build_judges(images: ImageSet) -> list[Judge]:
    """Judges for one data set: two that decide, of which one at least needs no labels, and further ones for a second look.

    Args:
        images: held-out images set aside for judges alone.
    """
    labelled = images.labels is not None and len(torch.unique(images.labels)) > 1
    first: list[Judge] = [MlpJudge(images)] if labelled else []
    return [*first, PixelJudge(images), RandomConvJudge(images.shape[0], decides=not labelled)]


def _flat(images: ImageSet) -> np.ndarray:
    return images.floats().flatten(1).numpy()
