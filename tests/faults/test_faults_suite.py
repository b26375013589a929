"""A few cases of each part of the fault suite, and what counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.faults import clocks, damage, disks, kills, locks, memory, page, poison
from benchmarks.faults.book import Book
from benchmarks.faults.command import Host, hosting
from benchmarks.faults.smallest import differences, not_finite
from benchmarks.faults.subjects import OUT, Inputs, fresh, reference, subjects
from benchmarks.faults.summary import counts, table, totals, with_fuzzing


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosting(tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suite")


def promised(cases: list[dict]) -> list[dict]:
    assert [case["failures"] for case in cases if case["failures"]] == []
    return cases


def test_a_killed_training_comes_to_the_same_bits(host: Host, folder: Path) -> None:
    cases = promised(kills.run(host, folder / "kills", Book(folder / "kills.jsonl", print), {"train": 1}))
    assert [case["bit_equal"] for case in cases] == [1]
    assert all(case["phase"] != "other" for case in cases)
    again = Book(folder / "kills.jsonl", lambda text: pytest.fail(f"run again: {text}"))
    assert kills.run(host, folder / "kills", again, {"train": 1}) == cases


def test_a_disk_that_is_full_at_the_first_checkpoint(host: Host, folder: Path) -> None:
    training = subjects(Inputs(host, folder / "inputs"))["train"]
    found = disks.sites(host, folder / "disks", training)
    assert any("metrics.jsonl" in site for site in found)
    assert any("checkpoints" in site for site in found)
    checkpoint = next(at for site, at in found.items() if "checkpoints" in site)
    promised([disks._injected(host, folder / "disks", training, checkpoint)])


def test_damaged_checkpoints_are_noticed(host: Host, folder: Path) -> None:
    run = Inputs(host, folder / "inputs").run
    path = sorted((run / "checkpoints").iterdir())[-1] / "state.json"
    content = path.read_bytes()
    cases = promised([damage._case(path, spoilt, damage._checkpoint) for _, spoilt in damage.damages(path)])
    assert sum(case["detected"] for case in cases) == damage.PARTS + damage.FLIPS
    assert path.read_bytes() == content
    unharmed = damage._case(path, content, damage._checkpoint)
    assert unharmed["detected"] == 0
    assert unharmed["failures"]


def test_clocks_locks_and_nan(host: Host, folder: Path) -> None:
    training = subjects(Inputs(host, folder / "inputs"))["train"]
    promised([clocks._in_parts(host, folder / "clocks", training, "back at every reading")])
    (refused,) = promised([locks._two(host, folder / "locks", training)])
    assert refused["refused"] == 1
    stopped = poison._poisoned(host, folder / "poison", poison.PLANTED[1], "nan")
    skipped = poison._poisoned(host, folder / "poison", poison.Planted("encoder"), "inf")
    promised([stopped, skipped])
    assert stopped["bit_equal"] == 1
    assert skipped["skipped"] >= 1


def test_a_short_training_is_looked_at(host: Host, folder: Path) -> None:
    found = memory.measure(host, folder / "memory", 100, print, 0.2)
    assert found["steps"] == 100
    assert found["looks"] >= 1
    assert found["resident_mib"]["end"] > 50


def test_growth_is_seen() -> None:
    steady = [(step, 100.0 + step % 3, 5) for step in range(0, 1000, 10)]
    leaking = [(step, 100.0 + step / 50, 5) for step in range(0, 1000, 10)]
    opening = [(step, 100.0, 5 + step // 500) for step in range(0, 1000, 10)]
    grew = [memory.summarised(looks, 1000)["grew"] for looks in (steady, leaking, opening)]
    assert grew == [False, True, True]
    assert memory.summarised(leaking, 1000)["growth_mib"] == pytest.approx(800 / 50, abs=0.3)


def test_differences_are_named(tmp_path: Path) -> None:
    assert differences({"files": ["a", "b"], "n": 1}, {"files": ["a", "b"], "n": 1}) == []
    assert differences({"files": ["a", "x"], "n": 1}, {"files": ["a", "b"], "n": 2}) == [
        "/files: x too many",
        "/files: b missing",
        "/n: 1 instead of 2",
    ]
    save_file({"good": torch.ones(2), "bad": torch.tensor([1.0, float("nan")])}, tmp_path / "x.safetensors")
    assert not_finite(tmp_path) == ["x.safetensors: bad"]


def test_phases_come_from_stacks() -> None:
    line = '  File "x.py", line 3 in {}\n'
    assert (
        kills.phase_of(line.format("fsync") + line.format("save_checkpoint") + line.format("_loop"))
        == "saving a checkpoint"
    )
    assert kills.phase_of(line.format("step") + line.format("advance")) == "training"
    assert kills.phase_of("") == kills.UNKNOWN


def test_counts_and_their_page(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        {"kills": 1, "resumes": 1, "bit_equal": 1, "phase": "training", "victim": "all", "failures": []},
        {"kills": 1, "resumes": 0, "bit_equal": 0, "phase": "training", "victim": "main", "failures": ["lost"]},
    ]
    parts = {"kills": counts(cases), "locks": counts([{"refused": 1, "failures": []}])}
    assert parts["kills"]["by_phase"] == {"training": 2}
    grown = memory.summarised([(10, 100.0, 4), (100, 100.0, 4)], 100)
    found = totals(parts, grown)
    assert (found["kills"], found["resumes"], found["bit_equal"], found["failures"]) == (2, 1, 1, 1)
    assert found["second_runs_refused"] == 1
    assert found["steps_in_memory_test"] == 100
    where = {"commit": "abc", "torch": "2", "machine": "m"}
    result = {"totals": found, "parts": parts, "memory": grown, "disks_by": "injection", "provenance": where}
    result["failed"] = {"kills": {"train 1": ["lost"]}, "locks": {}}
    monkeypatch.setattr(page, "stored", lambda *_: json.loads(json.dumps(result)))
    monkeypatch.setattr(page, "result_path", lambda *_: Path(__file__))
    text = page.section()
    assert text is not None
    assert "| kill -9 | 2 | 1 | 2 kills, 1 resumes, 1 bit equal |" in text
    assert "training 2" in text
    assert "- kill -9, train 1: lost" in text
    assert table(result)[-1] in text


def test_what_was_fuzzed_is_counted_with_the_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz.page.summary", lambda: {"inputs": 70, "failures": 2})
    assert with_fuzzing({"kills": 5, "failures": 1}) == {"kills": 5, "fuzz_inputs": 70, "failures": 3}


def test_undisturbed_runs_agree(host: Host, folder: Path) -> None:
    """The yardstick itself: two undisturbed runs come to the same, and a disturbed outcome would be seen."""
    training = subjects(Inputs(host, folder / "inputs"))["train"]
    expected, _ = reference(training, host, folder / "reference")
    place = fresh(folder / "again", training)
    assert host.run(*training.arguments(place)).code == 0
    assert differences(training.outcome(place), expected) == []
    lines = (place / OUT / "metrics.jsonl").read_text().splitlines(keepends=True)
    (place / OUT / "metrics.jsonl").write_text("".join([*lines, lines[-1]]))
    (place / OUT / ".x.abc.tmp").write_text("")
    assert len(differences(training.outcome(place), expected)) == 2
