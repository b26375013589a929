"""Jobs in one setting: prepared, run, and judged by the same judges in this process."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import result_path
from benchmarks.peers.contestant import changes_of, find
from benchmarks.peers.environment import unavailable
from benchmarks.peers.pace import CALIBRATION, Calibration
from benchmarks.peers.plan import NAME, Job, Setting
from benchmarks.peers.pool import Pool
from benchmarks.peers.scores import Result
from benchmarks.peers.training import TRAINING, images_path, save_arrays
from benchmarks.peers.worker import DATA, JOB
from sadm.core.files import make_folder, read_json, write_json
from sadm.core.progress import Reporter
from sadm.core.provenance import provenance
from sadm.core.seeds import generator
from sadm.data import Split, load_split
from sadm.evaluation import Evaluator
from sadm.training.frequencies import labels_at_frequencies

RESULT = "result.json"
SOURCE = "fashion-mnist"
MOST_INTERRUPTIONS = 60.0
"""In a CPU-second of training; on two virtual processors with nothing else at work there were 25."""


@dataclasses.dataclass
class Study:
    """Where jobs are run and judged.

    Args:
        setting: folder, images to train on and to judge with.
        processes: jobs at a time.
        reporter: told about progress.
    """

    setting: Setting
    processes: int
    reporter: Reporter

    @cached_property
    def split(self) -> Split:
        """Training images, and the held-out images of this setting."""
        split = load_split(SOURCE, held_out=0.2, limit=self.setting.limit)
        order = torch.randperm(len(split.held_out), generator=generator("peers", "held out"))
        return Split(split.train, split.held_out.subset(order[: self.setting.held_out]))

    @cached_property
    def evaluator(self) -> Evaluator:
        """The judges, fitted at first use."""
        return Evaluator(self.split.held_out)

    @property
    def deciding(self) -> list[str]:
        """Names of the judges that decide."""
        return [judge.name for judge in self.evaluator.judges if judge.decides]

    def available(self, contestants: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The contestants that can run here, and why the others can't; builds what is needed for that."""
        missing: dict[str, str] = {}
        for name in contestants:
            if not find(name).in_environment:
                self.reporter.say(f"{name} has an environment of its own; building it where it is missing.")
            reason = unavailable(name)
            if reason is not None:
                missing[name] = reason
                self.reporter.say(f"{name} can't run here: {reason}.")
        return [name for name in contestants if name not in missing], missing

    def run(
        self, wanted: Mapping[Job, Sequence[str]], calibrations: Mapping[Job, Calibration] | None = None
    ) -> dict[Job, Result]:
        """Results of jobs, each judged with the samplers named; what is there is not done again.

        Args:
            wanted: names of samplers by job.
            calibrations: what its steps cost; None = each job measures that before it begins.

        Raises:
            InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
            UserError: a job failed.
        """
        given = dict.fromkeys(wanted) if calibrations is None else dict(calibrations)
        folders = {job: self.setting.folder / job.name for job in wanted}
        done = {job: self._known(job, folder, given[job]) for job, folder in folders.items()}
        missing = {job: folder for job, folder in folders.items() if not is_complete(done[job], wanted[job])}
        for job in folders.keys() - missing.keys():
            self._keep(job, done[job])
        if missing:
            self.write_data()
        for job, folder in missing.items():
            labels = labels_at_frequencies(self._label_counts, self.setting.samples, job.seed)
            order = {"job": job.as_dict(), "settings": settings_of(job), "samplers": list(wanted[job])}
            cost = given[job]
            if _settings_before(folder) not in (None, order["settings"]) or not _is_at_cost(folder, cost):
                shutil.rmtree(folder)  # its name means something else by now, or its budget buys other steps
            write_json(make_folder(folder) / JOB, {**order, "labels": labels.tolist()})
            if cost is not None:
                write_json(folder / CALIBRATION, cost)
        Pool(self.processes, self.reporter).run(missing, lambda job: self._judge(job, folders[job], wanted[job]))
        return {
            job: self._known(job, folder, given[job]) if job in missing else done[job]
            for job, folder in folders.items()
        }

    def forget(self, contestant: str, budget: float | None = None) -> None:
        """Removes what was kept of a contestant's jobs, of one budget or of all: what they were for is stored."""
        if not self.setting.kept:
            return
        for path in self._kept("any").parent.glob("*.json"):
            job = read_json(path)["result"]["job"]
            if job["contestant"] == contestant and budget in (None, job["budget"]):
                path.unlink()

    def _keep(self, job: Job, result: Result) -> None:
        """Stores a finished job's result, where this setting wants that."""
        if self.setting.kept:
            write_json(self._kept(job.name), {"settings": settings_of(job), "result": result})

    def _kept(self, name: str) -> Path:
        return result_path(NAME, f"{self.setting.kept}/{name}")

    def _known(self, job: Job, folder: Path, cost: Calibration | None) -> Result:
        """A finished job's result, from its folder or kept; empty where there is none, or one whose names mean something else, or
        whose budget bought other steps."""
        found: Result = {}
        if (folder / RESULT).exists() and _settings_before(folder) == settings_of(job):
            found = read_json(folder / RESULT)
        elif self.setting.kept and self._kept(job.name).exists():
            stored = read_json(self._kept(job.name))
            found = stored["result"] if stored["settings"] == settings_of(job) else {}
        return found if cost is None or found.get("calibration") == cost else {}

    @property
    def _label_counts(self) -> torch.Tensor:
        train = self.split.train
        assert train.labels is not None  # noqa: S101 - Fashion-MNIST has labels
        return torch.bincount(train.labels, minlength=train.num_classes)

    def write_data(self) -> None:
        """Puts the training images where jobs in folders of this setting find them."""
        path = self.setting.folder / DATA
        if not path.exists():
            train = self.split.train
            assert train.labels is not None  # noqa: S101
            save_arrays(
                path,
                images=train.images.numpy(),
                labels=train.labels.numpy(),
                class_names=np.array(train.class_names),
            )

    def _judge(self, job: Job, folder: Path, samplers: Sequence[str]) -> None:
        """Stores what the training took and how its images are judged."""
        before = read_json(folder / RESULT)["judged"] if (folder / RESULT).exists() else {}
        training = read_json(folder / TRAINING)
        if training.get("interruptions_a_second", 0) > MOST_INTERRUPTIONS:
            self.reporter.say(
                f"{job.name} lost its processor {training['interruptions_a_second']:.0f} times in a second of its own: something "
                f"else was at work, and its steps cost more for it. To do it again on a quiet machine, remove {folder}."
            )
        judged = {} if training["diverged"] else before | {name: self._score(job, folder, name) for name in samplers}
        result = {
            "job": job.as_dict(),
            "training": training,
            "calibration": read_json(folder / CALIBRATION),
            "judged": judged,
            "floor": self.evaluator.floor,
            "deciding": self.deciding,
            "generated": self.setting.samples,
            "provenance": provenance(),
        }
        write_json(folder / RESULT, result)
        self._keep(job, result)

    def _score(self, job: Job, folder: Path, name: str) -> dict[str, Any]:
        """FD by judge of the images of one sampler; None for each where they are not finite."""
        sampler = find(job.contestant).samplers[name]
        arrays = np.load(images_path(folder, name), allow_pickle=False)
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        facts = {
            "sampler": sampler.title,
            "nfe": sampler.nfe,
            "cpu_ms_per_image": round(1000 * float(arrays["seconds"]) / len(images), 3),
        }
        if not bool(torch.isfinite(images).all()):
            return facts | {"fd": None, "label_accuracy": None}
        found = self.evaluator.evaluate(images, labels)
        return facts | {"fd": found.fd, "label_accuracy": found.label_accuracy}


