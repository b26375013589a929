"""Several processes: they compute what one would, in whatever way the work is cut, and go on from each other's checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from parallel_worker import foreign_loop, run_all
from sadm.core.errors import UserError
from sadm.training.checkpoint import filled, load_checkpoint
from sadm.training.config import load_train_config
from sadm.training.journal import read_metrics
from sadm.training.learner import Learner
from sadm.training.parallel.engine import blocks_of
from sadm.training.parallel.micro_batches import MicroBatches
from sadm.training.parallel.shares import Stored
from sadm.training.parallel.team import Team, team_for
from sadm.training.parallel_config import ParallelConfig
from sadm.training.run import train
from tiny import TINY, Listener, tiny_config, tiny_images, tiny_learner

SHORT: dict[str, Any] = {"optimiser": {"steps": 6}, "log": {"every": 1, "checkpoint_every": 100, "samples": 2}}


def config(**change: Any) -> dict[str, Any]:
    return {**SHORT, **change}


def in_processes(count: int, asked: Any, folder: Path, restarts: int = 0) -> list[Any]:
    """How each run ended, or what else was asked, as each of `count` processes tells it."""
    told = folder / "runs.json"
    told.write_text(json.dumps(asked))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += ["--max-restarts", str(restarts)]
    script = str(Path(__file__).with_name("parallel_worker.py"))
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *command, script, str(told)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(Path(f"{told}.{rank}").read_text()) for rank in range(count)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def in_doubles(runs: list[dict[str, Any]]) -> list[str]:
    """The same in this process."""
    try:
        return run_all(runs)
    finally:
        torch.set_default_dtype(torch.float32)


def anchored(folder: Path) -> dict[str, Any]:
    """A fine-tuning whose batches hold images of the source, and whose relations are held to it."""
    return {
        "start_from": str(folder / "one"),
        "signal": "anchor",
        "prior": {"images": 8},
        "finetune": {"method": "difffit"},
        "optimiser": {"steps": 6, "batch": 9},
    }


def muon() -> dict[str, Any]:
    """A plain training with Muon."""
    return {"signal": "none", "optimiser": {"steps": 6, "kind": "muon"}}


def bounded() -> dict[str, Any]:
    """Structure in a hidden layer, held to a share of the denoising gradient there."""
    return {"signal": "hidden", "control": {"ratio": 0.1}, "optimiser": {"steps": 6, "learning_rate": 1e-2}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process, of two, and of one that goes on with what the other began."""
    folder = tmp_path_factory.mktemp("parallel")
    fsdp, ddp = {"parallel": {"strategy": "fsdp"}}, {"parallel": {"background": True}}
    assert in_doubles([{"config": config(), "out": str(folder / "one")}]) == ["finished"]
    (stopped,) = in_doubles([{"config": config(), "out": str(folder / "one, then shares"), "stop": 3}])
    assert stopped.startswith("InterruptedRun: Stopped and saved at step 3 of 6")
    ends = in_processes(
        2,
        [
            {"config": config(**ddp), "out": str(folder / "two")},
            {"config": config(**fsdp), "out": str(folder / "shares")},
            {"config": config(**fsdp), "out": str(folder / "shares, then one"), "stop": 3, "rank": 1},
            {"config": config(**fsdp), "out": str(folder / "one, then shares")},
            {"config": config(optimiser={"steps": 6, "batch": 1}, signal="none"), "out": str(folder / "too small")},
            {"config": config(**anchored(folder)), "out": str(folder / "two anchored")},
            {"config": config(**muon()), "out": str(folder / "two with muon")},
            {"config": config(**muon(), **fsdp), "out": str(folder / "shares with muon")},
            {"config": config(**bounded()), "out": str(folder / "two bounded")},
            {"config": config(**bounded(), **fsdp), "out": str(folder / "shares bounded")},
        ],
        folder,
    )
    alone = [
        {"config": config(**anchored(folder)), "out": str(folder / "one anchored")},
        {"config": config(**muon()), "out": str(folder / "one with muon")},
        {"config": config(**bounded()), "out": str(folder / "one bounded")},
    ]
    assert in_doubles(alone) == ["finished"] * 3
    shutil.copytree(folder / "shares, then one", folder / "stopped")
    assert in_doubles([{"config": config(), "out": str(folder / "shares, then one")}]) == ["finished"]
    for end in ends:
        assert end[:2] == ["finished", "finished"]
        assert end[2].startswith("InterruptedRun: Stopped and saved at step 3 of 6")
        assert end[3] == "finished"
        assert "expected at least one image for each" in end[4]
        assert end[5:7] == ["finished", "finished"]
        assert "works on whole matrices, and --parallel.strategy shares them out" in end[7]
        assert end[8:] == ["finished", "finished"]
    return folder


