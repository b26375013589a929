"""The studio as a person uses it, in a real browser."""

from __future__ import annotations

import base64
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from studio_process import serving

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make studio-test")
expect = playwright.expect
expect.set_options(timeout=120_000)


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def opened(page, studio: str, name: str | None = None) -> None:
    page.goto(studio)
    page.wait_for_selector("#train-start")
    if name is not None:
        tab(page, name)


def test_a_training_is_started_seen_and_drawn_from(page, studio: str, folder: Path) -> None:
    opened(page, studio)
    page.fill("#train-name textarea, #train-name input", "first one")
    page.fill("#train-steps input", "3")
    page.click("#train-start")
    expect(page.locator("#train-said")).to_contain_text("In the queue: Training first-one")
    tab(page, "Work")
    expect(page.locator("#work-job")).to_contain_text("Training first-one – done")
    assert (folder / "runs" / "first-one" / "model" / "model.json").is_file()
    tab(page, "Trainings")
    expect(page.locator("#runs-facts")).to_contain_text("Finished after 3 steps")
    tab(page, "Draw")
    page.locator("#draw-run input").click()
    page.get_by_role("option", name="first-one").click()
    page.fill("#draw-count input", "3")
    page.click("#draw-start")
    expect(page.locator("#draw-said")).to_contain_text("In the queue: Images from first-one")
    expect(page.locator(".thumbnail-item img:visible, .grid-wrap img:visible").first).to_be_visible()


def test_work_goes_on_when_the_page_is_closed_and_two_pages_see_the_same(page, studio: str, context) -> None:
    opened(page, studio)
    page.fill("#train-name textarea, #train-name input", "long")
    page.fill("#train-steps input", "1000000")
    page.click("#train-start")
    expect(page.locator("#train-said")).to_contain_text("long")
    page.close()
    pages = [context.new_page() for _ in range(2)]
    for one in pages:
        one.set_default_timeout(120_000)
        opened(one, studio, "Work")
        expect(one.locator("#work-job")).to_contain_text(re.compile(r"Training long – running: training \d+%"))
    pages[0].click("#work-stop")
    for one in pages:
        expect(one.locator("#work-job")).to_contain_text("Training long – stopped")
        expect(one.locator("#work-log textarea")).to_have_value(re.compile("Stopped and saved at step"))
    pages[1].reload()
    opened(pages[1], studio, "Work")
    pages[1].click("#work-remove")
    expect(pages[0].locator("#work-job")).not_to_contain_text("Training long")


def test_a_mistake_is_a_note_and_not_a_traceback(page, studio: str) -> None:
    opened(page, studio)
    page.fill("#train-data textarea, #train-data input", " ")
    page.click("#train-start")
    expect(page.get_by_text("no images were named")).to_be_visible()
    tab(page, "Restore and vary")
    page.click("#edit-vary")
    expect(page.get_by_text("no images were uploaded")).to_be_visible()


def test_a_bad_file_fails_with_a_reason(page, studio: str, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no image at all")
    opened(page, studio, "Restore and vary")
    page.set_input_files("#edit-files input[type=file]", str(tmp_path / "broken.png"))
    expect(page.locator("#edit-files")).to_contain_text("broken")
    page.click("#edit-vary")
    expect(page.locator("#edit-said")).to_contain_text("In the queue")
    tab(page, "Work")
    expect(page.locator("#work-job")).to_contain_text(re.compile("Vary with .* – failed"))
    expect(page.locator("#work-log textarea")).not_to_have_value(re.compile("Traceback"))


def test_an_upload_is_varied_and_reviewed(page, studio: str, folder: Path, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((8, 8)).save(tmp_path / "mine.png")
    opened(page, studio, "Restore and vary")
    page.set_input_files("#edit-files input[type=file]", str(tmp_path / "mine.png"))
    expect(page.locator("#edit-files")).to_contain_text("mine")
    page.click("#edit-vary")
    expect(page.locator("#edit-said")).to_contain_text("In the queue")
    tab(page, "Work")
    expect(page.locator("#work-job")).to_contain_text(re.compile("Vary with .* – done"))
    tab(page, "Review")
    expect(page.locator("#review-counts")).to_contain_text(re.compile(r"0 approved, 0 rejected, \d+ to go"))
    page.fill("#review-reason textarea, #review-reason input", "too dark")
    page.click("#review-reject")
    expect(page.locator("#review-counts")).to_contain_text("0 approved, 1 rejected")
    page.click("#review-approve")
    expect(page.locator("#review-counts")).to_contain_text("1 approved, 1 rejected")
    page.click("#review-export")
    expect(page.locator("#review-counts")).to_contain_text("1 images in")
    assert len(list((folder / "approved").rglob("*.png"))) == 1


def test_the_keyboard_is_enough(page, studio: str) -> None:
    opened(page, studio)
    page.get_by_role("tab", name="Train", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("#train-start, #runs-run").first.wait_for()
    opened(page, studio)
    reached = set()
    page.locator("#train-data textarea, #train-data input").focus()
    for _ in range(40):
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.closest('[id^=train-]')?.id || ''")
        )
        if "train-start" in reached:
            break
        page.keyboard.press("Tab")
    assert {"train-name", "train-steps", "train-start"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(page, studio: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, studio)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#train-start").bounding_box()["width"] > 100


def test_twenty_sessions_at_once(studio: str) -> None:
    """Twenty readers of the page and its configuration, in parallel, ten times each."""
    failed = []

    def read() -> None:
        for place in ("/", "/config") * 5:
            try:
                with urllib.request.urlopen(studio + place, timeout=60) as answer:  # noqa: S310
                    answer.read()
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_names_of_elsewhere_and_paths_outside_get_nothing(studio: str, folder: Path) -> None:
    (folder / "secret.txt").write_text("secret")

    def status(place: str, host: str | None = None) -> int:
        request = urllib.request.Request(studio + place, headers={} if host is None else {"Host": host})  # noqa: S310
        try:
            return urllib.request.urlopen(request, timeout=60).status  # noqa: S310
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/") == 200
    assert status("/", "evil.example") == 400
    for place in (
        "/reports/..%2F..%2Fetc",
        "/reports/tiny",
        f"/gradio_api/file={folder}/secret.txt",
        "/gradio_api/file=/etc/passwd",
    ):
        assert status(place) in (403, 404), place


def test_a_password_is_asked_for(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")

    def status(address: str, password: str | None) -> int:
        request = urllib.request.Request(address)  # noqa: S310
        if password is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"me:{password}".encode()).decode())
        try:
            return urllib.request.urlopen(request, timeout=60).status  # noqa: S310
        except urllib.error.HTTPError as error:
            return error.code

    with serving(folder, f"--password-file={tmp_path / 'password'}") as address:
        for place in ("/", "/config", "/reports/tiny"):
            assert status(address + place, None) == status(address + place, "wrong") == 401
        assert status(address + "/", "correct horse") == 200


def test_the_page_speaks_japanese(page, folder: Path) -> None:
    with serving(folder, "--lang=ja") as address:
        page.goto(address)
        page.wait_for_selector("#train-start")
        expect(page.locator("#train-start")).to_have_text("学習を始める")
        expect(page.get_by_role("tab", name="復元と変形")).to_be_visible()
