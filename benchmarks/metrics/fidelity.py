"""torch-fidelity on given features: a data set of features, and an extractor that passes them on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmarks.metrics.cases import Case
from benchmarks.operators import register_missing_operators

NAME = "given-features"


class Rows(Dataset[torch.Tensor]):
    """Rows [features | logits] as if they were images."""

    def __init__(self, features: np.ndarray, logits: np.ndarray) -> None:
        self.rows = torch.from_numpy(np.concatenate([features, logits], axis=1))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.rows[index]


def calculate(case: Case, **options: Any) -> dict[str, float]:
    """The package's metrics; see its `calculate_metrics`.

    Raises:
        ImportError: it is not installed.
    """
    register_missing_operators()
    import torch_fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    length = case.features.shape[1]

    class Given(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **options: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
            parts = {"features": rows[:, :length], "logits": rows[:, length:]}
            return tuple(parts[name] for name in self.features_list)

    FEATURE_EXTRACTORS_REGISTRY.pop(NAME, None)
    torch_fidelity.register_feature_extractor(NAME, Given)
    return torch_fidelity.calculate_metrics(
        input1=Rows(case.features, case.logits),
        input2=Rows(case.reference, case.logits),
        feature_extractor=NAME,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        **options,
    )
