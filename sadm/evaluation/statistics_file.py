"""Reference statistics in the `.npz` forms that are passed around.

Most packages store ``mu`` and ``sigma``. ADM's reference batches (Dhariwal & Nichol 2021, arXiv 2105.05233) also hold the same of
spatial features, ``mu_s`` and ``sigma_s`` (see `sadm.evaluation.spatial`), and images in ``arr_0``.
"""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import numpy as np

from sadm.core.errors import UserError
from sadm.core.files import write_atomically
from sadm.core.unpacking import read_member
from sadm.evaluation.frechet import GaussianFit

_ASYMMETRY = 1e-5  # relative to the largest entry; statistics in single precision are off by less


@dataclasses.dataclass(frozen=True)
class ReferenceStatistics:
    """What a file held.

    Attributes:
        fit: of pooled features.
        spatial: of spatial features, where they were stored.
        images: [N, H, W, C], uint8, where they were stored.
    """

    fit: GaussianFit
    spatial: GaussianFit | None = None
    images: np.ndarray | None = None


def read_statistics(path: str | os.PathLike[str], images: bool = False) -> ReferenceStatistics:
    """Reads reference statistics; nothing pickled is ever loaded.

    Args:
        path: an `.npz` file.
        images: whether ``arr_0`` is wanted too; it may take gigabytes.

    Raises:
        UserError: no such file, another format, missing keys, wrong shapes, pickled content, values that are not finite, or a
            matrix that is not symmetric.
    """
    path = Path(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UserError(f"{path} holds a single array; expected an .npz archive with 'mu' and 'sigma'.")
        with loaded as archive:
            keys = set(archive.files)
            return ReferenceStatistics(
                fit=_fit(archive, path, "mu", "sigma"),
                spatial=_fit(archive, path, "mu_s", "sigma_s") if keys & {"mu_s", "sigma_s"} else None,
                images=_images(archive, path) if images else None,
            )
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except UserError:
        raise
    except Exception as error:  # of a damaged zip or header, NumPy and zipfile raise almost any type
        if "pickle" not in str(error) and "Python objects" not in str(error):
            raise UserError(f"cannot read {path}: {error}. Download it again.") from error
        raise UserError(
            f"{path} holds pickled content, which could run any code and is not loaded. Store its 'mu' and 'sigma' as plain "
            "arrays with numpy.savez."
        ) from error


def write_statistics(path: str | os.PathLike[str], fit: GaussianFit, spatial: GaussianFit | None = None) -> None:
    """Writes statistics in the form that `read_statistics` and other packages read.

    Raises:
        UserError: the file can't be written.
    """
    content = io.BytesIO()
    if spatial is None:
        np.savez(content, mu=fit.mean, sigma=fit.covariance)
    else:
        np.savez(content, mu=fit.mean, sigma=fit.covariance, mu_s=spatial.mean, sigma_s=spatial.covariance)
    write_atomically(path, content.getvalue())


def _fit(archive: np.lib.npyio.NpzFile, path: Path, mean_key: str, covariance_key: str) -> GaussianFit:
    mean, covariance = _array(archive, path, mean_key), _array(archive, path, covariance_key)
    mean = mean.reshape(-1) if mean.ndim == 2 and 1 in mean.shape else mean
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or len(mean) == 0:
        raise UserError(
            f"{path}: expected '{mean_key}' of shape [d] and '{covariance_key}' of shape [d, d], got {mean.shape} and "
            f"{covariance.shape}."
        )
    for key, values in ((mean_key, mean), (covariance_key, covariance)):
        if values.dtype.kind not in "fiu":
            raise UserError(f"{path}: '{key}' must hold real numbers, but its type is {values.dtype}.")
        if not np.isfinite(values).all():
            raise UserError(f"{path}: '{key}' holds NaN or infinite values. Compute the statistics again.")
    covariance = covariance.astype(np.float64)
    largest = float(np.abs(covariance).max())
    if np.abs(covariance - covariance.T).max() > _ASYMMETRY * largest or np.diag(covariance).min() < 0:
        raise UserError(f"{path}: '{covariance_key}' is no covariance: not symmetric, or negative on its diagonal.")
    return GaussianFit(mean.astype(np.float64), (covariance + covariance.T) / 2)


def _images(archive: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    values = _array(archive, path, "arr_0")
    if values.ndim != 4 or values.dtype != np.uint8 or values.shape[-1] not in (1, 3):
        raise UserError(
            f"{path}: expected images 'arr_0' [N, H, W, C] of type uint8, got {values.shape} of type {values.dtype}."
        )
    return values


def _array(archive: np.lib.npyio.NpzFile, path: Path, key: str) -> np.ndarray:
    if key not in archive.files:
        raise UserError(f"{path} has no '{key}'; it holds {', '.join(sorted(archive.files)) or 'nothing'}.")
    return read_member(archive, key)
