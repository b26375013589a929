"""`ImageSet`, `Split`, `to_uint8`: what is checked, and what survives a round trip."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from sadm.core.errors import UserError
from sadm.data import ImageSet, Split, Tile, to_uint8


def image_set(
    labels: list[int] | None = None, classes: tuple[str, ...] = ("ok", "scratch"), count: int = 4
) -> ImageSet:
    pixels = torch.randint(0, 256, (count, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(
        images=pixels,
        labels=None if labels is None else torch.tensor(labels),
        class_names=() if labels is None else classes,
        names=tuple(f"part{i}.png" for i in range(count)),
        source="parts",
    )


def test_properties() -> None:
    images = image_set([0, 1, 1, 0])
    assert (len(images), images.num_classes, images.shape) == (4, 2, (3, 5, 7))
    assert image_set().num_classes == 0


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_out_of_range_names_label_and_image(label: int) -> None:
    with pytest.raises(UserError, match=rf"parts: label {label} of image 'part1\.png'.*from 0 to 1"):
        image_set([0, label, 1, 0])


def test_lengths_and_dtypes_are_checked() -> None:
    images = image_set([0, 1, 1, 0])
    for change, message in [
        ({"images": images.images.float()}, "expected uint8"),
        ({"images": images.images[0]}, "expected uint8"),
        ({"names": ("a",)}, "1 names"),
        ({"labels": torch.tensor([0, 1])}, r"labels are torch.int64 \[2\]; expected int64 \[4\]"),
        ({"labels": torch.zeros(4)}, "labels are torch.float32"),
        ({"labels": None}, "2 class names but no labels"),
    ]:
        with pytest.raises(UserError, match=message):
            dataclasses.replace(images, **change)


def test_subset_keeps_order_labels_and_names() -> None:
    images = image_set([0, 1, 1, 0])
    part = images.subset(torch.tensor([2, 0]))
    assert part.names == ("part2.png", "part0.png")
    assert part.labels is not None
    assert part.labels.tolist() == [1, 0]
    assert torch.equal(part.images, images.images[[2, 0]])
    assert len(image_set().subset(torch.empty(0, dtype=torch.int64))) == 0


def test_floats_are_in_range_and_return_to_the_same_bytes() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    images = ImageSet(images=ramp, labels=None, class_names=(), names=("ramp",), source="ramp")
    x0 = images.floats()
    assert x0.dtype == torch.float32
    assert (x0.min(), x0.max()) == (-1, 1)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_uint8(x0.to(dtype)), ramp)
    assert torch.equal(images.floats(torch.tensor([0, 0])), x0.repeat(2, 1, 1, 1))


def test_to_uint8_rounds_and_clamps() -> None:
    x = torch.tensor([-7.0, -1.0, 0.0, 0.996, 1.0, 3.0]).view(1, 1, 6)
    assert to_uint8(x).flatten().tolist() == [0, 0, 128, 254, 255, 255]
    assert to_uint8(x.half()).dtype == torch.uint8


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_to_uint8_refuses_what_a_diverged_model_yields(value: float) -> None:
    x = torch.zeros(2, 1, 4, 4)
    x[1, 0, 2, 2] = value
    with pytest.raises(UserError, match=r"1 of 32 pixel values are NaN or infinite.*diverged"):
        to_uint8(x)


def test_to_uint8_refuses_bytes_and_vectors() -> None:
    for wrong in (torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(4)):
        with pytest.raises(UserError, match="expected floating point"):
            to_uint8(wrong)


def test_fingerprint_sees_content_and_nothing_else() -> None:
    images = image_set([0, 1, 1, 0])
    same = dataclasses.replace(images, names=("a", "b", "c", "d"), source="elsewhere")
    strided = dataclasses.replace(images, images=images.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
    assert len(images.fingerprint()) == 64
    assert images.fingerprint() == same.fingerprint() == strided.fingerprint()
    pixels = images.images.clone()
    pixels[3, 2, 4, 6] ^= 1
    others = [
        dataclasses.replace(images, images=pixels),
        dataclasses.replace(images, labels=torch.tensor([0, 1, 1, 1])),
        dataclasses.replace(images, class_names=("ok", "dent")),
        dataclasses.replace(images, images=images.images.transpose(2, 3)),
        dataclasses.replace(images, labels=None, class_names=()),
    ]
    assert len({images.fingerprint(), *(other.fingerprint() for other in others)}) == 6


def test_a_split_of_two_shapes_or_class_lists_is_refused() -> None:
    images = image_set([0, 1, 1, 0])
    narrow = dataclasses.replace(images, images=images.images[..., :4])
    with pytest.raises(UserError, match=r"7 x 5 with 3 channels.*4 x 5 with 3 channels.*--data\.resolution"):
        Split(train=images, held_out=narrow)
    with pytest.raises(UserError, match=r"'scratch'.*'dent'"):
        Split(train=images, held_out=dataclasses.replace(images, class_names=("ok", "dent")))


def test_importing_the_package_stays_quick() -> None:
    code = "import sys, sadm.data; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numpy_views_are_accepted() -> None:
    pixels = torch.from_numpy(np.zeros((2, 1, 3, 3), dtype=np.uint8))
    assert ImageSet(images=pixels, labels=None, class_names=(), names=("a", "b"), source="s").fingerprint()


def known_set(**known: object) -> ImageSet:
    """Four grey images of 2 x 3 pixels with whatever else is known of them."""
    pixels = torch.arange(24, dtype=torch.uint8).view(4, 1, 2, 3)
    return ImageSet(pixels, None, (), ("a", "b", "c", "d"), "here", **known)  # type: ignore[arg-type]


def test_a_subset_keeps_what_is_known_of_its_images() -> None:
    images = known_set(
        groups=("x", "x", "y", "z"),
        parts=("train", "", "held_out", "train"),
        attributes=torch.tensor([[0.0], [1.0], [2.0], [3.0]]),
        attribute_names=("severity",),
        masks=torch.arange(24, dtype=torch.uint8).view(4, 1, 2, 3),
        tiles=tuple(Tile("scan", 2 * i, 0, 3, 2) for i in range(4)),
    )
    some = images.subset(torch.tensor([3, 1]))
    assert (some.names, some.groups, some.parts) == (("d", "b"), ("z", "x"), ("train", ""))
    assert some.attributes is not None
    assert some.attributes.tolist() == [[3.0], [1.0]]
    assert torch.equal(some.images, some.masks if some.masks is not None else torch.empty(0))
    assert [tile.left for tile in some.tiles or ()] == [6, 2]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"groups": ("x",)}, "4 images but 1 groups"),
        ({"parts": ("train", "test", "", "")}, "'test' is no part of a split"),
        ({"attributes": torch.zeros(4, 2), "attribute_names": ("severity",)}, r"float32 \[4, 1\]"),
        ({"attributes": torch.zeros(4, 1, dtype=torch.float64), "attribute_names": ("s",)}, "attributes are .*float64"),
        ({"attribute_names": ("severity",)}, "attributes are none"),
        ({"masks": torch.zeros(4, 1, 3, 3, dtype=torch.uint8)}, r"expected uint8 \[4, 1, 2, 3\]"),
    ],
)
def test_what_is_known_must_fit_the_images(known: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        known_set(**known)


def test_the_fingerprint_sees_attributes_but_not_groups() -> None:
    plain = known_set().fingerprint()
    assert known_set(groups=("x",) * 4).fingerprint() == plain
    severe = [known_set(attributes=torch.full((4, 1), s), attribute_names=("s",)).fingerprint() for s in (0.0, 1.0)]
    assert len({plain, *severe}) == 3


def test_the_spread_of_pixels_is_that_of_all_of_them_as_networks_see_them() -> None:
    draws = np.random.default_rng(0)
    pixels = draws.integers(20, 200, (1100, 1, 32, 33), dtype=np.uint8)  # more than is counted at once
    images = ImageSet(torch.from_numpy(pixels), None, (), tuple(map(str, range(1100))), "made up")
    assert images.std() == pytest.approx((pixels / 127.5 - 1).std(ddof=1), rel=1e-7)
    flat = ImageSet(torch.full((3, 1, 2, 2), 7, dtype=torch.uint8), None, (), ("a", "b", "c"), "made up")
    assert flat.std() == pytest.approx(0, abs=1e-9)