@pytest.mark.parametrize("run", ["two", "shares", "shares, then one", "one, then shares"])
def test_weights_are_those_of_one_process(ran: Path, run: str) -> None:
    expected, found = weights(ran / "one"), weights(ran / run)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10)


def test_muon_moves_matrices_as_in_one_process(ran: Path) -> None:
    """To the rounding of its iteration, which torch does in bfloat16 whatever the type of the weights."""
    expected, found = weights(ran / "one with muon"), weights(ran / "two with muon")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("run", ["two", "shares"])
def test_a_bound_in_a_hidden_layer_is_that_of_one_process(ran: Path, run: str) -> None:
    expected, found = weights(ran / "one bounded"), weights(ran / f"{run} bounded")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10)


def test_a_fine_tuning_with_images_and_relations_of_its_source(ran: Path) -> None:
    (name,) = (path.name for path in (ran / "one anchored" / "model").glob("*.safetensors"))
    expected, found = (load_file(ran / run / "model" / name) for run in ("one anchored", "two anchored"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10)


def test_a_process_that_is_killed_is_started_again_and_nothing_is_lost(ran: Path, tmp_path: Path) -> None:
    """torchrun ends the other one, starts both again, and they go on from the last checkpoint."""
    often = config(parallel={"strategy": "fsdp"}, log={**SHORT["log"], "checkpoint_every": 2})
    killed = {"config": often, "out": str(tmp_path / "run"), "stop": 5, "rank": 1, "kill": str(tmp_path / "killed")}
    assert in_processes(2, [killed], tmp_path, restarts=1) == [["finished"]] * 2
    assert (tmp_path / "killed").exists()
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    for name, tensor in weights(ran / "one").items():
        torch.testing.assert_close(weights(tmp_path / "run")[name], tensor, rtol=0, atol=1e-10)


def test_a_loop_of_ones_own_under_ddp(tmp_path: Path) -> None:
    try:
        alone = foreign_loop(0, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    for found in in_processes(2, "foreign", tmp_path):
        assert found == pytest.approx(alone, rel=0, abs=1e-12)


@pytest.mark.parametrize("asked", ["a training", "foreign"])
def test_no_thread_is_left_that_could_end_a_finished_process(tmp_path: Path, asked: str) -> None:
    """One that still lets go of a tensor while Python ends aborts the process."""
    runs = [{"config": config(), "out": str(tmp_path / "run")}]
    in_processes(2, asked if asked == "foreign" else runs, tmp_path)
    for rank in range(2):
        left = json.loads((tmp_path / f"runs.json.{rank}.threads").read_text())
        if left is None:
            pytest.skip("this system does not name a process's threads")
        assert left == 0


@pytest.mark.parametrize("run", ["two", "shares", "shares, then one", "one, then shares"])
def test_what_is_logged_is_that_of_one_process(ran: Path, run: str) -> None:
    expected, found = read_metrics(ran / "one"), read_metrics(ran / run)
    assert [line["step"] for line in found] == [1, 2, 3, 4, 5, 6]
    for line, own in zip(expected, found, strict=True):
        for name in ("loss", "grad_norm", "gap", "g_dsm", "g_gap", "g_structure", "spread", "learning_rate", "images"):
            assert own[name] == pytest.approx(line[name], rel=1e-9), name


def test_a_run_says_how_many_processes_it_had(ran: Path) -> None:
    facts = {run: json.loads((ran / run / "run.json").read_text()) for run in ("one", "shares")}
    assert facts["one"]["processes"] == 1
    assert facts["shares"]["processes"] == 2
    assert (ran / "shares" / "samples" / "step-00000006.png").exists()


def test_shares_are_checked_files(ran: Path) -> None:
    (checkpoint,) = (ran / "stopped" / "checkpoints").glob("step-*")
    shares = sorted((checkpoint / "shares").iterdir())
    assert len(shares) == 2
    assert not [path for path in checkpoint.rglob("*") if path.suffix in (".pt", ".pkl", ".distcp", ".metadata")]
    damaged = ran / "damaged"
    shutil.copytree(checkpoint, damaged)
    content = bytearray((damaged / "shares" / shares[1].name).read_bytes())
    content[-1] ^= 1
    (damaged / "shares" / shares[1].name).write_bytes(content)
    with pytest.raises(UserError, match=f"{shares[1].name} is missing, truncated or altered"):
        load_checkpoint(damaged)


def test_shares_hold_each_number_once(ran: Path) -> None:
    """The files of two processes, put together by hand, against what one process reads."""
    (checkpoint,) = (ran / "stopped" / "checkpoints").glob("step-*")
    state = load_checkpoint(checkpoint)["learner"]
    learner = tiny_learner(tiny_config(**config()), tiny_images())
    like = {"learner": {"net": dict(learner.denoiser.net.double().state_dict())}}
    read = filled({"learner": {"net": state["net"]}}, like)["learner"]["net"]
    files = [load_file(path) for path in sorted((checkpoint / "shares").iterdir())]
    shared = [name for name, leaf in state["net"].items() if isinstance(leaf, Stored)]
    assert set(shared) == {name for name, _ in learner.denoiser.net.named_parameters()}
    for name in shared:
        key = f"/learner/net/{name}"
        rows = [file[key] for file in files if key in file]
        assert torch.equal(torch.cat(rows), read[name]), name


@pytest.mark.parametrize("accumulate", [2, 3])
def test_micro_batches_add_up(accumulate: int) -> None:
    """Plain denoising does not relate images: micro-batches give the gradient of the whole batch."""
    learners = [
        tiny_learner(tiny_config(signal="none", parallel={"accumulate": pieces}), tiny_images())
        for pieces in (1, accumulate)
    ]
    for _ in range(3):
        whole, cut = (learner.advance() for learner in learners)
        assert float(cut["loss"]) == pytest.approx(float(whole["loss"]), rel=1e-5)
        assert float(cut["grad_norm"]) == pytest.approx(float(whole["grad_norm"]), rel=1e-4)


@pytest.mark.parametrize("signal", ["structure", "hidden"])
def test_only_the_exact_mode_relates_all_images(signal: str) -> None:
    found = {}
    for name, parallel in (("whole", {}), ("cut", {"accumulate": 2}), ("exact", {"accumulate": 2, "exact": True})):
        learner = tiny_learner(tiny_config(signal=signal, parallel=parallel), tiny_images())
        found[name] = learner.advance()
    key = "gap" if signal == "structure" else "hidden"
    assert float(found["exact"][key]) == pytest.approx(float(found["whole"][key]), rel=1e-4)
    assert float(found["cut"][key]) != pytest.approx(float(found["whole"][key]), rel=1e-3)
    assert float(found["exact"]["grad_norm"]) == pytest.approx(float(found["whole"]["grad_norm"]), rel=1e-4)


@pytest.mark.parametrize("images", [7, 8, 13])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("pieces", [1, 2])
def test_shares_of_a_batch_make_one_mean(images: int, count: int, pieces: int) -> None:
    """Numbers, one an image: means of parts, weighed and added up as gradients are, against the mean of all."""
    numbers = torch.arange(images, dtype=torch.float64) ** 2
    total = 0.0
    for rank in range(count):
        own = numbers[images * rank // count : images * (rank + 1) // count]
        micro = MicroBatches(images, ParallelConfig(accumulate=pieces), Team(rank, count))
        for number, rows in enumerate(micro.rows(len(own))):
            within, of_step = micro.shares(len(own[rows]), number)
            total += float(own[rows].mean()) * within * of_step / count  # gradients are averaged over processes
    assert total == pytest.approx(float(numbers.mean()), rel=1e-12)


def same_gradients(one: Learner, other: Learner) -> None:
    for _ in range(2):
        first, second = one.advance(), other.advance()
        assert torch.equal(first["loss"], second["loss"])
        assert torch.equal(first["grad_norm"], second["grad_norm"])


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_recomputed_activations_change_no_bit(kind: str) -> None:
    unet = {"kind": "unet", "unet": {"channels": [32, 32], "layers": 1}}
    values = {**TINY, "signal": "hidden", "net": unet if kind == "unet" else TINY["net"]}
    learners = [
        tiny_learner(load_train_config(overrides={**values, "parallel": {"recompute": on}}), tiny_images())
        for on in (False, True)
    ]
    assert blocks_of(learners[0].denoiser.net)
    same_gradients(*learners)


def test_compiled_blocks_compute_the_same() -> None:
    learners = [
        tiny_learner(tiny_config(parallel={"compile": backend}), tiny_images()) for backend in (None, "aot_eager")
    ]
    for _ in range(2):
        first, second = (learner.advance() for learner in learners)
        assert float(second["loss"]) == pytest.approx(float(first["loss"]), rel=1e-5)


def test_half_precision_keeps_weights_losses_and_averages() -> None:
    learner = tiny_learner(tiny_config(parallel={"precision": "bfloat16"}), tiny_images())
    whole = tiny_learner(tiny_config(), tiny_images())
    seen: list[torch.dtype] = []
    learner.denoiser.net.blocks[0].mlp.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    half, full = [[each.advance() for _ in range(3)][-1] for each in (learner, whole)]
    assert set(seen) == {torch.bfloat16}
    assert half["loss"].dtype == torch.float32
    assert float(half["loss"]) == pytest.approx(float(full["loss"]), rel=2e-2)
    assert float(half["loss"]) != float(full["loss"])
    for part in (*learner.denoiser.parameters(), *learner.ema.module.parameters()):
        assert part.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parallel": {"accumulate": 9}},
            "parallel.accumulate cuts a batch into 9 micro-batches, and optimiser.batch is 8",
        ),
        ({"parallel": {"accumulate": 2}, "signal": "sampled"}, "runs the network itself"),
        (
            {"parallel": {"strategy": "fsdp"}, "early_stop": {"every": 2}},
            "early_stop needs a whole model in each process",
        ),
        ({"parallel": {"strategy": "zero"}}, "parallel.strategy"),
    ],
)
def test_what_does_not_go_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_config(**change)


