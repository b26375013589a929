"""What is suggested for what images: recipe, resolution, channels, tiles, augmentation, balance."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from PIL import Image

from parts_photos import encoded, part
from sadm.cli.prepare import recipes
from sadm.data import ImageSet, open_source
from sadm.data.preparation.advice import Advice, Subject, advise, choose_target
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.looking import look
from sadm.data.records import Record
from sadm.training.advising import OWN_SIDES


def fact(image: Image.Image, kind: str = "PNG", **options: object) -> Facts:
    return look(Record("image", lambda: encoded(image, kind, **options)))


def coloured(width: int, height: int, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def advice_for(
    facts: list[Facts], labels: list[str] | None = None, asked: int | None = None, source: str = "in"
) -> Advice:
    classes: list[str | None] = [None] * len(facts) if labels is None else [*labels]
    target = choose_target(facts, classes, asked, recipes("cuda"), source)
    return advise(target, Subject(facts, classes, [True] * len(facts), "my images", "runs/mine"))


def options(advice: Advice) -> dict[str, str]:
    words = shlex.split(advice.command)
    assert words[:2] == ["sadm", "train"]
    return dict(zip(words[2::2], words[3::2], strict=True))


def test_large_colour_photographs_need_no_option() -> None:
    facts = [fact(coloured(256, 256, seed)) for seed in range(8)] * 250
    assert options(advice_for(facts)) == {"--recipe": "folder32", "--data": "my images", "--out": "runs/mine"}


@pytest.mark.parametrize(
    ("side", "recipe", "resolution"),
    [
        (8, "fashion_mnist_8", None),
        (16, "fashion_mnist_16", None),
        (20, "fashion_mnist_16", None),
        (28, "fashion_mnist", 28),
        (33, "folder32", None),
    ],
)
def test_small_images_get_the_recipe_made_for_their_size(side: int, recipe: str, resolution: int | None) -> None:
    given = options(advice_for([fact(coloured(side, side + 1, seed)) for seed in range(8)] * 250))
    small = {8: "fashion_mnist_8", 16: "fashion_mnist_16", 28: "fashion_mnist", 32: "folder32"}
    assert given["--recipe"] == recipe == small[max(known for known in small if known <= side)]
    assert given.get("--data.resolution") == (str(resolution) if resolution else None)


def test_images_smaller_than_any_recipe_keep_a_side_that_the_patch_divides() -> None:
    given = options(advice_for([fact(coloured(7, 6, seed)) for seed in range(8)]))
    assert given["--data.resolution"] == "4"


def test_a_resolution_that_is_asked_for_is_kept() -> None:
    facts = [fact(coloured(300, 300, seed)) for seed in range(8)]
    for asked, recipe in ((16, "fashion_mnist_16"), (64, "folder32")):
        given = options(advice_for(facts, asked=asked))
        assert given["--recipe"] == recipe
        assert given.get("--data.resolution", "16") == str(asked)


def test_sources_with_a_recipe_of_their_own_get_it() -> None:
    facts = [fact(coloured(8, 8, seed)) for seed in range(8)] * 150
    assert options(advice_for(facts, source="digits"))["--recipe"] == "digits"
    opened = open_source("digits")
    assert isinstance(opened, ImageSet)
    assert opened.shape[1:] == (OWN_SIDES["digits"],) * 2


def test_grey_images_in_colour_files_need_one_channel() -> None:
    grey = [fact(part(seed).convert("RGB"), "JPEG", quality=90) for seed in range(4)]
    assert options(advice_for(grey))["--data.channels"] == "1"
    assert "--data.channels" not in options(advice_for([*grey, fact(coloured(96, 96))]))


def test_few_images_are_augmented_and_many_are_not() -> None:
    few = [fact(coloured(64, 64, seed)) for seed in range(40)]
    given = options(advice_for(few))
    assert (given["--augment"], given["--optimiser.batch"]) == ("photos", "16")
    assert "--augment" not in options(advice_for(few * 50))


def test_rare_classes_are_shown_more_often() -> None:
    facts = [fact(coloured(64, 64, seed)) for seed in range(44)]
    assert options(advice_for(facts, ["a"] * 40 + ["b"] * 4)).get("--data.balance") is None
    assert options(advice_for(facts, ["a"] * 41 + ["b"] * 3))["--data.balance"] == "0.5"


def test_scans_are_cut_into_tiles_which_are_what_is_counted() -> None:
    draws = np.random.default_rng(0)
    scans = [fact(Image.fromarray(draws.integers(0, 256, (700, 900), dtype=np.uint8))) for _ in range(4)]
    advice = advice_for(scans)
    assert advice.fit == "tiles"
    assert advice.batch == 64
    assert advice.passes == 10_000 * 64 / (4 * 22 * 29)


def test_images_that_cannot_be_divided_get_no_command() -> None:
    facts = [fact(coloured(64, 64))]
    target = choose_target(facts, [None], None, recipes("cuda"), "in")
    assert advise(target, Subject(facts, [None], [True], "in", "out", why_not="too few")).command == ""
