"""Reference statistics: written and read back, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadm.core.errors import UserError
from sadm.evaluation import GaussianFit, frechet_distance, read_statistics, write_statistics

X = np.random.default_rng(0).standard_normal((40, 6))
FIT = GaussianFit.of(X)
GOOD = {"mu": FIT.mean, "sigma": FIT.covariance}


def stored(folder: Path, **arrays: Any) -> Path:
    path = folder / "reference.npz"
    np.savez(path, **arrays)
    return path


def test_what_is_written_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    spatial = GaussianFit.of(X[:, :4] * 2)
    write_statistics(tmp_path / "both.npz", FIT, spatial)
    found = read_statistics(tmp_path / "both.npz")
    assert found.spatial is not None
    assert found.images is None
    for one, other in ((found.fit, FIT), (found.spatial, spatial)):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.covariance, other.covariance)
    write_statistics(tmp_path / "one.npz", FIT)
    assert read_statistics(tmp_path / "one.npz").spatial is None
    assert sorted(np.load(tmp_path / "one.npz").files) == ["mu", "sigma"]


def test_a_batch_as_adm_stores_them(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    single = {f"{key}{end}": value.astype(np.float32) for key, value in GOOD.items() for end in ("", "_s")}
    path = stored(tmp_path, arr_0=images, **single)
    found = read_statistics(path, images=True)
    assert found.images is not None
    assert found.spatial is not None
    np.testing.assert_array_equal(found.images, images)
    assert found.fit.covariance.dtype == np.float64
    assert abs(frechet_distance(found.fit, FIT)) < 1e-6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": FIT.mean}, "has no 'sigma'; it holds mu"),
        ({"arr_0": np.zeros(3)}, "has no 'mu'; it holds arr_0"),
        ({}, "has no 'mu'; it holds nothing"),
        ({**GOOD, "mu_s": FIT.mean}, "has no 'sigma_s'"),
        ({"mu": FIT.mean[:5], "sigma": FIT.covariance}, r"shape \[d, d\], got \(5,\) and \(6, 6\)"),
        ({"mu": FIT.mean, "sigma": FIT.covariance[0]}, r"got \(6,\) and \(6,\)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"got \(0,\)"),
        ({"mu": FIT.mean * np.nan, "sigma": FIT.covariance}, "'mu' holds NaN"),
        ({"mu": FIT.mean, "sigma": FIT.covariance * np.inf}, "'sigma' holds NaN or infinite"),
        ({"mu": FIT.mean, "sigma": X[:6]}, "not symmetric"),
        ({"mu": FIT.mean, "sigma": -FIT.covariance}, "negative on its diagonal"),
        ({"mu": FIT.mean, "sigma": FIT.covariance.astype(complex)}, "must hold real numbers"),
        ({"mu": np.array([{}], dtype=object), "sigma": FIT.covariance}, "pickled content, which could run any code"),
    ],
)
def test_other_contents_are_refused_with_the_path(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = stored(tmp_path, **arrays)
    with pytest.raises(UserError, match=message) as refused:
        read_statistics(path)
    assert str(path) in str(refused.value)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_statistics(tmp_path / "nowhere.npz")
    np.save(tmp_path / "array.npy", X)
    with pytest.raises(UserError, match="holds a single array"):
        read_statistics(tmp_path / "array.npy")
    (tmp_path / "text.npz").write_text("mu, sigma")
    with pytest.raises(UserError, match=r"text\.npz"):
        read_statistics(tmp_path / "text.npz")
    whole = stored(tmp_path, **GOOD).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read .*half\.npz.*Download it again"):
        read_statistics(tmp_path / "half.npz")
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 255
    (tmp_path / "flipped.npz").write_bytes(bytes(broken))
    with pytest.raises(UserError, match=r"cannot read .*flipped\.npz"):
        read_statistics(tmp_path / "flipped.npz")
    with pytest.raises(UserError, match=r"cannot read .*: "):
        read_statistics(tmp_path)


def test_images_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no 'arr_0'"):
        read_statistics(stored(tmp_path, **GOOD), images=True)
    with pytest.raises(UserError, match=r"type uint8, got \(2, 3, 8, 8\) of type float64"):
        read_statistics(stored(tmp_path, **GOOD, arr_0=np.zeros((2, 3, 8, 8))), images=True)