def is_complete(result: Result, samplers: Sequence[str]) -> bool:
    """Whether a job's result, empty where there is none, says all that is wanted of it."""
    return bool(result) and (result["training"]["diverged"] or set(samplers) <= result["judged"].keys())


def settings_of(job: Job) -> dict[str, Any]:
    """What a job's names mean, as JSON gives it back: its size, its variants' changes, and the samplers."""
    contestant = find(job.contestant)
    meaning = {
        "size": contestant.sizes[job.size],
        "batch": contestant.batch,
        "changes": changes_of(contestant, job.variants),
        "samplers": {name: dataclasses.asdict(sampler) for name, sampler in contestant.samplers.items()},
    }
    found: dict[str, Any] = json.loads(json.dumps(meaning))
    return found


def _settings_before(folder: Path) -> dict[str, Any] | None:
    """What the names meant when a folder was begun; None where it was not."""
    if not (folder / JOB).exists():
        return None
    settings: dict[str, Any] = read_json(folder / JOB).get("settings", {})
    return settings


def _is_at_cost(folder: Path, cost: Calibration | None) -> bool:
    """Whether a folder is new, or was begun with this calibration; with any, where the job finds its own."""
    path = folder / CALIBRATION
    return cost is None or not path.exists() or read_json(path) == cost
