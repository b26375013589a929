"""A training run in a folder: start, go on after a stop, and finish.

R/config.yaml      what was asked for
R/run.json         what it is about and what it took
R/metrics.jsonl    losses, gap, gradient norms, speed
R/tensorboard/     the same, for TensorBoard
R/checkpoints/     everything the next step depends on
R/samples/         a grid of samples with each checkpoint
R/model/           the averaged weights, for sampling
R/latents/         the training images' latents, where it trains on latents that are kept nowhere else
R/prior/           images of the model that it starts from, where some were asked for
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

from sadm.core.config import build_config, differences, read_yaml, write_yaml
from sadm.core.devices import spent_seconds
from sadm.core.errors import DivergedError, InterruptedRun, UserError
from sadm.core.files import (
    locked,
    make_folder,
    read_json,
    refuse_foreign_folder,
    remove_leftovers,
    write_json,
)
from sadm.core.marking import Mark
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import peak_memory_mib, provenance
from sadm.core.stopping import StopRequest
from sadm.data import Fit, ImageSet, Split, load_split
from sadm.finetuning.tuning import learned
from sadm.models import autoencoder_hash
from sadm.signals import account_of
from sadm.training.adapted import AdapterFacts
from sadm.training.checkpoint import latest_checkpoint
from sadm.training.config import FREE_TO_CHANGE, TrainConfig
from sadm.training.data_config import DataConfig
from sadm.training.description import model_folder_in
from sadm.training.early_stop import EarlyStop, hold_back
from sadm.training.finite import refuse_not_finite
from sadm.training.grid import grid_labels, write_grid
from sadm.training.journal import Journal
from sadm.training.latents import TrainingSet, part_of
from sadm.training.learner import Learner
from sadm.training.model_folder import Model, save_model
from sadm.training.parallel.engine import whole
from sadm.training.parallel.micro_batches import refuse_single_images
from sadm.training.parallel.team import Team, team_for
from sadm.training.prior import draw_prior
from sadm.training.said import say_never_held_out, say_notes, say_skipped
from sadm.training.sampling import check_sampling
from sadm.training.saver import Saver
from sadm.training.shapes import describe_shapes
from sadm.training.signals import PreparedSignals, prepare_signals
from sadm.training.spec import spec_for
from sadm.training.starting import process_of, refuse_too_few
from sadm.training.training_set import check_sizes, training_set

CONFIG, FACTS, CHECKPOINTS, MODEL, LATENTS = "config.yaml", "run.json", "checkpoints", "model", "latents"
PRIOR, SAMPLES = "prior", "samples"


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a finished run took.

    Attributes:
        folder: the run folder.
        steps: training steps done.
        cpu_seconds: processor time of the training steps over all sessions (elapsed time on an accelerator); pre-training,
            saving and samples not counted.
        pretrain_cpu_seconds: processor time of what came before the first step: pre-training of encoders, and images drawn from
            the model that it starts from.
        encoder_score: see `Pretrained.score`; None without an encoder.
    """

    folder: Path
    steps: int
    cpu_seconds: float
    pretrain_cpu_seconds: float
    encoder_score: float | None


def split_for(config: TrainConfig, reporter: Reporter | None = None) -> Split:
    """The training and held-out images that `config` asks for; the reporter is told what was left out and what was done."""
    shown = reporter or Silent()
    data = config.data
    split = load_split(
        data.source,
        held_out=data.held_out,
        fit=fit_for(data),
        strict=data.strict,
        limit=data.limit,
        keep=data.keep,
        progress=lambda done, total: shown.update("images", done, total),
    )
    say_skipped(split.train, shown)
    say_never_held_out(split, shown)
    say_notes(split.train, shown)
    if split.train.shaped is not None:
        shown.say(describe_shapes(split.train, config.optimiser.batch))
    return split


def fit_for(data: DataConfig) -> Fit:
    """How images are read and brought to one shape, as `data` says."""
    return Fit(
        resolution=data.resolution,
        channels=data.channels,
        policy=data.fit,
        pad_colour=data.pad_colour,
        overlap=data.overlap,
        scale=data.scale,
        crop_margin=data.crop_margin,
        bucket_multiple=data.bucket_multiple,
        white_level=data.white_level,
        max_megapixels=data.max_megapixels,
        clean_class=data.clean_class,
    )


