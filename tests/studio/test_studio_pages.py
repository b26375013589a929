"""What the page does without a browser: words of commands, the workspace, uploads, texts."""

from __future__ import annotations

import base64
import io
import os
import re
import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sadm.cli.main import COMMANDS
from sadm.core.errors import UserError
from sadm.core.files import write_json
from sadm.studio import commands
from sadm.studio.texts import TEXTS
from sadm.studio.uploads import draws_squares, fitted_mask, keep_images, painted_mask, to_paint_on
from sadm.studio.workspace import Workspace, chosen_of, plain_name

PAGES = Path(commands.__file__).parent


def test_only_what_is_filled_in_becomes_an_option() -> None:
    words = commands.options(out="a b", data__flip=True, steps=None, label="", measure=False, strength=0.5, count=3)
    assert words == ["--out=a b", "--data.flip", "--strength=0.5", "--count=3"]
    assert commands.options(guidance_scale=0.0, count=0) == ["--guidance-scale=0", "--count=0"]
    assert "--guidance-scale=0" in commands.sample(RUN, OUT, 4, None, 0, 0.0, 0)


def test_noise_and_resizing_are_asked_for_where_they_mean_something() -> None:
    noisy = commands.restore(RUN, OUT, IMAGES, "noise", None, 2, 0.1)
    assert "--noise=0.1" in noisy
    assert "--resize" in noisy
    assert not [word for word in commands.restore(RUN, OUT, IMAGES, "blur", None, 2, 0.1) if "noise" in word]
    for words in (
        commands.inpaint(RUN, OUT, IMAGES, Path("/w/m.png"), 4, None, resize=False),
        commands.restore(RUN, OUT, IMAGES, "noise", None, 2, 0.1, resize=False),
        commands.vary(RUN, OUT, IMAGES, 0.4, 3, None, resize=False),
    ):
        assert "--resize" not in words


def test_images_are_brought_to_squares_alone(tmp_path: Path) -> None:
    from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
    from sadm.training.model_folder import save_model
    from sadm.training.spec import ModelSpec

    for name, size in (("square", (8, 8)), ("wide", (8, 16))):
        net = NetConfig(patch=4, width=8, depth=1, heads=1)
        spec = ModelSpec((1, *size), net, 0.5, (), (), DenoiserConfig())
        save_model(tmp_path / name / "model", spec, spec.build().net.state_dict(), SamplingConfig(steps=2), {})
    assert draws_squares(tmp_path / "square")
    assert not draws_squares(tmp_path / "wide")
    with pytest.raises(UserError, match="no model in"):
        draws_squares(tmp_path)


def test_values_can_not_become_options() -> None:
    """A name that begins with dashes stays the value of its option."""
    words = commands.train(Path("/w/runs/x"), "--config=evil.yaml", "digits", "none", 0, 0, False, [])
    assert "--data=--config=evil.yaml" in words
    assert "--config=evil.yaml" not in words


RUN, OUT, IMAGES = Path("/w/runs/a"), Path("/w/images/b"), Path("/w/uploads/c")


