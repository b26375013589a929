"""The surfaces: repeatable pictures, physical properties of materials and defects, exact masks, settings in the word."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sadm.core.errors import UserError
from sadm.data import MATERIALS, SURFACE_CLASSES, ImageSet, load_split, open_source, surface
from sadm.data.surfaces.noise import double, octaves, streaks
from sadm.data.surfaces.scene import Frame, Light
from sadm.data.surfaces.source import parse_settings
from sadm.data.surfaces.strokes import slopes, stamp

DEFECTS = SURFACE_CLASSES[1:]


def opened(word: str, **given: int) -> ImageSet:
    images = open_source(word, **given)
    assert isinstance(images, ImageSet)
    return images


def pooled(picture: np.ndarray, factor: int) -> np.ndarray:
    height, width = picture.shape
    return picture.reshape(height // factor, factor, width // factor, factor).mean((1, 3))


def digest(index: int) -> str:
    made = surface(index, seed=5, size=40)
    return hashlib.sha256(made.image.tobytes() + made.mask.tobytes()).hexdigest()


def test_a_picture_depends_on_seed_and_index_alone() -> None:
    few, many = opened("surfaces:count=3,seed=5,size=40"), opened("surfaces:count=9,seed=5,size=40")
    assert torch.equal(few.images, many.images[:3])
    assert few.masks is not None
    assert many.masks is not None
    assert torch.equal(few.masks, many.masks[:3])
    for index in reversed(range(9)):
        alone = surface(index, seed=5, size=40)
        assert np.array_equal(alone.image, many.images[index].numpy())
        assert np.array_equal(alone.mask, many.masks[index].numpy())
    assert len({digest(index) for index in range(9)}) == 9
    assert not np.array_equal(surface(0, seed=5).image, surface(0, seed=6).image)


def test_another_process_and_threads_make_the_same_pictures() -> None:
    code = (
        "import hashlib; from sadm.data import surface\n"
        "for i in (4, 1):\n"
        "  made = surface(i, seed=5, size=40)\n"
        "  print(hashlib.sha256(made.image.tobytes() + made.mask.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [digest(4), digest(1)]
    threaded = opened("surfaces:count=6,size=128")  # so large that threads make them
    assert all(np.array_equal(threaded.images[i].numpy(), surface(i, size=128).image) for i in range(6))


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_mask_is_exactly_what_the_defect_changed(material: str, defect: str) -> None:
    shapes = [(16, 1, 0.01), ((40, 72), 3, 0.5), (64, 1, 1.0), ((90, 50), 1, None)]
    for index, (size, channels, severity) in enumerate(shapes):
        given = {"size": size, "channels": channels, "material": material}
        bad = surface(index, defect=defect, severity=severity, **given)
        good = surface(index, defect="good", **given)
        assert bad.image.shape == good.image.shape == (channels, *bad.mask.shape[1:])
        differs = (bad.image != good.image).any(0)
        assert np.array_equal(bad.mask[0], np.where(differs, 255, 0))
        assert differs.any()
        assert differs.mean() < 0.5
        assert not good.mask.any()
        assert (good.severity, good.defect, good.label) == (0, "good", 0)
        assert 0 < bad.severity <= 1
        assert bad.label == SURFACE_CLASSES.index(defect)


def test_a_mask_shows_what_can_be_seen() -> None:
    """A defect changes its pixels by more than rounding does, and leaves no speckled mask."""
    for index in range(30):
        bad, good = surface(index, defects=1.0), surface(index, defect="good")
        marked = bad.mask[0] > 0
        change = np.abs(bad.image[0].astype(float) - good.image[0])[marked]
        assert change.mean() > 2
        pieces, count = ndimage.label(marked, np.ones((3, 3)))
        largest = max(ndimage.sum_labels(marked, pieces, range(1, count + 1)))
        assert largest > 0.4 * marked.sum()


def anisotropy(picture: np.ndarray) -> tuple[float, float]:
    """Ratio of the principal moments of the power spectrum, and the direction of the larger one from the rows' (radians)."""
    side = len(picture)
    window = np.hanning(side)
    detail = ndimage.gaussian_filter(picture, 1) - ndimage.gaussian_filter(
        picture, side / 10
    )  # less the sensor's noise
    power = np.abs(np.fft.fft2(detail * window[:, None] * window)) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    yy, xx, xy = ((power * product).sum() / power.sum() for product in (fy * fy, fx * fx, fy * fx))
    values, vectors = np.linalg.eigh([[yy, xy], [xy, xx]])
    return values[1] / values[0], math.atan2(abs(vectors[0, 1]), abs(vectors[1, 1]))


