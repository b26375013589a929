"""What a network is told of images: scales, unknown numbers, masks that follow their images, and what is left out."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sadm.core.conditions import AttributeScale
from sadm.core.errors import UserError
from sadm.data import BatchStream, ImageSet
from sadm.data.told import Told, as_picture, scales_of, standardised

NAN = math.nan


def images(count: int = 10) -> ImageSet:
    """Images that are their own masks, each different, with two attributes of which some values are not known."""
    draws = torch.Generator().manual_seed(3)
    pixels = (torch.rand(count, 1, 4, 6, generator=draws) < 0.5).to(torch.uint8) * 255
    values = torch.rand(count, 2, generator=draws) * torch.tensor([1.0, 100.0])
    values[2, 0] = values[5, 1] = NAN
    names = tuple(str(i) for i in range(count))
    return ImageSet(
        pixels, None, (), names, "told", attributes=values, attribute_names=("a", "b"), masks=pixels.clone()
    )


def told(of: ImageSet, dropout: float = 0.0, seed: int = 0) -> Told:
    return Told(of, ("attributes", "masks"), scales_of(of), dropout, seed)


def test_scales_are_means_and_deviations_of_what_is_known() -> None:
    of = images()
    for number, scale in enumerate(scales_of(of)):
        known = [v for v in of.attributes[:, number].tolist() if not math.isnan(v)]  # type: ignore[index]
        mean = sum(known) / len(known)
        assert scale.mean == pytest.approx(mean, abs=1e-5)
        assert scale.std == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in known) / len(known)), abs=1e-5)


def test_a_number_that_never_varies_has_a_unit() -> None:
    of = dataclasses.replace(images(), attributes=torch.full((10, 2), 7.0))
    assert [(scale.mean, scale.std) for scale in scales_of(of)] == [(7.0, 1.0)] * 2


def test_each_number_comes_with_whether_it_is_known() -> None:
    scales = (AttributeScale("a", 1.0, 2.0), AttributeScale("b", 0.0, 1.0))
    seen = standardised(torch.tensor([[5.0, NAN], [1.0, -3.0], [NAN, NAN]]), scales)
    assert seen.tolist() == [[2.0, 1.0, 0.0, 0.0], [0.0, 1.0, -3.0, 1.0], [0.0] * 4]


def test_masks_follow_mirrored_images() -> None:
    """Here an image is its own mask, so that they must stay equal, whatever is done."""
    of = images()
    stream = BatchStream(of, 8, seed=1, flip=True, told=told(of))
    moved = 0
    for step in range(6):
        batch = stream.batch(step)
        assert batch.cond.image is not None
        assert torch.equal(batch.x0, batch.cond.image)
        moved += int((batch.x0 != of.floats(batch.index)).flatten(1).any(1).sum())
    assert moved > 10
    assert set(as_picture(of.masks).unique().tolist()) == {-1.0, 1.0}  # type: ignore[arg-type]


def test_what_is_left_out_depends_on_seed_step_and_place_alone() -> None:
    of = images()
    whole = BatchStream(of, 9, seed=1, told=told(of, 0.4, seed=5))
    parts = [BatchStream(of, 9, seed=1, rank=rank, world=2, told=told(of, 0.4, seed=5)) for rank in range(2)]
    dropped = torch.zeros(2)
    for step in range(40):
        batch = whole.batch(step)
        shares = [stream.batch(step).cond for stream in parts]
        for name in ("attributes", "image"):
            seen = getattr(batch.cond, name)
            assert torch.equal(torch.cat([getattr(share, name) for share in shares]), seen)
        assert batch.cond.attributes is not None
        assert batch.cond.image is not None
        nothing = (batch.cond.attributes == 0).all(1), (batch.cond.image == 0).flatten(1).all(1)
        dropped += torch.stack([part.sum() for part in nothing])
    share = dropped / (40 * 9)
    assert ((share - 0.4).abs() < 4 * math.sqrt(0.4 * 0.6 / 360)).all()


def test_a_stream_without_it_is_told_of_nothing() -> None:
    cond = BatchStream(images(), 4, seed=1).batch(0).cond
    assert cond.attributes is None
    assert cond.image is None


@pytest.mark.parametrize(
    ("change", "kinds", "message"),
    [
        ({"attributes": None, "attribute_names": ()}, ("attributes",), "has no attributes"),
        ({"attributes": torch.full((10, 2), NAN)}, ("attributes",), "nothing is known of attribute 'a'"),
        ({"masks": None}, ("masks",), "has no masks"),
    ],
)
def test_images_without_it_are_refused(change: dict, kinds: tuple[str, ...], message: str) -> None:
    of = dataclasses.replace(images(), **change)
    with pytest.raises(UserError, match=message):
        Told(of, kinds, scales_of(of) if "attributes" in kinds else (), 0.1, 0)
