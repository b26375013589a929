"""Judging generated images in independent feature spaces: distances with a floor, precision and recall, class by class."""

from sadm.evaluation.coverage import Coverage, Manifold, precision_recall
from sadm.evaluation.evaluator import Evaluation, Evaluator, HeldOutParts
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.judges import Judge, MlpJudge, PixelJudge, RandomConvJudge, build_judges
from sadm.evaluation.kernel import kernel_distance
from sadm.evaluation.neighbours import nearest_neighbours
from sadm.evaluation.per_class import ClassEvaluation, PerClass

__all__ = [
    "ClassEvaluation",
    "Coverage",
    "Evaluation",
    "Evaluator",
    "GaussianFit",
    "HeldOutParts",
    "Judge",
    "Manifold",
    "MlpJudge",
    "PerClass",
    "PixelJudge",
    "RandomConvJudge",
    "build_judges",
    "frechet_distance",
    "kernel_distance",
    "nearest_neighbours",
    "precision_recall",
]