def test_brushed_metal_is_streaked_along_rows_or_columns_and_castings_are_not() -> None:
    metals = [
        anisotropy(surface(i, size=128, material="metal", defect="good").image[0].astype(float)) for i in range(16)
    ]
    assert np.median([ratio for ratio, _ in metals]) > 10
    directions = np.array([direction for _, direction in metals])  # of the fastest change, that is across the streaks
    assert (np.minimum(directions, math.pi / 2 - directions) < 0.2).all()
    assert 0 < (directions < math.pi / 4).sum() < 16
    castings = [
        anisotropy(surface(i, size=128, material="casting", defect="good").image[0].astype(float))[0] for i in range(8)
    ]
    # A relief without direction, lit from one side, shows its slopes in that direction: cos^4 against cos^2 sin^2, 3 to 1.
    assert np.median(castings) == pytest.approx(3, rel=0.2)


def strongest_repeat(picture: np.ndarray) -> float:
    """Highest correlation of a picture with itself, moved by 4 to 20 pixels."""
    detail = picture - ndimage.gaussian_filter(picture, 8)
    window = np.hanning(len(picture))
    detail = detail * window[:, None] * window
    correlation = np.fft.fftshift(np.fft.ifft2(np.abs(np.fft.fft2(detail)) ** 2).real)
    middle = len(picture) // 2
    y, x = np.ogrid[: len(picture), : len(picture)]
    distance = np.hypot(y - middle, x - middle)
    local = correlation == ndimage.maximum_filter(correlation, 5)
    peaks = correlation[local & (distance >= 4) & (distance <= 20)]
    return float(peaks.max(initial=0) / correlation[middle, middle])


def test_fabric_repeats_and_castings_do_not() -> None:
    repeats = {
        material: [
            strongest_repeat(surface(i, material=material, defect="good").image[0].astype(float)) for i in range(12)
        ]
        for material in ("fabric", "casting")
    }
    assert np.median(repeats["fabric"]) > 0.4
    assert min(repeats["fabric"]) > 0.15
    assert np.median(repeats["fabric"]) > 3 * np.median(repeats["casting"])


@pytest.mark.parametrize("material", ["fabric", "casting"])
def test_a_dent_is_dark_on_the_side_of_the_light(material: str) -> None:
    agree = 0
    for index in range(20):
        dented = surface(index, material=material, defect="dent", severity=0.8)
        whole = surface(index, material=material, defect="good")
        change = dented.image[0].astype(float) - whole.image[0]
        centres = [np.array(ndimage.center_of_mass(np.maximum(sign * change, 0))) for sign in (1, -1)]
        down, right = centres[0] - centres[1]  # from the darkened to the brightened side
        assert math.hypot(*dented.light) == pytest.approx(1)
        agree += right * dented.light[0] + down * dented.light[1] < 0  # the far wall of a hollow faces the lamp
    assert agree >= 19


def test_a_scratch_has_a_bright_and_a_dark_edge() -> None:
    both = 0
    for index in range(12):
        given = {"size": 256, "material": "casting"}
        change = surface(index, defect="scratch", severity=0.9, **given).image[0].astype(float)
        change -= surface(index, defect="good", **given).image[0]
        both += (change > 8).sum() > 30 and (change < -8).sum() > 30
    assert both >= 7  # strokes along the light have no dark side; some are full of dirt


def test_cracks_and_holes_have_a_dark_core() -> None:
    for defect, material in (("crack", "casting"), ("crack", "metal"), ("missing", "metal"), ("missing", "casting")):
        for index in range(4):
            made = surface(index, size=256, defect=defect, material=material, severity=0.9)
            levels = made.image[0].astype(float)
            core = np.percentile(levels[made.mask[0] > 0], 3)
            assert core < 0.6 * np.median(levels[made.mask[0] == 0])


@pytest.mark.parametrize("defect", DEFECTS)
def test_severity_makes_a_defect_larger(defect: str) -> None:
    areas = np.array(
        [
            [(surface(i, defect=defect, severity=severity).mask > 0).mean() for severity in (0.02, 0.35, 0.7, 1.0)]
            for i in range(12)
        ]
    )
    assert (np.diff(areas.mean(0)) > 0).all()
    assert (areas[:, 3] > areas[:, 0]).all()


