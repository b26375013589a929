"""Downstream gain: what generated images are worth to somebody who trains a classifier."""

from sadm.evaluation.downstream.classifier import ClassifierSettings, class_logits, small_network, steps_for
from sadm.evaluation.downstream.measure import Downstream, DownstreamSettings, check
from sadm.evaluation.downstream.worth import Worth, worth

__all__ = [
    "ClassifierSettings",
    "Downstream",
    "DownstreamSettings",
    "Worth",
    "check",
    "class_logits",
    "small_network",
    "steps_for",
    "worth",
]
