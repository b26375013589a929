from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

import sadm.training.run
import sadm.training.saver
from sadm.cli.main import run
from sadm.core.conditions import Cond
from sadm.core.errors import InterruptedRun, UserError
from sadm.signals import StructureSignal
from sadm.training.frequencies import labels_at_frequencies
from sadm.training.journal import read_metrics
from sadm.training.model_folder import load_model
from sadm.training.run import train
from tiny import TINY, equal_bits, tiny_config, tiny_images

TIMES = ("images_per_second", "cpu_seconds", "memory_mib")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder).denoiser.net.state_dict()


def untimed(folder: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read_metrics(folder)]


class StopAt:
    """A reporter that asks for a stop, as Ctrl-C does, once the journal has reached a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == "training" and done == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text: str) -> None:
        pass


def test_a_finished_run_holds_what_the_documentation_says(tmp_path):
    result = train(tiny_config(), tmp_path / "run", images=tiny_images())
    assert result.steps == 12
    assert result.cpu_seconds > 0
    assert result.pretrain_cpu_seconds > 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        ".lock",
        "config.yaml",
        "run.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "samples",
        "model",
    }
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [4, 8, 12]
    assert {"loss", "gap", "grad_norm", "g_dsm", "g_gap", "g_structure", "learning_rate", "images"} <= read_metrics(
        tmp_path / "run"
    )[0].keys()
    assert [path.name for path in sorted((tmp_path / "run" / "samples").iterdir())] == [
        "step-00000006.png",
        "step-00000012.png",
    ]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is True


@pytest.mark.parametrize("stop_at", [4, 8])
@pytest.mark.parametrize("signal_name", ["none", "structure"])
def test_a_stopped_run_goes_on_to_the_same_bits_and_the_same_journal(tmp_path, signal_name, stop_at):
    config, images = tiny_config(signal=signal_name), tiny_images()
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun, match=f"saved at step {stop_at} of 12.*same command"):
        train(config, tmp_path / "parts", StopAt(stop_at), images)
    train(config, tmp_path / "parts", images=images)
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "parts")


def test_a_run_killed_between_checkpoints_repeats_no_line(tmp_path):
    config, images = tiny_config(), tiny_images()
    train(config, tmp_path / "whole", images=images)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    # As after kill -9 at step 8 or later, but before the checkpoint at 12: torn last line, stray temporary folder.
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "step-00000012")
    facts = json.loads((tmp_path / "killed" / "run.json").read_text())
    (tmp_path / "killed" / "run.json").write_text(json.dumps({**facts, "finished": False}))
    with open(tmp_path / "killed" / "metrics.jsonl", "a") as file:
        file.write('{"step": 16, "lo')
    (tmp_path / "killed" / "checkpoints" / ".step-00000012.x.tmp").mkdir()
    train(config, tmp_path / "killed", images=images)
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "killed")
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_a_run_killed_before_its_last_file_is_completed(tmp_path):
    config, images = tiny_config(), tiny_images()
    train(config, tmp_path / "run", images=images)
    before = weights(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "finished": False}))
    shutil.rmtree(tmp_path / "run" / "model")
    assert train(config, tmp_path / "run", images=images).steps == 12
    assert equal_bits(before, weights(tmp_path / "run"))


@pytest.mark.parametrize("where", ["save_model", "write_grid", "save_checkpoint"])
@pytest.mark.parametrize("time", [1, 2])
def test_a_run_killed_while_it_keeps_its_state_loses_nothing(tmp_path, monkeypatch, where, time):
    config, images, calls = tiny_config(), tiny_images(), []
    module = sadm.training.saver if where == "save_checkpoint" else sadm.training.run
    right = getattr(module, where)

    def dies(*arguments, **named):
        calls.append(where)
        if len(calls) == time:
            raise SystemExit  # nothing that is caught on the way
        right(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, where, dies)
        with pytest.raises(SystemExit):
            train(config, tmp_path / "killed", images=images)
    for name in ("killed", "whole"):
        train(config, tmp_path / name, images=images)
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "killed")
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    grids = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "samples").iterdir()}
        for name in ("whole", "killed")
    ]
    assert grids[0] == grids[1]


def test_the_command_survives_a_real_ctrl_c(tmp_path):
    config = {
        **TINY,
        "optimiser": {**TINY["optimiser"], "steps": 240},
        "log": {"every": 10, "checkpoint_every": 10**6, "samples": 0},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "sadm", "train", "--config", str(path), "--out"]
    process = subprocess.Popen([*command, str(tmp_path / "parts")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    metrics = tmp_path / "parts" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command" in errors
    assert "Traceback" not in errors
    assert len(list((tmp_path / "parts" / "checkpoints").iterdir())) == 1
    for folder in ("parts", "whole"):
        assert run([*command[3:], str(tmp_path / folder)]) == 0
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "parts")
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_finished_run_is_not_run_again(tmp_path):
    config, images = tiny_config(), tiny_images()
    first = train(config, tmp_path / "run", images=images)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert train(config, tmp_path / "run", images=images) == first
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_models_of_both_arms_are_alike_but_for_the_numbers(tmp_path):
    images = tiny_images()
    loaded, flops, sizes = {}, {}, {}
    for signal_name in ("none", "structure"):
        train(tiny_config(signal=signal_name), tmp_path / signal_name, images=images)
        shutil.move(tmp_path / signal_name / "model", tmp_path / f"{signal_name} alone")
        shutil.rmtree(tmp_path / signal_name)  # no encoder, no checkpoint: the model folder is all that is left
        model = load_model(tmp_path / f"{signal_name} alone")
        with FlopCounterMode(display=False) as counter:
            assert model.sample(6, seed=1).shape == (6, 1, 8, 8)
        loaded[signal_name], flops[signal_name] = model, counter.get_total_flops()
        sizes[signal_name] = {path.name: path.stat().st_size for path in (tmp_path / f"{signal_name} alone").iterdir()}
    plain, structure = (loaded[name].denoiser.net.state_dict() for name in ("none", "structure"))
    assert plain.keys() == structure.keys()
    assert flops["none"] == flops["structure"] > 0
    assert sizes["none"]["model.safetensors"] == sizes["structure"]["model.safetensors"]
    assert sizes["none"].keys() == {"model.safetensors", "model.json"}


def test_a_loaded_model_gives_what_the_average_gives(tmp_path):
    train(tiny_config(), tmp_path / "run", images=tiny_images())
    model = load_model(tmp_path / "run")
    assert not model.denoiser.training
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 2.0])
    first = model.denoiser(x, sigma, Cond(torch.tensor([0, 2])))
    again = load_model(tmp_path / "run" / "model").denoiser(x, sigma, Cond(torch.tensor([0, 2])))
    assert torch.equal(first, again)
    assert not torch.equal(first, model.denoiser(x, sigma, Cond(torch.tensor([1, 2]))))


def test_another_configuration_is_refused_with_its_keys(tmp_path):
    images = tiny_images()
    train(tiny_config(), tmp_path / "run", images=images)
    with pytest.raises(UserError, match=r"optimiser\.learning_rate: stored 0\.001, given 0\.1"):
        train(tiny_config(optimiser={"learning_rate": 0.1}), tmp_path / "run", images=images)
    train(tiny_config(log={"every": 3}, data={"workers": 1}), tmp_path / "run", images=images)  # changes no weight


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and holds no run"):
        train(tiny_config(), tmp_path, images=tiny_images())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_other_images_are_refused(tmp_path):
    with pytest.raises(InterruptedRun):
        train(tiny_config(), tmp_path / "run", StopAt(4), tiny_images())
    with pytest.raises(UserError, match="a run on other images"):
        train(tiny_config(), tmp_path / "run", images=tiny_images(count=23))


def test_a_second_process_is_kept_out(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is training"):
            train(tiny_config(), folder, images=tiny_images())
    train(tiny_config(), folder, images=tiny_images())


def test_a_patch_that_does_not_divide_the_image_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"8x8 pixels can't be cut into patches of 3x3.*--net\.patch"):
        train(tiny_config(net={"patch": 3}), tmp_path / "run", images=tiny_images())
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_full_disk_is_said_and_the_run_goes_on_elsewhere(tmp_path, small_disk):
    with pytest.raises(UserError, match="disk is full"):
        train(tiny_config(net={"width": 128, "depth": 2}), small_disk / "run", images=tiny_images())
    assert not list((small_disk / "run").rglob("*.tmp"))


def test_a_damaged_model_is_refused(tmp_path):
    train(tiny_config(), tmp_path / "run", images=tiny_images())
    path = tmp_path / "run" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="can't be loaded"):
        load_model(tmp_path / "run")
    with pytest.raises(UserError, match=r"no model in .*nowhere"):
        load_model(tmp_path / "nowhere")


def test_a_flipped_bit_in_a_model_is_refused(tmp_path):
    train(tiny_config(), tmp_path / "run", images=tiny_images())
    path = tmp_path / "run" / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # in the numbers, which nothing else would notice
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is missing, truncated or altered"):
        load_model(tmp_path / "run")


def test_labels_at_frequencies_are_the_largest_remainders():
    labels = labels_at_frequencies(torch.tensor([1, 2, 4]), 10, seed=0)
    assert torch.bincount(labels).tolist() == [1, 3, 6]  # 1.43, 2.86, 5.71
    assert not torch.equal(labels, labels.sort().values)
    assert torch.equal(labels, labels_at_frequencies(torch.tensor([1, 2, 4]), 10, seed=0))


def test_unlabelled_images_train_too(tmp_path):
    train(tiny_config(), tmp_path / "run", images=tiny_images(labelled=False))
    model = load_model(tmp_path / "run")
    assert model.null_label is None
    assert model.sample(3).shape == (3, 1, 8, 8)


def test_a_training_starts_from_the_averaged_weights_of_another(tmp_path):
    images = tiny_images()
    train(tiny_config(signal="none"), tmp_path / "first", images=images)
    still = tiny_config(
        signal="none", start_from=str(tmp_path / "first"), optimiser={"learning_rate": 1e-30, "steps": 2}
    )
    train(still, tmp_path / "second", images=images)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=0, atol=1e-7)


def test_a_continued_training_resumes_bit_for_bit(tmp_path):
    images = tiny_images()
    train(tiny_config(signal="none"), tmp_path / "first", images=images)
    config = tiny_config(start_from=str(tmp_path / "first"))
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "parts", StopAt(4), images)
    train(config, tmp_path / "parts", images=images)
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_model_of_another_kind_is_no_start(tmp_path):
    train(tiny_config(signal="none"), tmp_path / "first", images=tiny_images())
    wider = tiny_config(signal="none", start_from=str(tmp_path / "first"), net={"width": 32})
    with pytest.raises(
        UserError, match=r"--start-from .*first: that model can't be continued here: net.width 16 there, 32 here"
    ):
        train(wider, tmp_path / "second", images=tiny_images())
    scaled = tiny_config(signal="none", start_from=str(tmp_path / "first"), process={"sigma_data": 0.1})
    with pytest.raises(UserError, match=r"sigma_data 0\.\d+ there, 0\.1 here"):
        train(scaled, tmp_path / "third", images=tiny_images())


def test_the_watchdogs_account_is_kept_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tiny_images()
    train(tiny_config(signal="none", optimiser={"steps": 2}), tmp_path / "plain", images=images)
    assert "watchdog" not in json.loads((tmp_path / "plain" / "run.json").read_text())
    monkeypatch.setattr(StructureSignal, "account", ["step 1: halved the ratio, since a test says so"])
    train(tiny_config(signal="structure", optimiser={"steps": 2}), tmp_path / "game", images=images)
    account = json.loads((tmp_path / "game" / "run.json").read_text())["watchdog"]
    assert account == ["step 1: halved the ratio, since a test says so"]