def test_severity_makes_a_stain_stronger() -> None:
    weak, strong = (
        np.mean(
            [
                np.abs(made.image[0].astype(float) - surface(i, defect="good").image[0])[made.mask[0] > 0].mean()
                for i in range(12)
                for made in [surface(i, defect="stain", severity=severity)]
            ]
        )
        for severity in (0.2, 0.9)
    )
    assert strong > 1.5 * weak


def test_classes_and_materials_are_drawn_as_asked() -> None:
    count, share = 400, 0.4
    made = [surface(i, seed=1, size=16, defects=share) for i in range(count)]

    def check(hits: int, probability: float) -> None:
        assert abs(hits - count * probability) < 4 * math.sqrt(count * probability * (1 - probability))

    for defect in DEFECTS:
        check(sum(one.defect == defect for one in made), share / len(DEFECTS))
    check(sum(one.defect == "good" for one in made), 1 - share)
    for material in MATERIALS:
        check(sum(one.material == material for one in made), 1 / len(MATERIALS))
    severities = np.array([one.severity for one in made if one.defect != "good"])
    assert abs(severities.mean() - 0.5) < 4 * math.sqrt(1 / 12 / len(severities))
    assert 0 < severities.min() < 0.1 < 0.9 < severities.max() <= 1


def test_a_larger_share_keeps_the_defects_of_a_smaller_one() -> None:
    damaged = [
        {i for i in range(40) if surface(i, size=16, defects=share).defect != "good"} for share in (0, 0.3, 0.7, 1)
    ]
    assert damaged[0] == set()
    assert damaged[1] < damaged[2] < damaged[3] == set(range(40))


@pytest.mark.parametrize("material", ["metal", "casting"])
def test_another_size_samples_the_same_scene(material: str) -> None:
    for index in range(5):
        small, large = (
            surface(index, size=size, material=material, defect="stain", severity=0.9) for size in (64, 256)
        )
        assert np.corrcoef(small.image.ravel(), pooled(large.image[0], 4).ravel())[0, 1] > 0.8
        a, b = small.mask[0] > 0, pooled(large.mask[0], 4) > 127
        assert (a & b).sum() > 0.7 * (a | b).sum()
        assert small.severity == large.severity


def test_colour_is_a_tint_of_the_grey_picture() -> None:
    saturated = 0
    for index in range(12):
        grey, colour = (surface(index, channels=channels, defect="good") for channels in (1, 3))
        luminance = np.tensordot([0.299, 0.587, 0.114], colour.image.astype(float), 1)
        assert np.abs(luminance - grey.image[0]).mean() < 4
        saturated += np.ptp(colour.image.mean((1, 2))) > 8
    assert saturated >= 3