@pytest.mark.parametrize("signal", ["structure", "hidden"])
def test_micro_batches_without_pairs_are_refused_before_an_encoder_is_trained(signal: str, tmp_path: Path) -> None:
    listener, images = Listener(), tiny_images()
    config = tiny_config(signal=signal, parallel={"accumulate": 8})
    with pytest.raises(UserError, match=r"accumulate 8 cuts --optimiser.batch 8 into micro-batches of one image"):
        train(config, tmp_path / "run", listener, images)
    assert not [text for text in listener.said if "encoder" in text]
    for change in ({"accumulate": 4}, {"accumulate": 8, "exact": True}):
        assert train(tiny_config(signal=signal, parallel=change), tmp_path / str(change), images=images).steps == 12
    alone = tiny_config(signal="none", parallel={"accumulate": 8})
    assert train(alone, tmp_path / "alone", images=images).steps == 12


def test_a_strategy_that_would_change_the_encoder_is_no_way_to_go_on(tmp_path: Path) -> None:
    train(tiny_config(signal="none"), tmp_path / "base", images=tiny_images())
    change = {"signal": "hidden", "start_from": str(tmp_path / "base")}
    train(tiny_config(**change), tmp_path / "run", images=tiny_images())
    with pytest.raises(UserError, match=r"holds a run with --parallel.strategy ddp, and with fsdp .*another encoder"):
        train(tiny_config(**change, parallel={"strategy": "fsdp"}), tmp_path / "run", images=tiny_images())
    named = {**change, "structure": {"encoder_training": "supervised"}}
    train(tiny_config(**named), tmp_path / "named", images=tiny_images())
    train(tiny_config(**named, parallel={"strategy": "fsdp"}), tmp_path / "named", images=tiny_images())