@pytest.mark.parametrize(
    "words",
    [
        commands.train(OUT, "digits", "digits", "hidden", 100, 16, True, ["attributes", "masks"]),
        commands.compare(OUT, "digits", "digits", 3, "ja", 100, 16, True, ["masks"]),
        commands.sample(RUN, OUT, 4, "3", 7, 1.5, 9),
        commands.defects(RUN, OUT, ["dent"], 5, (0.2, 0.8), "0.5,0.5", None, "coco", True),
        commands.augment(RUN, OUT, "50%", True, True),
        commands.inpaint(RUN, OUT, IMAGES, Path("/w/m.png"), 4, "dent"),
        commands.restore(RUN, OUT, IMAGES, "noise", None, 2, 0.1),
        commands.vary(RUN, OUT, IMAGES, 0.4, 3, None),
    ],
    ids=lambda words: words[0],
)
def test_every_command_understands_its_words(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's own parser is asked; what it would do is cut off behind it."""
    import importlib

    class ParsedError(Exception):
        pass

    module = importlib.import_module(f"sadm.cli.{words[0]}")
    real = module.parse

    def parse(*arguments, **options):
        raise ParsedError(real(*arguments, **options))

    monkeypatch.setattr(module, "parse", parse)
    assert words[0] in COMMANDS
    with pytest.raises(ParsedError):
        module.run(words[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: commands.train(OUT, " ", "digits", "none", 0, 0, False, []), "no images were named"),
        (
            lambda: commands.train(OUT, "digits", "digits", "none", 2.5, 0, False, []),
            "steps: 2.5; expected a whole number",
        ),
        (lambda: commands.sample(RUN, OUT, 0, None, 0, 1.0, 0), "count: 0; expected at least 1"),
        (lambda: commands.compare(OUT, "digits", "digits", 1, "en", 0, 0, False, []), "at least 2"),
        (lambda: commands.inpaint(RUN, OUT, IMAGES, None, 4, None), "nothing is painted"),
        (lambda: commands.restore(RUN, OUT, IMAGES, "mask", None, 4), "nothing is painted"),
    ],
)
def test_mistakes_are_said_before_anything_starts(make, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("a b", "a-b"),
        ("../../etc", "etc"),
        ("部品 3", "部品-3"),
        ("x" * 99, "x" * 60),
        ("-rf", "rf"),
        ("a/b\\c", "a-b-c"),
    ],
)
def test_names_are_plain(typed: str, name: str) -> None:
    assert plain_name(typed) == name
    for nothing in ("", " ", "..", "///", "-"):
        with pytest.raises(UserError, match="expected letters or digits"):
            plain_name(nothing)


def test_the_workspace_lists_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "w")
    for number, (name, marker) in enumerate((("old", "config.yaml"), ("new", "config.yaml"), ("pair", "compare.yaml"))):
        (space.runs_folder / name).mkdir()
        (space.runs_folder / name / marker).write_text("")
        os.utime(space.runs_folder / name / marker, (number, number))
    (space.runs_folder / "stranger").mkdir()
    assert space.runs() == ["old", "new"]
    assert space.comparisons() == ["pair"]
    assert space.run("old") == space.runs_folder / "old"
    for name in (None, "", "..", ".", "../runs", "gone", "old/../new"):
        with pytest.raises(UserError, match=r"no training"):
            space.run(name)
    arm = space.runs_folder / "pair" / "runs" / "plain-40-steps-seed-100"
    arm.mkdir(parents=True)
    (arm / "config.yaml").write_text("")
    os.utime(arm / "config.yaml", (0.5, 0.5))
    assert space.runs() == ["old", f"pair/{arm.name}", "new"]
    assert space.run(f"pair/{arm.name}") == arm
    for name in ("pair/", "pair/gone", "pair/..", "../pair/runs", f"pair/runs/{arm.name}", f"/pair/{arm.name}"):
        with pytest.raises(UserError, match=r"no training"):
            space.run(name)
    assert re.fullmatch(r"pair-[\w-]+-drawn-\d{4}-\d{6}", space.new_images("drawn", f"pair/{'long-' * 20}").name)
    first = space.new_images("drawn", "old")
    first.mkdir()
    assert space.new_images("drawn", "old") != first
    assert space.made() == []
    write_json(first / "records.jsonl", {})
    assert space.made() == [first.name]


def test_names_keep_their_places_in_a_menu(tmp_path: Path) -> None:
    """A browser knows what was chosen by its place: one that moved was another one to it, and its images were judged."""
    space = Workspace(tmp_path / "w")
    for number, name in enumerate(("a", "c", "b")):
        write_json(space.out_folder / name / "records.jsonl", {})
        os.utime(space.out_folder / name / "records.jsonl", (number, number))
    assert space.made() == ["a", "c", "b"]
    write_json(space.out_folder / "a" / "reviews.jsonl", {})
    assert space.made() == ["a", "c", "b"]
    assert [chosen_of(space.made(), given) for given in ("a", None, "gone")] == ["a", "b", "b"]
    assert chosen_of([], "gone") is None


