"""`sadm poc` as people run it: bad input, a plan, an interruption, a page, a further domain, more time, the next step."""

from __future__ import annotations

import html
import json
import os
import shlex
import signal
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from tiny_comparison import TINY, results

from sadm.cli.main import run
from sadm.core.files import read_json
from sadm.experiments.poc.page import poc_sentences, render_poc
from sadm.experiments.poc.progress import Overall
from sadm.experiments.poc.texts import ENGLISH, JAPANESE
from sadm.experiments.report.formatting import change


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of scanned digits, one of them without classes and with a copy, and one of files that are no images."""
    place, digits = tmp_path_factory.mktemp("poc"), load_digits()
    for name, classes, count in (("straight", (1, 4, 7), 120), ("round", (0, 8), 100), ("late", (3, 5), 90)):
        chosen = np.flatnonzero(np.isin(digits.target, classes))[:count]
        for index in chosen:
            folder = place / name / (str(digits.target[index]) if name != "round" else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).save(folder / f"{index}.png")
    first = min((place / "round").iterdir())
    (place / "round" / "copy.png").write_bytes(first.read_bytes())
    (place / "notes").mkdir()
    for number in range(3):
        (place / "notes" / f"{number}.png").write_text("no image")
    train = {key: value for key, value in TINY["train"].items() if key not in ("data", "log")}
    (place / "tiny.yaml").write_text(yaml.safe_dump({"train": train, "groups": 1, "cost_steps": 20, "jobs": 1}))
    return place


def arguments(folders: Path, out: Path, *sources: str, budget: str = "5h", most: int = 2) -> list[str]:
    return [
        "poc",
        *(str(folders / name) for name in sources),
        *("--out", str(out), "--config", str(folders / "tiny.yaml"), "--recipe", "folder32_small"),
        *("--budget", budget, "--most-seeds", str(most)),
    ]


@pytest.fixture(scope="module")
def planned(folders: Path) -> dict[str, Any]:
    """What a dry run prints; it leaves what `finished` goes on from."""
    command = [sys.executable, "-m", "sadm", *arguments(folders, folders / "out", "straight", "round", "notes")]
    done = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list((folders / "out").glob("*/runs"))
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


@pytest.fixture(scope="module")
def finished(folders: Path, planned: dict[str, Any]) -> Path:
    """Interrupted in the second domain, and gone on with."""
    out = folders / "out"
    command = arguments(folders, out, "straight", "round", "notes")
    # What starts the tests may ignore SIGINT, and what ignores it passes that on.
    restored = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    process = subprocess.Popen([sys.executable, "-m", "sadm", *command], preexec_fn=restored, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not (results(out / "straight") or process.poll() is not None or time.monotonic() > deadline):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    assert b"run the same command" in told
    kept = {path: path.stat().st_mtime_ns for path in out.glob("straight/runs/*/run.json")}
    complete = [path for path in kept if read_json(path)["finished"]]
    assert complete
    assert run(command) == 0
    assert {path: path.stat().st_mtime_ns for path in complete} == {path: kept[path] for path in complete}
    return out


def test_the_plan_is_there_before_anything_is_trained(planned: dict[str, Any]) -> None:
    assert planned["seeds"] == 2
    assert planned["images"] == 40 * 8
    assert set(planned["domains"]) == {"straight", "round"}
    assert {facts["steps"] for facts in planned["domains"].values()} == {40}
    assert {facts["resolution"] for facts in planned["domains"].values()} == {8}
    assert 0 < planned["minutes"] < planned["left"] < 300
    assert "at least 2 of each" in planned["unusable"]["notes"]


def test_it_leaves_what_it_promises(finished: Path) -> None:
    found = read_json(finished / "poc.json")
    assert sorted(facts["name"] for facts in found["domains"]) == ["round", "straight"]
    assert [facts["rank"] for facts in found["domains"]] == [1, 2]
    (left,) = found["left_out"]
    assert (left["name"], left["outcomes"]["quarantined"]) == ("notes", 3)
    for facts in found["domains"]:
        comparison = read_json(finished / facts["name"] / "comparison.json")
        assert facts["outcome"] == comparison["verdict"]["outcome"]
        for judge, ratio in facts["ratios"].items():
            assert ratio == comparison["ratios"]["equal_cost"]["hidden"][judge]
        assert comparison["protocol"]["seeds"] == [100, 101]
        assert comparison["protocol"]["settings"]["data.source"] == str(finished / "prepared" / facts["name"])
        assert len(results(finished / facts["name"])) == 6
    by_name = {facts["name"]: facts for facts in found["domains"]}
    assert by_name["round"]["outcomes"]["duplicate"] == 1
    assert (by_name["round"]["classes"], by_name["straight"]["classes"]) == (0, 3)
    assert by_name["straight"]["held_out_images"] == pytest.approx(0.4 * 120, abs=2)  # few images: more are held out
    assert 0 < found["minutes"]["spent"] < 300
    assert not (finished.parent / "straight" / "prepared.json").exists()  # nothing is written beside the images


def test_the_page_says_it_in_both_languages(finished: Path) -> None:
    found = read_json(finished / "poc.json")
    for lang, words in (("en", "left out"), ("ja", "除外")):
        page = html.unescape(render_poc(found, finished, lang))
        assert f'lang="{lang}"' in page
        assert poc_sentences(found, lang)[0] in page
        assert words in page
        assert page.count('src="data:image/png;base64,') == 6  # real, plain, structure-guided, of two domains
        for facts in found["domains"]:
            for ratio in facts["ratios"].values():
                if ratio["mean"] is not None:
                    assert change(ratio["mean"]) in page
            assert (finished / facts["report"]).exists()
            assert (finished / facts["sheet"]).exists()
            assert f'href="{facts["report"]}"' in page
        assert "http" not in page.replace("http-equiv", "")
    assert (finished / "poc.html").read_text() == render_poc(found, finished, "en")


def test_a_finished_one_is_not_repeated_and_prices_may_come_later(finished: Path, folders: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/comparison.json")}
    prices = ["--business.hour", "2", "--business.currency", "EUR"]
    assert run([*arguments(folders, finished, "straight"), *prices]) == 0  # the others are remembered
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*/comparison.json")} == before
    found = read_json(finished / "poc.json")
    assert found["business"]["money"] == pytest.approx(2 * found["minutes"]["spent"] / 60, rel=0.05)  # one process
    assert "EUR" in (finished / "poc.html").read_text()


def test_a_command_that_decides_goes_on_from_what_is_stored(finished: Path, folders: Path) -> None:
    found = read_json(finished / "poc.json")
    name = found["domains"][0]["name"]
    step = {facts["name"]: facts["next"] for facts in found["domains"]}[name]
    if step["kind"] == "decide":
        words = shlex.split(step["command"])
        assert words[words.index("--seeds") + 1 :] == [str(seed) for seed in range(100, 100 + step["seeds"])]
    command = ["compare", "--config", str(finished / name / "compare.yaml"), "--out", str(finished / name), "--seeds"]
    trained = {path: path.stat().st_mtime_ns for path in finished.glob(f"{name}/runs/*/result.json")}
    assert run([*command, "100", "101", "102"]) == 0
    now = {path: path.stat().st_mtime_ns for path in finished.glob(f"{name}/runs/*/result.json")}
    assert len(now) == 9
    assert {path: now[path] for path in trained} == trained
    assert run(arguments(folders, finished, "straight")) == 0
    found = read_json(finished / "poc.json")
    assert {facts["name"]: facts["seeds"] for facts in found["domains"]}[name] == 3
    assert len(results(finished / name)) == 9


def test_a_further_domain_and_more_seeds(finished: Path, folders: Path) -> None:
    command = arguments(folders, finished, "late", most=3)
    assert run(command) == 0
    found = read_json(finished / "poc.json")
    assert {facts["name"]: facts["seeds"] for facts in found["domains"]} == {"late": 3, "round": 3, "straight": 3}
    assert all(facts["expected"] is not None for facts in found["domains"])  # three domains


def test_a_budget_that_is_too_small_says_what_is_needed_and_trains_nothing(
    tmp_path: Path, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(arguments(folders, out, "straight", budget="1s")) == 2
    told = capfd.readouterr().err
    assert "the budget of 0.0167 minutes is too small" in told
    assert not list(out.glob("*/runs"))
    needed = told.split("Give --budget ")[1].split(" ")[0]
    assert run([*arguments(folders, out, "straight", budget=needed), "--dry-run"]) in (
        0,
        2,
    )  # a slower minute may follow
    assert run([*arguments(folders, out, "straight", budget="5h"), "--dry-run"]) == 0
    assert "Plan: 2 paired seeds" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--out", "{out}", "--budget", "1h"], "no domain was given"),
        (["{folders}/straight", "--budget", "1h"], "--out is missing"),
        (["{folders}/straight", "--out", "{out}"], "--budget is missing"),
        (["{folders}/straight", "--out", "{out}", "--budget", "soon"], "--budget soon: expected a time"),
        (["{folders}/straight", "--out", "{out}", "--budget", "1h", "--recipe", "x"], "unknown recipe 'x'"),
        (["{folders}/straight", "--out", "{folders}", "--budget", "1h"], "is not empty and holds no proof of concept"),
        (
            ["{folders}/straight", "--out", "{out}", "--budget", "1h", "--more", "x", "2"],
            "--more names 'x', which is no domain",
        ),
        (["{folders}/none", "{folders}/notes", "--out", "{out}", "--budget", "1h"], "none of the domains can be used"),
        (
            [
                *("{folders}/straight", "--out", "{out}", "--budget", "1h", "--business.miss", "5"),
                *("--business.currency", "EUR", "--business.defect-class", "1"),
            ],
            "business.miss differs from domain to domain",
        ),
    ],
)
def test_bad_input(
    change: list[str], expected: str, tmp_path: Path, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["poc", *(word.format(out=tmp_path / "out", folders=folders) for word in change)]) == 2
    assert expected in capfd.readouterr().err


def test_other_settings_in_the_same_folder_are_refused(
    finished: Path, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments(folders, finished, "straight"), "--train.net.width", "32"]) == 2
    assert "holds another proof of concept (train.net.width: stored 16, given 32)" in capfd.readouterr().err
    assert run(arguments(folders, finished, "straight", budget="1s")) == 2
    assert "a smaller one can't give time back" in capfd.readouterr().err


def test_both_languages_have_the_same_texts() -> None:
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert ENGLISH.keys() == JAPANESE.keys()
    for key, text in ENGLISH.items():
        assert fields(text) == fields(JAPANESE[key]), key


def test_progress_runs_over_all_domains_and_never_back() -> None:
    class Recorded:
        def __init__(self) -> None:
            self.lines: list[tuple[int, int]] = []

        def update(self, task: str, done: int, total: int, note: str = "") -> None:
            if task == Overall.TASK:
                self.lines.append((done, total))

        def say(self, text: str) -> None:
            raise AssertionError(text)

    recorded = Recorded()
    overall = Overall(recorded)
    overall.ahead({"a": 100.0, "b": 50.0}, later=30.0)
    with overall.domain("a", 2) as inner:
        inner.update("plain-40-steps-seed-100 training", 20, 40)
        assert recorded.lines[-1] == (round(100 * 0.5 / 6), 180)
        inner.update("runs", 1, 6)
        inner.update("runs", 5, 6)
    assert recorded.lines[-1] == (100, 180)
    with overall.domain("b", 1) as inner:
        inner.update("runs", 7, 9)  # six of them were there before
        assert recorded.lines[-1] == (round(100 + 50 / 3), 180)
    overall.ahead({"a": 40.0}, later=0.0)
    with overall.domain("a", 1):
        pass
    assert recorded.lines[-1] == (190, 190)
    done = [line[0] for line in recorded.lines]
    assert done == sorted(done)