def test_unusable_backends_are_refused() -> None:
    with pytest.raises(UserError, match="--parallel.compile nonsense: torch can't use it"):
        tiny_learner(tiny_config(parallel={"compile": "nonsense"}), tiny_images())
    inside = {"parallel": {"compile": "aot_eager"}, "signal": "hidden", "control": {"tap": "blocks.0.attn"}}
    with pytest.raises(UserError, match=r"reads the output of 'blocks.0.attn'"):
        tiny_learner(tiny_config(**inside), tiny_images())


def test_processes_that_nothing_joins_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set"), team_for("cpu"):
        pass


def test_ways_of_working_may_change_in_a_resumed_run(tmp_path: Path) -> None:
    runs = [{"config": config(), "out": str(tmp_path / "run"), "stop": 3}]
    assert run_all(runs)[0].startswith("InterruptedRun")
    again = {"config": config(parallel={"recompute": True, "background": True}), "out": str(tmp_path / "run")}
    assert run_all([again]) == ["finished"]
    changed = {"config": config(parallel={"accumulate": 2}), "out": str(tmp_path / "run")}
    assert "holds a run with another configuration (parallel.accumulate" in run_all([changed])[0]
    torch.set_default_dtype(torch.float32)


def test_the_defaults_are_one_process_as_before() -> None:
    assert load_train_config().parallel == ParallelConfig()
