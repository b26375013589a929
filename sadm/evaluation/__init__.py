"""Judging generated images in independent feature spaces: distances with a floor, precision and recall, structure, class by
class.
"""

from sadm.evaluation.coverage import Coverage, DensityCoverage, Manifold, precision_recall
from sadm.evaluation.evaluator import Evaluation, Evaluator, HeldOutParts
from sadm.evaluation.features import Extractor, extract, open_extractor
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.frechet_limit import FrechetLimit, effective_dimension, frechet_limit
from sadm.evaluation.full import FullEvaluation, Metrics
from sadm.evaluation.inception_score import InceptionScore, inception_score
from sadm.evaluation.judges import (
    InceptionJudge,
    Judge,
    MlpJudge,
    NetworkJudge,
    PixelJudge,
    RandomConvJudge,
    build_judges,
    network_judges,
)
from sadm.evaluation.kernel import (
    KernelBlocks,
    KernelEstimate,
    kernel_distance,
    kernel_distance_blocks,
    kernel_distance_interval,
)
from sadm.evaluation.neighbours import nearest_neighbours
from sadm.evaluation.per_class import ClassEvaluation, PerClass
from sadm.evaluation.spatial import spatial_features
from sadm.evaluation.statistics_file import ReferenceStatistics, read_statistics, write_statistics
from sadm.evaluation.structure_metric import StructureGaps, mean_gaps, patch_gaps, patches, structure_gaps
from sadm.evaluation.structure_spaces import Gaps, StructureSpaces

__all__ = [
    "ClassEvaluation",
    "Coverage",
    "DensityCoverage",
    "Evaluation",
    "Evaluator",
    "Extractor",
    "FrechetLimit",
    "FullEvaluation",
    "Gaps",
    "GaussianFit",
    "HeldOutParts",
    "InceptionJudge",
    "InceptionScore",
    "Judge",
    "KernelBlocks",
    "KernelEstimate",
    "Manifold",
    "Metrics",
    "MlpJudge",
    "NetworkJudge",
    "PerClass",
    "PixelJudge",
    "RandomConvJudge",
    "ReferenceStatistics",
    "StructureGaps",
    "StructureSpaces",
    "build_judges",
    "effective_dimension",
    "extract",
    "frechet_distance",
    "frechet_limit",
    "inception_score",
    "kernel_distance",
    "kernel_distance_blocks",
    "kernel_distance_interval",
    "mean_gaps",
    "nearest_neighbours",
    "network_judges",
    "open_extractor",
    "patch_gaps",
    "patches",
    "precision_recall",
    "read_statistics",
    "spatial_features",
    "structure_gaps",
    "write_statistics",
]
