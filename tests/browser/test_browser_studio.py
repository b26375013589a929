"""The studio as a person works with it, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sadm.studio.jobs import Jobs
from studio_process import PATIENCE, busy, choose, fill, grave, judged_by_axe, newest, opened, tab

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make studio-test")
expect = playwright.expect
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def waiting(studio: str, folder: Path) -> Iterator[Jobs]:
    """Something runs already, so that what a test starts waits."""
    with busy(folder) as jobs:
        yield jobs


def test_a_training_is_started_seen_and_drawn_from(page, studio: str, folder: Path) -> None:
    opened(page, studio)
    fill(page, "#train-name", "first one")
    fill(page, "#train-steps", "3")
    page.click("#train-start")
    expect(page.locator("#train-said")).to_contain_text("In the queue: Training first-one")
    tab(page, "jobs")
    expect(page.locator("#work-job")).to_contain_text("Training first-one – done")
    assert (folder / "runs" / "first-one" / "model" / "model.json").is_file()
    tab(page, "runs")
    choose(page, "#runs-run", "first-one")
    expect(page.locator("#runs-facts")).to_contain_text("Finished after 3 steps")
    expect(page.locator("#runs-samples img")).to_be_visible()
    tab(page, "draw")
    choose(page, "#draw-run", "first-one")
    expect(page.locator("#draw-run input")).to_have_value("first-one")
    fill(page, "#draw-count", "3")
    fill(page, "#draw-seed", "7")
    fill(page, "#draw-guidance", "1.5")
    page.click("#draw-start")
    expect(page.locator("#draw-said")).to_contain_text("In the queue: Images from first-one")
    assert {"--count=3", "--seed=7", "--guidance_scale=1.5".replace("_", "-")} <= set(newest(folder)["command"])
    expect(page.locator("#draw-images button img:visible")).to_have_count(3)
    (made,) = (folder / "images").glob("first-one-drawn-*")
    records = [json.loads(line) for line in (made / "records.jsonl").read_text().splitlines()]
    assert len(records) == 3
    assert {record["seed"] for record in records} == {7}
    assert {record["details"]["guidance_scale"] for record in records} == {1.5}


@pytest.mark.parametrize(("events", "said"), [(0, "has had nothing to do"), (2, "has acted 2 times")])
def test_what_the_watchdog_did_is_told(page, studio: str, folder: Path, events: int, said: str) -> None:
    run = folder / "runs" / f"watched-{events}"
    shutil.copytree(folder / "runs" / "tiny", run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps({**json.loads(line), "events": events}) + "\n" for line in lines)
    )
    opened(page, studio, "runs")
    choose(page, "#runs-run", run.name)
    expect(page.locator("#runs-facts")).to_contain_text(f"The watchdog {said}")
    shutil.rmtree(run)


def test_classes_and_guidance_are_those_of_the_chosen_training(page, studio: str, folder: Path) -> None:
    run = folder / "runs" / "guided"
    shutil.copytree(folder / "runs" / "tiny", run)
    config = (run / "config.yaml").read_text()
    assert "guidance_scale: 1.0" in config
    (run / "config.yaml").write_text(config.replace("guidance_scale: 1.0", "guidance_scale: 7.5"))
    opened(page, studio, "draw")
    expect(page.locator("#draw-run input")).to_have_value("tiny")
    choose(page, "#draw-label", "9")  # it comes with the page: nobody has chosen a training yet
    choose(page, "#draw-run", "guided")
    expect(page.locator("#draw-guidance input[type=number]")).to_have_value("7.5")
    shutil.rmtree(run)


def test_work_is_in_no_page(page, studio: str, folder: Path, context) -> None:
    """A page is closed while work goes on, another one reloaded, two see the same; what was stopped goes on."""
    opened(page, studio)
    fill(page, "#train-name", "long")
    fill(page, "#train-steps", "1000000")
    page.click("#train-start")
    expect(page.locator("#train-said")).to_contain_text("long")
    page.close()
    pages = [context.new_page() for _ in range(2)]
    for one in pages:
        opened(one, studio, "jobs")
        expect(one.locator("#work-job")).to_contain_text(re.compile(r"Training long – running: training \d+%, .* left"))
    tab(pages[0], "runs")
    choose(pages[0], "#runs-run", "long")
    expect(pages[0].locator("#runs-facts")).to_contain_text(re.compile(r"Step \d+ of 1000000; .* images seen"))
    tab(pages[0], "jobs")
    pages[0].click("#work-stop")
    for one in pages:
        expect(one.locator("#work-job")).to_contain_text("Training long – stopped")
        expect(one.locator("#work-log textarea")).to_have_value(re.compile("Stopped and saved at step"))
    pages[1].reload()
    pages[1].wait_for_selector("#train-start")
    tab(pages[1], "jobs")
    expect(pages[1].locator("#work-log textarea")).to_have_value(re.compile("Stopped and saved"))  # it is chosen again
    pages[1].click("#work-go-on")
    expect(pages[0].locator("#work-log textarea")).to_have_value(re.compile("Going on from step"))
    pages[0].click("#work-stop")
    expect(pages[1].locator("#work-job")).to_contain_text("Training long – stopped")
    pages[1].click("#work-remove")
    expect(pages[0].locator("#work-job")).not_to_contain_text("Training long")
    assert (folder / "runs" / "long").is_dir()


def ask_to_compare(page, name: str, steps: str) -> None:
    """Two seeds, with and without structure."""
    fill(page, "#train-name", name)
    fill(page, "#train-steps", steps)
    fill(page, "#train-seeds", "2")
    page.click("#compare-start")
    expect(page.locator("#train-said")).to_contain_text(f"In the queue: Comparison {name}-compare")


def test_what_waits_can_be_taken_out(page, studio: str, folder: Path, waiting: Jobs, tmp_path: Path) -> None:
    """A comparison, classes, defects and a restoration are asked for behind what runs; each has the words that it was given."""
    Image.linear_gradient("L").resize((8, 8)).save(tmp_path / "mine.png")
    opened(page, studio)
    ask_to_compare(page, "pair", "5")
    words = newest(folder)["command"]
    assert words[0] == "compare"
    assert {"--data=digits", "--train.optimiser.steps=5", "--lang=en"} <= set(words)
    assert words[-3:] == ["--seeds", "100", "101"]
    for name, kind in (("augment", "augment"), ("defects", "defects")):
        tab(page, name)
        page.click(f"#{name}-start")
        expect(page.locator(f"#{name}-said")).to_contain_text("In the queue")
        assert newest(folder)["command"][0] == kind
    tab(page, "edit")
    page.set_input_files("#edit-files input[type=file]", str(tmp_path / "mine.png"))
    expect(page.locator("#edit-files")).to_contain_text("mine")
    page.click("#edit-restore")
    expect(page.locator("#edit-said")).to_contain_text("In the queue")
    assert newest(folder)["command"][0] == "restore"
    assert "--damage=unknown" in newest(folder)["command"]
    tab(page, "jobs")
    expect(page.locator("#work-job label")).to_have_count(len(waiting.all()))
    page.locator("#work-job label", has_text="Comparison pair-compare").click()
    page.click("#work-stop")
    expect(page.locator("#work-job")).to_contain_text("Comparison pair-compare – stopped")
    assert not (folder / "runs" / "pair-compare").exists()


def test_a_comparison_is_followed_to_its_report(page, studio: str, folder: Path, context) -> None:
    opened(page, studio)
    ask_to_compare(page, "followed", "20")
    tab(page, "jobs")
    expect(page.locator("#work-job")).to_contain_text(re.compile(r"Comparison followed-compare – running: .* \d+%"))
    expect(page.locator("#work-job")).to_contain_text("Comparison followed-compare – done", timeout=4 * PATIENCE)
    found = json.loads((folder / "runs" / "followed-compare" / "comparison.json").read_text(encoding="utf-8"))
    assert found["protocol"]["seeds"] == [100, 101]
    tab(page, "runs")
    choose(page, "#runs-run", "followed-compare/plain-20-steps-seed-101")
    expect(page.locator("#runs-facts")).to_contain_text("Finished after 20 steps")
    with context.expect_page() as opening:
        page.get_by_role("link", name="Report of followed-compare").click()
    report = opening.value
    expect(report.locator("body")).to_contain_text(found["verdict"]["sentence"])
    pictures = report.locator("img")
    assert pictures.count() > 0
    assert all(pictures.nth(number).evaluate("image => image.naturalWidth") > 0 for number in range(pictures.count()))
    judged_by_axe(report)
    assert grave(report, "report") == []


def test_a_report_is_opened_and_can_load_and_run_nothing(page, studio: str, folder: Path, context) -> None:
    pair = folder / "runs" / "done-compare"
    pair.mkdir()
    (pair / "compare.yaml").write_text("seeds: [100, 101]\n")
    (pair / "report.html").write_text(
        "<h1>It pays</h1><script>document.body.textContent = 'a script ran'</script>"
        "<img src='http://elsewhere.example/pixel.png'>"
    )
    opened(page, studio, "runs")
    with context.expect_page() as opening:
        page.get_by_role("link", name="Report of done-compare").click()
    expect(opening.value.locator("body")).to_contain_text("It pays")
    assert opening.value.evaluate("document.querySelector('img').naturalWidth") == 0
    assert "a script ran" not in opening.value.locator("body").inner_text()


def test_a_mistake_is_a_note_and_not_a_traceback(page, studio: str) -> None:
    opened(page, studio)
    fill(page, "#train-data", " ")
    page.click("#train-start")
    expect(page.get_by_text("no images were named")).to_be_visible()
    tab(page, "edit")
    page.click("#edit-vary")
    expect(page.get_by_text("no images were uploaded")).to_be_visible()


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are no images, or none that can be used."""
    there = tmp_path_factory.mktemp("bad")
    (there / "notes.txt").write_text("no image")
    with zipfile.ZipFile(there / "images.zip", "w") as archive:
        archive.writestr("a.png", b"")
    (there / "zip.png").write_bytes((there / "images.zip").read_bytes())
    (there / "broken.png").write_bytes(b"\x89PNG no image at all")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(there / "whole.png")
    (there / "truncated.png").write_bytes((there / "whole.png").read_bytes()[:6000])
    Image.new("1", (20_000, 20_000)).save(there / "huge.png")
    (there / "empty.png").write_bytes(b"")
    return there


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("notes.txt", "notes.txt is no image by its name"),
        ("images.zip", "images.zip is no image by its name"),
        ("zip.png", "zip.png can't be used: not an image"),
        ("broken.png", "broken.png can't be used: not an image"),
        ("truncated.png", "truncated.png can't be used: image file is truncated"),
        ("huge.png", "huge.png can't be used: its pixels are more than the limit"),
        ("empty.png", "empty"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(
    page, studio: str, folder: Path, bad: Path, name: str, reason: str
) -> None:
    jobs = len(list((folder / "jobs").glob("*")))
    opened(page, studio, "edit")
    page.set_input_files("#edit-files input[type=file]", str(bad / name))
    expect(page.get_by_text(reason).first).to_be_visible()
    if name != "empty.png":  # which Gradio itself does not take
        page.click("#edit-vary")
        expect(page.get_by_text(reason)).to_have_count(2)
    assert len(list((folder / "jobs").glob("*"))) == jobs


def test_a_mask_is_painted_with_mouse_and_keys_and_filled(page, studio: str, folder: Path, tmp_path: Path) -> None:
    gradient = Image.linear_gradient("L").resize((8, 8))
    gradient.save(tmp_path / "mine.png")
    opened(page, studio, "edit")
    page.click("#edit-fill")
    expect(page.get_by_text("no images were uploaded")).to_be_visible()
    page.set_input_files("#edit-files input[type=file]", str(tmp_path / "mine.png"))
    expect(page.locator("#edit-files")).to_contain_text("mine")
    page.click("#edit-fill")
    expect(page.get_by_text("nothing is painted")).to_be_visible()
    canvas = page.locator("#edit-paint canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    side = box["width"] / 8  # of a pixel of the image
    page.locator("#edit-paint .brush").fill("32")
    page.mouse.move(box["x"] + 0.5 * side, box["y"] + 0.5 * side)
    page.mouse.down()
    page.mouse.move(box["x"] + 2.5 * side, box["y"] + 0.5 * side, steps=4)  # the first three pixels of the first row
    page.mouse.up()
    page.mouse.click(box["x"] + 6.5 * side, box["y"] + 6.5 * side)
    page.locator("#edit-paint .undo").click()
    canvas.focus()
    for key in (*["ArrowRight"] * 3, "ArrowDown", "Space"):  # from the middle, half a brush a time: pixel 5.5, 4.5
        page.keyboard.press(key)
    fill(page, "#edit-proposals", "1")
    page.click("#edit-fill")
    expect(page.locator("#edit-said")).to_contain_text("In the queue: Fill what is painted")
    words = dict(word[2:].split("=", 1) for word in newest(folder)["command"] if "=" in word)
    with Image.open(words["mask"]) as image:
        mask = np.asarray(image.convert("L"))
    expected = np.zeros((8, 8), bool)
    expected[0, :3] = True
    expected[4, 5] = True
    assert (mask == 255).tolist() == expected.tolist()
    tab(page, "jobs")
    expect(page.locator("#work-job label").first).to_contain_text(re.compile("Fill what is painted with .* – done"))
    with Image.open(Path(words["out"], "000000-00.png")) as image:
        filled = np.asarray(image.convert("L"))
    assert (filled[~expected] == np.asarray(gradient)[~expected]).all()
    assert (filled[expected] != np.asarray(gradient)[expected]).any()


def test_images_are_reviewed_one_by_one_and_the_approved_ones_leave(page, studio: str, folder: Path) -> None:
    opened(page, studio, "review")
    choose(page, "#review-folder", "tiny-drawn")
    counts = page.locator("#review-counts")
    expect(counts).to_contain_text("0 approved, 0 rejected, 4 to go")
    expect(page.locator("#review-image img")).to_be_visible()
    expect(page.locator("#review-facts")).to_contain_text(re.compile(r"From a real image\s*no"))
    expect(page.locator("#review-facts")).to_contain_text(re.compile(r"Sampling steps\s*2"))
    page.click("#review-export")
    expect(page.get_by_text("Review them first")).to_be_visible()
    fill(page, "#review-reason", "too dark")
    fill(page, "#review-reviewer", "K. Sato")
    page.click("#review-reject")
    expect(counts).to_contain_text("0 approved, 1 rejected, 3 to go")
    expect(page.locator("#review-reason textarea, #review-reason input")).to_have_value("")
    page.reload()
    page.wait_for_selector("#train-start")
    tab(page, "review")
    choose(page, "#review-folder", "tiny-drawn")
    expect(counts).to_contain_text("0 approved, 1 rejected, 3 to go")
    page.click("#review-approve")
    expect(counts).to_contain_text("1 approved, 1 rejected, 2 to go")
    page.click("#review-export")
    expect(counts).to_contain_text("1 images in")
    reviews = (folder / "images" / "tiny-drawn" / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = map(json.loads, reviews)
    assert (first["approved"], first["reason"], first["reviewer"]) == (False, "too dark", "K. Sato")
    left = sorted(path.name for path in (folder / "approved" / "tiny-drawn").glob("*.png"))
    assert left == [second["file"]]


def test_the_keyboard_is_enough(page, studio: str, folder: Path, waiting: Jobs) -> None:
    """From the top of the page to a training in the queue, and out of it again, without a mouse."""

    def reach(where: str) -> None:
        for _ in range(60):
            if page.evaluate("where => document.activeElement.closest(where) !== null", where):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{where} is not reached by the Tab key")

    opened(page, studio)
    reach("#train-name")
    page.keyboard.press("Control+A")
    page.keyboard.type("by keys")
    reach("#train-steps")
    page.keyboard.press("Control+A")
    page.keyboard.type("4")
    reach("#train-start")
    page.keyboard.press("Enter")
    expect(page.locator("#train-said")).to_contain_text("In the queue: Training by-keys")
    assert "--optimiser.steps=4" in newest(folder)["command"]
    page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges(); window.scrollTo(0, 0)")
    reach("#tab_jobs-button")
    page.keyboard.press("Enter")
    expect(page.locator("#work-job input").first).to_be_visible()
    reach("#work-job")
    page.keyboard.press("Space")
    reach("#work-stop")
    page.keyboard.press("Enter")
    expect(page.locator("#work-job")).to_contain_text("Training by-keys – stopped")