def test_simple_features_find_defects_but_not_all() -> None:
    """Local contrasts at three scales tell good from bad clearly better than chance, and are no oracle."""
    images = opened("surfaces:count=240,material=metal")
    pixels, bad = images.images[:, 0].double().numpy(), (images.labels > 0).numpy()
    features = []
    for sigma in (1, 2, 4):
        detail = ndimage.gaussian_filter(pixels, (0, sigma, sigma)) - ndimage.gaussian_filter(
            pixels, (0, 3 * sigma, 3 * sigma)
        )
        low, lower, q1, q3, upper, high = np.percentile(
            detail.reshape(len(pixels), -1), [0, 0.5, 25, 75, 99.5, 100], axis=1
        )
        features += [low / (q3 - q1), lower / (q3 - q1), upper / (q3 - q1), high / (q3 - q1)]
    table = np.log(np.abs(np.stack(features, 1)))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    scores = cross_val_predict(classifier, table, bad, cv=4, method="predict_proba")[:, 1]
    assert 0.65 < roc_auc_score(bad, scores) < 0.95


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"index": -1}, "index is -1; expected a whole number of at least 0"),
        ({"index": 1.5}, "index is 1.5; expected a whole number"),
        ({"seed": "a"}, "seed is 'a'; expected a whole number"),
        ({"size": 15}, "size is 15; expected a whole number from 16 to 8192"),
        ({"size": (64, 9000)}, "size is 9000"),
        ({"size": (64, 64, 1)}, r"expected a side in pixels, or \(height, width\)"),
        ({"material": "Metall"}, "expected one of metal, fabric, casting. Did you mean 'metal'"),
        ({"defect": "scratches"}, "Did you mean 'scratch'"),
        ({"severity": 0}, "severity is 0; expected a number above 0 and at most 1"),
        ({"severity": float("nan")}, "severity is nan"),
        ({"channels": 4}, "channels is 4; expected 1"),
        ({"defects": 1.01}, "defects is 1.01; expected a share from 0 to 1"),
    ],
)
def test_arguments_out_of_range(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        surface(**{"index": 0, **given})


def test_indices_of_numpy_and_torch() -> None:
    assert np.array_equal(surface(np.int64(3), size=16).image, surface(3, size=16).image)
    assert np.array_equal(surface(torch.tensor(3), size=16).image, surface(3, size=16).image)


# The source


def test_the_source_knows_labels_masks_and_attributes() -> None:
    images = opened("surfaces:count=30,seed=2,material=casting,size=24,defects=0.8")
    assert images.shape == (1, 24, 24)
    assert images.class_names == ("good", "scratch", "dent", "stain", "crack", "missing")
    assert images.attribute_names == ("material_metal", "material_fabric", "material_casting", "severity")
    assert images.names[7] == "surfaces/7"
    assert images.labels is not None
    assert images.attributes is not None
    assert images.masks is not None
    assert torch.equal(images.attributes[:, :3], torch.tensor([0.0, 0, 1]).expand(30, 3))
    good = images.labels == 0
    assert 0 < good.sum() < 15
    assert torch.equal(images.attributes[:, 3] == 0, good)
    assert torch.equal(images.masks.flatten(1).any(1), ~good)


def test_resolution_and_channels_come_from_the_options() -> None:
    assert opened("surfaces:count=2").shape == (1, 64, 64)
    assert opened("surfaces:count=2", resolution=32, channels=3).shape == (3, 32, 32)
    assert opened("surfaces:count=2,size=32", resolution=32).shape == (1, 32, 32)
    with pytest.raises(UserError, match="size=48 contradicts --data.resolution 32, .*Give one of them"):
        opened("surfaces:count=2,size=48", resolution=32)
    with pytest.raises(UserError, match="--data.resolution is 8; expected a side from 16"):
        opened("surfaces:count=2", resolution=8)


def test_the_source_reports_progress_and_can_be_split() -> None:
    seen: list[tuple[int, int]] = []
    split = load_split(
        "surfaces:count=40,size=16", held_out=0.25, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 40) for i in range(1, 41)]
    assert (len(split.train), len(split.held_out)) == (30, 10)
    assert split.held_out.masks is not None


def test_a_folder_called_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "surfaces").mkdir()
    for i in range(2):
        Image.new("L", (4, 4), i).save(tmp_path / "surfaces" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    assert opened("./surfaces").shape == (1, 4, 4)
    assert opened("surfaces:count=2,size=16").shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("surfaces:cuont=3", "no setting 'cuont' among count, seed, material, size, defects. Did you mean 'count'"),
        ("surfaces:", "no setting ''"),
        ("surfaces:count=3,", "no setting ''"),
        ("surfaces:count", "count is nothing; expected a whole number"),
        ("surfaces:count=many", "count is 'many'; expected a whole number, such as 500. Example: surfaces:count=500"),
        ("surfaces:count=1", "'surfaces:count=1': count is 1; expected at least 2 images"),
        ("surfaces:seed=1,seed=2", "gives seed twice"),
        ("surfaces:material=wood", "material is 'wood'; expected one of metal, fabric, casting"),
        ("surfaces:size=9", "size is 9; expected a side from 16 to 8192 pixels"),
        ("surfaces:defects=30", "defects is 30.0; expected a share from 0 to 1, such as 0.3"),
        ("surfaces:defects=nan", "defects is nan; expected a share"),
        (
            "surfaces:count=9999999999",
            "9999999999 images of 64 x 64 pixels with their masks take 8.19e.04 GB; this machine",
        ),
        ("surface:count=3", "Did you mean 'surfaces'"),
    ],
)
def test_settings_that_are_wrong(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(word)


@given(
    count=st.integers(2, 10**6),
    seed=st.integers(-(2**40), 2**40),
    material=st.sampled_from(MATERIALS),
    size=st.integers(16, 8192),
    defects=st.floats(0, 1),
    space=st.sampled_from(["", " "]),
)
def test_settings_are_read_as_written(
    count: int, seed: int, material: str, size: int, defects: float, space: str
) -> None:
    word = (
        f"surfaces:count={count},{space}seed={seed},{space}material={space}{material},size={size},defects={defects!r}"
    )
    read = parse_settings(word)
    assert (read.count, read.seed, read.material, read.size, read.defects) == (count, seed, material, size, defects)


# The tools


def corner_cutting(values: list[float]) -> list[float]:
    """Chaikin's subdivision of an open line whose ends stay, written as a loop."""
    result = []
    for i, value in enumerate(values):
        before, after = values[max(i - 1, 0)], values[min(i + 1, len(values) - 1)]
        result += [0.75 * value + 0.25 * before, 0.75 * value + 0.25 * after]
    return result


@settings(max_examples=30)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 99))
def test_doubling_cuts_corners(rows: int, columns: int, seed: int) -> None:
    field = np.random.default_rng(seed).normal(size=(rows, columns))
    np.testing.assert_allclose(double(field, 0), np.stack([corner_cutting(list(c)) for c in field.T], 1), atol=1e-12)
    np.testing.assert_allclose(double(field, 1), np.stack([corner_cutting(list(r)) for r in field], 0), atol=1e-12)


