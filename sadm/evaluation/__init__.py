"""Judging generated images: Fréchet and kernel distances in independent feature spaces, with a floor, and neighbours."""

from sadm.evaluation.evaluator import Evaluation, Evaluator, HeldOutParts
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.judges import Judge, MlpJudge, PixelJudge, RandomConvJudge, build_judges
from sadm.evaluation.kernel import kernel_distance
from sadm.evaluation.neighbours import nearest_neighbours

__all__ = [
    "Evaluation",
    "Evaluator",
    "GaussianFit",
    "HeldOutParts",
    "Judge",
    "MlpJudge",
    "PixelJudge",
    "RandomConvJudge",
    "build_judges",
    "frechet_distance",
    "kernel_distance",
    "nearest_neighbours",
]
