"""The page itself, in a real browser: for everybody, in both languages, on a phone, for many at once, and for nobody else."""

from __future__ import annotations

import base64
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from sadm.studio.texts import TEXTS
from studio_process import PATIENCE, TABS, busy, grave, judged_by_axe, opened, serving, tab

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make studio-test")
expect = playwright.expect
expect.set_options(timeout=PATIENCE)


def test_axe_finds_nothing_grave_in_any_tab_light_or_dark(page, studio: str, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((8, 8)).save(tmp_path / "mine.png")
    opened(page, studio)
    judged_by_axe(page)
    found = []
    for name in TABS:
        tab(page, name)
        if name == "edit":
            page.set_input_files("#edit-files input[type=file]", str(tmp_path / "mine.png"))
            expect(page.locator("#edit-files")).to_contain_text("mine")
        for scheme in ("light", "dark"):
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", scheme == "dark")
            found += grave(page, f"{name}, {scheme}")
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(("lang", "scheme"), [("en", "light"), ("ja", "dark")])
def test_a_phone_shows_everything_without_scrolling_sideways(page, lang: str, scheme: str, request) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, request.getfixturevalue("studio" if lang == "en" else "japanese"))
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    light = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(c => c > 127)"
    )
    assert light == (scheme == "light")
    wide = []
    for name in TABS:
        tab(page, name)
        width = page.evaluate("document.documentElement.scrollWidth")
        buttons = page.locator(f"#tab_{name}[role=tabpanel] button:visible")
        boxes = [buttons.nth(number).bounding_box() for number in range(buttons.count())]
        outside = [box for box in boxes if box and (box["x"] < 0 or box["x"] + box["width"] > 391)]
        if width > 390 or outside:
            wide.append((name, width, outside))
    assert wide == []


def test_the_page_speaks_japanese_and_nothing_else(page, japanese: str) -> None:
    opened(page, japanese)
    expect(page.locator("#train-start")).to_have_text("学習を始める")
    english = {text for key, text in TEXTS["en"].items() if len(text) > 3 and TEXTS["ja"][key] != text}
    for name in TABS:
        tab(page, name)
        panel = page.locator(f"#tab_{name}[role=tabpanel]")
        expect(panel).to_be_visible()
        lines = {line.strip() for line in panel.inner_text().splitlines()}
        assert lines & english == set()
        assert any(re.search("[぀-ヿ一-鿿]", line) for line in lines)


def test_twenty_sessions_at_once_do_not_collide(studio: str, folder: Path) -> None:
    """Each loads the page and starts a training of its own; each gets its own answer, and all are in the queue once."""
    from gradio_client import Client

    said: dict[int, str] = {}
    failed: list[BaseException] = []

    def session(number: int) -> None:
        try:
            client = Client(studio, verbose=False, httpx_kwargs={"timeout": PATIENCE / 1000})
            words = ("digits", f"session {number}", "digits", "none", 5, 0, False, [])
            said[number] = client.predict(*words, api_name="/train")
        except Exception as error:
            failed.append(error)

    with busy(folder) as jobs:
        threads = [threading.Thread(target=session, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        titles = sorted(job.title for job in jobs.all() if job.title.startswith("Training session-"))
        assert failed == []
        assert titles == sorted(f"Training session-{number}" for number in range(20))
        assert all(f"Training session-{number}." in text for number, text in said.items())
    assert len(said) == 20


def status(address: str, **headers: str) -> int:
    """Of an answer."""
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - our own address
    try:
        return urllib.request.urlopen(request, timeout=60).status  # noqa: S310
    except urllib.error.HTTPError as error:
        return error.code


def test_names_of_elsewhere_and_paths_outside_get_nothing(studio: str, folder: Path) -> None:
    (folder / "secret.txt").write_text("secret")
    assert status(studio) == 200
    assert status(studio, Host="evil.example") == 400
    for place in (
        "/reports/..%2F..%2Fetc",
        "/reports/tiny",
        f"/gradio_api/file={folder}/secret.txt",
        "/gradio_api/file=/etc/passwd",
    ):
        assert status(studio + place) in (403, 404), place


def test_a_password_is_asked_for(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")

    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

    with serving(folder, f"--password-file={tmp_path / 'password'}") as address:
        for place in ("/", "/config", "/reports/tiny"):
            assert status(address + place) == status(address + place, Authorization=basic("wrong")) == 401
        assert status(address, Authorization=basic("correct horse")) == 200