def test_uploads_are_copied_under_plain_names(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "w")
    for name in ("a b.PNG", "a-b.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    folder = keep_images(space, [str(tmp_path / "a b.PNG"), str(tmp_path / "a-b.png")])
    assert sorted(path.name for path in folder.iterdir()) == ["000-a-b.png", "001-a-b.png"]
    assert folder.is_relative_to(space.uploads)
    (tmp_path / "broken.png").write_bytes((tmp_path / "a-b.png").read_bytes()[:40])
    for files, message in (
        (None, "no images were uploaded"),
        ([str(tmp_path / "x.exe")], "x.exe is no image by its name"),
        ([str(tmp_path / "a-b.png"), str(tmp_path / "broken.png")], "broken.png can't be used"),
    ):
        with pytest.raises(UserError, match=message):
            keep_images(space, files)
    assert len(list((space.uploads / "images").iterdir())) == 1


def sent(pixels: np.ndarray) -> dict[str, str]:
    """Paint as the page sends it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"picture": "", "mask": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()}


def test_a_painted_mask_is_white_where_there_is_paint(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "w")
    paint = np.zeros((6, 8, 4), np.uint8)
    paint[1, 2], paint[4, 5], paint[0, 0] = (255, 0, 0, 255), (0, 0, 0, 128), (255, 255, 255, 100)
    path = painted_mask(space, sent(paint))
    assert path is not None
    with Image.open(path) as image:
        assert np.argwhere(np.asarray(image) == 255).tolist() == [[1, 2], [4, 5]]
    for nothing in (None, {}, {"mask": ""}, sent(np.zeros((6, 8, 4), np.uint8))):
        assert painted_mask(space, nothing) is None


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("data:image/png;base64,!", "can't be read"),
        ("data:image/png;base64,AAAA", "can't be read"),
        ("/etc/passwd", "can't be read"),
        (sent(np.full((2, 513, 4), 255, np.uint8))["mask"], "513 x 2 pixels; expected 512 at most"),
    ],
)
def test_a_mask_that_no_page_sends_is_refused(tmp_path: Path, mask: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        painted_mask(Workspace(tmp_path / "w"), {"mask": mask})


def test_the_first_upload_is_painted_on_as_a_model_will_see_it(tmp_path: Path) -> None:
    """The central square, at most 512 pixels wide, upright."""
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = (10, 200, 30)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    shown = to_paint_on([str(tmp_path / "wide.png")])
    assert shown["mask"] == ""
    with Image.open(io.BytesIO(base64.b64decode(shown["picture"].partition(",")[2]))) as image:
        assert image.size == (100, 100)
        assert (np.asarray(image.convert("RGB")) == (10, 200, 30)).all()
    assert to_paint_on(None) == to_paint_on([]) == {"picture": "", "mask": ""}


def test_a_mask_is_brought_to_the_size_of_the_images(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16), np.uint8)
    pixels[4:8, 8:16] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    with Image.open(fitted_mask(tmp_path / "mask.png", (8, 4))) as image:
        expected = np.zeros((4, 8), np.uint8)
        expected[1, 4:8] = 255
        assert (np.asarray(image) == expected).all()


def test_both_languages_say_the_same_things() -> None:
    english, japanese = TEXTS["en"], TEXTS["ja"]
    assert english.keys() == japanese.keys()
    for key in english:
        fields = [
            {field for _, field, _, _ in string.Formatter().parse(text[key]) if field} for text in (english, japanese)
        ]
        assert fields[0] == fields[1], key
        assert english[key].isascii() or key in ("queued", "no_runs", "watchdog_acted")
    code = "".join(path.read_text(encoding="utf-8") for path in PAGES.rglob("*.py"))
    used = set(re.findall(r'text\["([a-z_ ]+)"\]', code))
    assert used <= english.keys()
    states = {"waiting", "running", "done", "stopped", "failed", "broken off"}
    assert {key for key in english.keys() - used if f'"{key}"' not in code} <= states


def test_the_studio_listens_elsewhere_with_a_password_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sadm.cli.main import run

    (tmp_path / "short").write_text("secret\n")
    for options, message in (
        (["--host", "0.0.0.0"], "give a password"),  # noqa: S104
        (["--password-file", str(tmp_path / "gone")], "can't be read"),
        (["--password-file", str(tmp_path / "short")], "has 6 characters; expected at least 8"),
        (["--at-once", "0"], "expected at least 1"),
    ):
        assert run(["studio", "--folder", str(tmp_path / "w"), *options]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "w").exists()
