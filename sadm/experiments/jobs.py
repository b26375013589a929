"""The pieces of a comparison that run on their own: a measurement of cost, and one training with its evaluation a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sadm.core.devices import resolve_device, spent_seconds
from sadm.core.errors import DivergedError
from sadm.core.files import write_json
from sadm.core.progress import Reporter
from sadm.core.provenance import peak_memory_mib, provenance
from sadm.evaluation import Evaluator
from sadm.experiments.config import CompareConfig, Experiment
from sadm.experiments.cost import measure_costs, store_costs
from sadm.experiments.engine import evaluator_for
from sadm.experiments.plan import (
    AUDIT,
    DOWNSTREAM,
    LATENTS,
    REPRESENTATION,
    RESULT,
    STRUCTURE,
    RunJob,
    missing_evaluations,
    missing_measurements,
)
from sadm.experiments.run_audits import RunAudits
from sadm.training.config import SamplingConfig, TrainConfig
from sadm.training.frequencies import labels_at_frequencies
from sadm.training.journal import read_metrics
from sadm.training.measuring import Measuring
from sadm.training.model_folder import Model, load_model
from sadm.training.run import split_for, train
from sadm.training.training_set import training_set

Drawn = tuple[torch.Tensor, torch.Tensor | None, float]
"""Images [N, C, H, W], the labels that they were drawn for [N] or None, and the seconds that it took."""
CLASSIFIERS = 3  # of each kind, a run; intervals are over the comparison's seeds


class Laboratory:
    """Carries out jobs; images, judges and reference statistics are prepared once and serve them all.

    Args:
        config: the comparison or sweep.
        folder: where it is kept.
        reporter: told about progress.
    """

    def __init__(self, config: Experiment, folder: Path, reporter: Reporter) -> None:
        self.config, self.folder, self.reporter = config, folder, reporter
        self.split = split_for(config.train)
        self._last: Drawn | None = None

    @cached_property
    def evaluator(self) -> Evaluator:
        """Judges and reference, fitted at first use."""
        return evaluator_for(self.config, self.split)

    @cached_property
    def measuring(self) -> Measuring:
        """Measures downstream gain and representation; classifiers on real images serve all runs."""
        config, where = self.config.train, self.folder / DOWNSTREAM
        return Measuring(config, self.split, resolve_device(config.device), self.reporter, where, CLASSIFIERS)

    @cached_property
    def audits(self) -> RunAudits:
        """Audits models; what all audits share is computed at first use."""
        return RunAudits(self.split, self.reporter)

    def measure_costs(self, arms: Sequence[str]) -> None:
        """Measures what steps of these arms cost beside the control's, and stores it."""
        training = training_set(self.config.train, self.split.train, self.folder / LATENTS, self.reporter)
        assert isinstance(self.config, CompareConfig)  # noqa: S101 - nothing else asks for it
        store_costs(self.folder, measure_costs(self.config, arms, training, self.reporter))

    def run(self, job: RunJob) -> None:
        """Trains, samples, judges and stores the result, or does what a stored result lacks.

        A training whose loss becomes non-finite, or whose model draws such images, is stored as diverged.

        Raises:
            InterruptedRun: stopped in training, after saving.
        """
        config, self._last = self.config.arm_config(job.arm, job.seed, job.steps), None
        result = job.read_result(self.folder) or self._train(job, config)
        if not result["diverged"]:
            self._judge(job, config, result)
        self._write(job, result)
        for name in missing_measurements(result, self.config):
            if not result["diverged"]:
                self._measure(name, job, config, result)
                self._write(job, result)

    def _write(self, job: RunJob, result: dict[str, Any]) -> None:
        write_json(job.folder(self.folder) / RESULT, {**result, "memory_mib": peak_memory_mib()})

    def _train(self, job: RunJob, config: TrainConfig) -> dict[str, Any]:
        folder = job.folder(self.folder)
        result: dict[str, Any] = {**dataclasses.asdict(job), "diverged": False, "provenance": provenance()}
        try:
            trained = train(config.with_latents_in(self.folder / LATENTS), folder, self.reporter, self.split.train)
        except DivergedError as error:
            self.reporter.say(f"diverged at step {error.step}; that is its result.")
            seconds = [line["cpu_seconds"] for line in read_metrics(folder)]
            return {
                **result,
                "diverged": True,
                "diverged_at": error.step,
                "cpu_seconds": seconds[-1] if seconds else 0.0,
            }
        return {
            **result,
            "cpu_seconds": trained.cpu_seconds,
            "pretrain_cpu_seconds": trained.pretrain_cpu_seconds,
            "encoder_score": trained.encoder_score,
        }

    def _judge(self, job: RunJob, config: TrainConfig, result: dict[str, Any]) -> None:
        """Adds to `result` the evaluations that it lacks."""
        model = load_model(job.folder(self.folder), config.device)
        result["parameters"] = sum(parameter.numel() for parameter in model.denoiser.parameters())
        for sampler in missing_evaluations(result, self.config):
            main = sampler is None
            images, labels, seconds = self._drawn(job, config, model, sampler)
            if not bool(torch.isfinite(images).all()):
                self.reporter.say(
                    "the trained model draws NaN or infinite pixels: it has diverged; that is its result."
                )
                result.update(diverged=True, diverged_at=job.steps)
                return
            found = self.evaluator.evaluate(images, labels, coverage=main and self.config.per_class)
            if main and self.config.per_class:
                found = dataclasses.replace(found, classes=self._classes(model, job.seed, config.sampling))
            if main:
                result["sample_ms_per_image"] = 1000 * seconds / len(images)
                result["evaluation"] = found.as_dict()
            else:
                result.setdefault("evaluations", {})[sampler] = found.as_dict()
        result["judges"] = self.config.judges

    def _measure(self, name: str, job: RunJob, config: TrainConfig, result: dict[str, Any]) -> None:
        """Adds one of `MEASUREMENTS` to `result`."""
        folder = job.folder(self.folder)
        model = load_model(folder, config.device)
        if name == STRUCTURE:
            images, labels, _ = self._drawn(job, config, model)
            gaps = self.evaluator.evaluate_structure(images, labels)
            result[name] = {"gaps": gaps, "judges": self.config.judges}
        elif name == AUDIT:
            images, labels, _ = self._drawn(job, config, model)
            result[name] = self.audits.audit(images, labels, folder)
        elif name == REPRESENTATION:
            result[name] = self.measuring.representation(model)
        else:
            try:
                result[name] = self.measuring.downstream(model, folder, job.seed, config.sampling, folder / DOWNSTREAM)
            except DivergedError as error:
                self.reporter.say(f"{error} That is its result.")
                result.update(diverged=True, diverged_at=job.steps)

    def _drawn(self, job: RunJob, config: TrainConfig, model: Model, sampler: str | None = None) -> Drawn:
        """The images that a model is judged by; those of the main sampler (None) serve all that is measured of a run."""
        if sampler is None and self._last is not None:
            return self._last
        count = self.evaluator.group * self.config.groups
        labels = self._labels(model, count, job.seed)
        sampling = config.sampling if sampler is None else self.config.sampling(job.arm, sampler)
        start = spent_seconds(model.device)
        images = model.sample_for_judging(count, job.seed, labels, sampling)
        drawn = images, labels, spent_seconds(model.device) - start
        if sampler is None:
            self._last = drawn
        return drawn

    def _labels(self, model: Model, count: int, seed: int) -> torch.Tensor | None:
        """Labels at the training images' frequencies; at the reference's where classes were thinned out on purpose."""
        reference = self.evaluator.parts.reference
        if not self.config.train.data.keep or reference.labels is None:
            return model.training_labels(count, seed)
        counts = torch.bincount(reference.labels, minlength=reference.num_classes)
        return labels_at_frequencies(counts, count, seed)

    def _classes(self, model: Model, seed: int, sampling: SamplingConfig) -> Any:
        labels = self.evaluator.by_class.labels(self.config.groups)
        images = model.sample_for_judging(len(labels), seed, labels, sampling)
        return self.evaluator.evaluate_classes(images, labels)