def test_octaves_have_unit_variance_whatever_the_size_and_the_roughness() -> None:
    fine = {}
    for roughness in (0.4, 1.0):
        for height, width in ((32, 32), (96, 130)):
            fields = [octaves(np.random.default_rng(i), Frame(height, width), 3, roughness) for i in range(20)]
            assert all(field.shape == (height, width) for field in fields)
            assert np.mean([np.mean(field**2) for field in fields]) == pytest.approx(1, abs=0.2)
        fine[roughness] = np.mean([np.mean((field - ndimage.gaussian_filter(field, 2)) ** 2) for field in fields])
    assert fine[1.0] > 3 * fine[0.4]


def test_octaves_and_streaks_of_a_larger_picture_are_the_same_field() -> None:
    def correlation(make: Callable[[Frame], np.ndarray]) -> float:
        small, large = make(Frame(64, 64)), make(Frame(256, 256))
        return float(np.corrcoef(small.ravel(), pooled(large, 4).ravel())[0, 1])

    assert correlation(lambda frame: octaves(np.random.default_rng(1), frame, 2, 0.6)) > 0.9
    # All octaves of streaks are equally strong, the finest, which are cut off or averaged away, too.
    assert correlation(lambda frame: streaks(np.random.default_rng(2), frame, 0.4, -0.05)) > 0.7


def test_a_stamp_is_the_area_of_a_disc_and_the_strongest_stays() -> None:
    window = (slice(10, 50), slice(20, 70))
    points, radius, value = np.array([[30.2, 44.7], [31.0, 47.0]]), np.array([6.0, 2.0]), np.array([0.5, 1.0])
    drawn = stamp(points, radius, value, window)
    y, x = np.mgrid[10:50, 20:70] + 0.5
    naive = np.zeros((40, 50))
    for (py, px), r, v in zip(points, radius, value, strict=True):
        naive = np.maximum(naive, v * np.clip(r + 0.5 - np.hypot(y - py, x - px), 0, 1))
    np.testing.assert_allclose(drawn, naive, atol=1e-12)
    alone = stamp(points[:1], radius[:1], np.ones(1), window)
    assert alone.sum() == pytest.approx(math.pi * 6**2, rel=0.02)
    assert not stamp(points, radius, value, (slice(100, 110), slice(0, 10))).any()


def test_slopes_of_a_plane_and_its_light() -> None:
    y, x = np.mgrid[:9, :12].astype(float)
    down, right = slopes(0.3 * y - 0.2 * x)
    np.testing.assert_allclose(down, 0.3)
    np.testing.assert_allclose(right, -0.2)
    light = Light(0.6, 0.8, 0.5)
    normal = np.array([0.2, -0.3, 1.0])  # (x, y, z)
    towards = np.array([0.6 * math.cos(0.5), 0.8 * math.cos(0.5), math.sin(0.5)])
    expected = normal @ towards / np.linalg.norm(normal) / math.sin(0.5)
    np.testing.assert_allclose(light.lambert(down, right), expected)
    assert light.lambert(np.array(5.0), np.array(5.0)) == 0  # in its own shadow