def train(
    config: TrainConfig, out: str | Path, reporter: Reporter | None = None, images: ImageSet | None = None
) -> RunResult:
    """Trains a model in the folder `out`, or goes on where an earlier call with the same configuration stopped.

    Args:
        config: what to train.
        out: the run folder; created, or holding a run with the same configuration. Processes that torchrun has started train
            together in one folder, which all of them must see.
        reporter: where progress is shown; None = nowhere. Of several processes, the first one's is used.
        images: the training images, where they are loaded already; None = as `config.data` says.

    Raises:
        UserError: bad data, another run in the folder, a full disk, a loss that is not finite.
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
    """
    folder = Path(out)
    with team_for(config.device) as team, contextlib.ExitStack() as stack:
        shown = reporter if reporter is not None and team.first else Silent()
        team.first_alone(lambda: _check_folder(folder, config))
        if images is None:
            images = team.first_then_all(lambda: split_for(config, shown)).train
        session = _Session(config, folder, images, shown, team)
        team.first_alone(lambda: stack.enter_context(locked(make_folder(folder), "training")))
        return session.run(stack.enter_context(StopRequest()))


class _Session:
    """One call of `train`: from the last checkpoint to the end, or to a stop."""

    def __init__(self, config: TrainConfig, folder: Path, images: ImageSet, reporter: Reporter, team: Team) -> None:
        self.config, self.folder, self.images, self.reporter, self.team = config, folder, images, reporter, team
        self.learned_from, self.held_back = hold_back(config, images)
        self.early: EarlyStop | None = None
        self.fingerprint = images.fingerprint()
        self.autoencoder: str | None = None  # its hash
        self.cpu_seconds, self.prior_cpu_seconds = 0.0, 0.0  # of all processes
        self.own_seconds = 0.0  # of this one, not yet counted
        self.prepared = PreparedSignals([])
        self.saver = Saver(folder / CHECKPOINTS, config.log.keep, config.parallel.background, team)

    def run(self, stop: StopRequest) -> RunResult:
        self.team.first_alone(self._tidy)
        facts = read_json(self.folder / FACTS) if (self.folder / FACTS).exists() else {}
        if facts and facts["data"]["fingerprint"] != self.fingerprint:
            raise UserError(
                f"{self.folder} holds a run on other images (fingerprint {facts['data']['fingerprint'][:12]}, now "
                f"{self.fingerprint[:12]}). Restore the images, or choose another --out."
            )
        if facts.get("finished"):
            self.reporter.say(f"{self.folder} holds this run already, finished at step {facts['steps']}.")
            return self._result(facts)
        check_sizes(self.config, self.images)
        refuse_single_images(self.config, self.team)
        refuse_too_few(self.config, self.learned_from)
        self._check_autoencoder(facts)
        self.team.first_alone(self._begin)
        state = latest_checkpoint(self.folder / CHECKPOINTS, self.reporter.say, self.team)
        data = self.team.first_then_all(
            lambda: training_set(self.config, self.images, self.folder / LATENTS, self.reporter)
        )
        learner = self._start(part_of(data, self.learned_from) if self.held_back else data, state, stop)
        if self.held_back is not None:
            self.early = EarlyStop(self.config, part_of(data, self.held_back), learner)
            if state is not None:
                self.early.load_state_dict(state["early_stop"])
        self._loop(learner, stop, state)
        if self.early is not None:
            self.reporter.say(str(self.early))
        facts = self._facts(finished=True, steps=learner.step)
        account = account_of(learner.signals)
        if account is not None:
            facts["watchdog"] = account
        self.team.first_alone(lambda: write_json(self.folder / FACTS, facts))
        return self._result(facts)

    def _tidy(self) -> None:
        for place in (self.folder, self.folder / CHECKPOINTS, self.folder / SAMPLES):
            remove_leftovers(place)

    def _begin(self) -> None:
        write_yaml(self.folder / CONFIG, self.config)
        write_json(self.folder / FACTS, self._facts(finished=False, steps=0))

    def _check_autoencoder(self, facts: dict[str, Any]) -> None:
        """Refuses to go on with another autoencoder than the run began with."""
        folder = self.config.data.autoencoder
        self.autoencoder = None if folder is None else autoencoder_hash(folder)
        stored = facts["data"].get("autoencoder") if facts else self.autoencoder
        if stored != self.autoencoder:
            raise UserError(
                f"{self.folder} holds a run on the latents of another autoencoder than the one that is in {folder} now. "
                "Restore it, or choose another --out."
            )

    def _start(self, data: TrainingSet, state: dict[str, Any] | None, stop: StopRequest) -> Learner:
        spec = spec_for(data, self.config.net, process_of(self.config), self.config.data)
        for doubt in check_sampling(spec, self.config.sampling, latents=self.autoencoder is not None):
            self.reporter.say(doubt)
        prior = None
        if self.config.prior.images:
            prior = self.team.first_then_all(
                lambda: draw_prior(self.config, spec, self.folder / PRIOR, self.reporter, stop)
            )
            self.prior_cpu_seconds = prior.cpu_seconds
        # One process pre-trains, and none where a checkpoint has the encoder's weights.
        structure = self.config.structure
        if state is not None or not self.team.first:
            structure = structure.model_copy(update={"encoder_steps": 0})
        own = self.config.model_copy(update={"structure": structure})
        self.prepared = self.team.first_then_all(lambda: prepare_signals(own, data, self.reporter))
        if state is None:
            took = self.team.told([self.prepared.pretrain_cpu_seconds, self.prepared.encoder_score])
            self.prepared = dataclasses.replace(self.prepared, pretrain_cpu_seconds=took[0], encoder_score=took[1])
            self.team.copy_from_first([signal.state_dict() for signal in self.prepared.signals])
            learner = Learner(self.config, data, spec, self.prepared.signals, prior, self.team)
            for text in learner.start.said:
                self.reporter.say(text)
            return learner
        self.prepared = dataclasses.replace(self.prepared, **state["prepared"])
        self.cpu_seconds = state["cpu_seconds"]
        learner = Learner(self.config, data, spec, self.prepared.signals, prior, self.team)
        learner.load_state_dict(state["learner"])
        self.reporter.say(f"Going on from step {learner.step} of {self.config.optimiser.steps}.")
        return learner

    def _loop(self, learner: Learner, stop: StopRequest, state: dict[str, Any] | None) -> None:
        total, log = self.config.optimiser.steps, self.config.log
        journal = self.team.first_alone(lambda: Journal(self.folder, learner.step))
        if state is not None and journal is not None:
            journal.load_state_dict(state["journal"])
        with contextlib.ExitStack() as stack:
            stack.callback(self.saver.wait)
            for part in (journal, learner):
                if part is not None:
                    stack.enter_context(contextlib.closing(part))
            spent, wall, since = spent_seconds(learner.device), time.monotonic(), learner.step
            while learner.step < total and not (self.early and self.early.over):
                if self.team.any(stop.requested):
                    self._save(learner, journal)
                    raise self._stopped(learner)
                scalars = learner.advance()
                if self.early and self.early.due:
                    scalars = {**scalars, **self.early.look()}
                if journal is not None:
                    journal.add(scalars)
                now = spent_seconds(learner.device)
                self.own_seconds, spent = self.own_seconds + now - spent, now
                if learner.step % log.every == 0 or learner.step == total or (self.early and self.early.over):
                    self._count_seconds()
                    if journal is not None:
                        self._report(learner, journal, (learner.step - since) / max(time.monotonic() - wall, 1e-9))
                    wall, since = time.monotonic(), learner.step
                if learner.step % log.checkpoint_every == 0 and learner.step < total:
                    self._keep(learner, journal)
                    spent, wall, since = spent_seconds(learner.device), time.monotonic(), learner.step
            # Outside the loop, so that a run killed between its last step and its last file is completed, too.
            self._keep(learner, journal)

    def _stopped(self, learner: Learner) -> InterruptedRun:
        error = InterruptedRun(
            f"Stopped and saved at step {learner.step} of {self.config.optimiser.steps} in {self.folder}. To go on, run the same "
            "command."
        )
        error.said_by_another = not self.team.first
        return error

    def _count_seconds(self) -> None:
        """Adds what all processes have spent since the last time; all of them must call it."""
        self.cpu_seconds, self.own_seconds = self.cpu_seconds + self.team.total(self.own_seconds), 0.0

    def _report(self, learner: Learner, journal: Journal, steps_per_second: float) -> None:
        rate = steps_per_second * self.config.optimiser.batch
        means = journal.means()
        note = f"loss {means['loss']:.4f}  |grad| {means['grad_norm']:.3f}"
        if "gap" in means:
            note += f"  gap {means['gap']:.4f}"
        memory = peak_memory_mib()
        self.reporter.update(
            "training", learner.step, self.config.optimiser.steps, f"{note}  {rate:.0f} images/s  {memory:.0f} MiB"
        )
        journal.write(
            learner.step,
            {
                "images": learner.images_seen,
                "images_per_second": rate,
                "cpu_seconds": self.cpu_seconds,
                "memory_mib": memory,
            },
        )

    def _keep(self, learner: Learner, journal: Journal | None) -> None:
        """Writes the model and the checkpoint, in this order: after a kill in between, the steps before are done again."""
        try:
            self._export(learner)
        except DivergedError:
            raise
        except Exception:  # such as an autoencoder that is gone: what was learned need not be lost for that
            self._save(learner, journal)
            raise
        self._save(learner, journal)

    def _save(self, learner: Learner, journal: Journal | None) -> None:
        self._count_seconds()
        state = learner.state_dict()
        refuse_not_finite(state, learner.step, self.team)
        self.saver.save(
            learner.step,
            {
                "learner": state,
                "journal": {} if journal is None else journal.state_dict(),
                "cpu_seconds": self.cpu_seconds,
                **({} if self.early is None else {"early_stop": self.early.state_dict()}),
                "prepared": {
                    "pretrain_cpu_seconds": self.prepared.pretrain_cpu_seconds,
                    "encoder_score": self.prepared.encoder_score,
                },
            },
        )

    def _export(self, learner: Learner) -> None:
        """Writes the averaged weights as a model, and a grid of its samples."""
        spec, sampling, autoencoder = learner.spec, self.config.sampling, self.config.data.autoencoder
        step, network = learner.step, learner.ema.module
        if self.early is not None:
            step, network = self.early.best_step or step, self.early.network()
        facts = {
            "step": step,
            "weights": "ema",
            "learned": self.config.process.model_dump(mode="json"),
            "data": self._data_facts(),
            "provenance": provenance(),
        }
        if autoencoder is not None:
            facts["latents"] = True
        weights, adapter = network.state_dict(), self._adapter(learner)
        refuse_not_finite({"ema": weights}, learner.step, self.team)
        if adapter is not None:
            weights = {name: weights[name] for name in learned(learner.denoiser.net)}
        # Of weights in shares, all processes ask for the whole.
        weights = {name: whole(tensor) for name, tensor in weights.items()}
        self.team.first_alone(
            lambda: save_model(self.folder / MODEL, spec, weights, sampling, facts, autoencoder, adapter)
        )
        count = self.config.log.samples
        if not count or not (self.team.first or learner.engine.sharded):
            return
        averaged = spec.around(network).eval()
        model = Model(averaged, spec, sampling, facts, learner.device, autoencoder)
        drawn = model.sample_shapes(count, labels=grid_labels(len(spec.class_names), count))
        if self.team.first:
            mark = Mark("sadm train", data=self.fingerprint, seed=0, details={"step": step, "images": count})
            write_grid(self.folder / SAMPLES / f"step-{learner.step:08d}.png", drawn, mark=mark)

    def _adapter(self, learner: Learner) -> AdapterFacts | None:
        """What is said about a model of which a part learned; None where all did."""
        finetune, base = self.config.finetune, self.config.start_from
        if finetune.method == "full" or base is None or learner.start.base is None:
            return None
        where = str(model_folder_in(base).resolve())
        return AdapterFacts(finetune, where, learner.start.base, learner.start.also, self.config.seed)

    def _data_facts(self) -> dict[str, Any]:
        facts = {"source": self.images.source, "train_images": len(self.images), "fingerprint": self.fingerprint}
        if self.held_back is not None:
            facts["held_back"] = len(self.held_back)
        return facts if self.autoencoder is None else {**facts, "autoencoder": self.autoencoder}

    def _facts(self, *, finished: bool, steps: int) -> dict[str, Any]:
        return {
            "finished": finished,
            "steps": steps,
            "cpu_seconds": round(self.cpu_seconds, 3),
            "pretrain_cpu_seconds": round(self.prepared.pretrain_cpu_seconds + self.prior_cpu_seconds, 3),
            "encoder_score": self.prepared.encoder_score,
            **({} if self.early is None else {"early_stop": self.early.facts()}),
            "data": self._data_facts(),
            "processes": self.team.count,
            "provenance": provenance(),
        }

    def _result(self, facts: dict[str, Any]) -> RunResult:
        return RunResult(
            self.folder, facts["steps"], facts["cpu_seconds"], facts["pretrain_cpu_seconds"], facts["encoder_score"]
        )


def read_run_config(folder: str | Path) -> TrainConfig:
    """The configuration of a run.

    Raises:
        UserError: the folder holds no run, or one that this version can't read.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} holds no run: {path} does not exist. Train one with: sadm train --out {folder}")
    return build_config(TrainConfig, read_yaml(path), str(path))


def _check_folder(folder: Path, config: TrainConfig) -> None:
    refuse_foreign_folder(folder, CONFIG, "run", ignoring=(".lock", LATENTS))
    if (folder / CONFIG).exists():
        before = read_run_config(folder)
        changed = differences(config, before, ignoring=FREE_TO_CHANGE)
        if not changed and config.sees_with_source != before.sees_with_source:
            raise UserError(
                f"{folder} holds a run with --parallel.strategy {before.parallel.strategy}, and with {config.parallel.strategy} "
                "--structure.encoder-training auto would be another encoder. Go on with the strategy that it began with."
            )
        if changed:
            raise UserError(
                f"{folder} holds a run with another configuration ({'; '.join(changed)}). "
                "Choose another --out, or give the stored values to go on with that run."
            )
