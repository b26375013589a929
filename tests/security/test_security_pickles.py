"""Pickles that would leave a mark, planted wherever a file can be handed to us: none runs, each is refused in words."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadm.cli.main import main
from sadm.core.errors import UserError
from sadm.data import open_source
from sadm.evaluation.statistics_file import read_statistics
from sadm.models import LatentCodec
from sadm.models.weights.files import read_weights
from sadm.models.weights.folders import tensors_in
from sadm.training.checkpoint import save_checkpoint
from sadm.training.model_folder import load_model


class Planted:
    """Unpickling this makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What a pickle that ran would leave."""
    return tmp_path / "it ran"


def objects(mark: Path) -> np.ndarray:
    array = np.empty(3, object)
    array[:] = [Planted(mark)] * 3
    return array


def test_the_plant_works(mark: Path) -> None:
    pickle.loads(pickle.dumps(Planted(mark)))  # noqa: S301 - shows that it would run
    assert mark.exists()


def weights(path: Path, content: Any, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.pth", "a.ckpt", "a.safetensors"])
def test_weights(name: str, legacy: bool, tmp_path: Path, mark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights(tmp_path / name, {"model": Planted(mark)}, legacy)
    with pytest.raises(UserError, match=r"holds more than tensors: it asks for|cut short or no safetensors"):
        read_weights(path)
    with pytest.raises(SystemExit, match="2"):
        main(["convert", str(path), "--out", str(tmp_path / "out")])
    assert "Traceback" not in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_torch_did_not_write(protocol: int, tmp_path: Path, mark: Path) -> None:
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"model": Planted(mark)}, protocol))
    with pytest.raises(UserError, match=r"is a pickle that torch.save did not write|holds more than tensors|text file"):
        read_weights(plain)
    assert not mark.exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("protocol", [2, 3])
def test_what_torch_wrote_with_another_protocol_is_read(protocol: int, archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2)}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    assert torch.equal(read_weights(path)["w"], torch.ones(2))


class BuiltIn:
    """Unpickling this calls a function that has no module's name."""

    def __reduce__(self) -> Any:
        return eval, ("1",)


def test_a_built_in_function_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds more than tensors: it asks for eval") as caught:
        read_weights(weights(tmp_path / "a.pt", BuiltIn()))
    assert "weights_only" not in str(caught.value)  # torch advises to load such a file all the same


def test_folders_of_diffusers(tmp_path: Path, mark: Path) -> None:
    weights(tmp_path / "diffusion_pytorch_model.bin", {"a": Planted(mark)})
    with pytest.raises(UserError, match="holds more than tensors"):
        tensors_in(tmp_path)
    config = {"_class_name": "AutoencoderKL", "block_out_channels": [8], "norm_num_groups": 8, "latent_channels": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="holds no AutoencoderKL that diffusers can load"):
        LatentCodec.from_folder(tmp_path)
    index = {"weight_map": {"a": "../../diffusion_pytorch_model.bin"}}
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="holds more than tensors"):  # by name, beside the index: never outside
        tensors_in(tmp_path)
    assert not mark.exists()


def test_our_own_folders(tmp_path: Path, mark: Path) -> None:
    from benchmarks.fuzz.files import make_model
    from sadm.training.checkpoint import load_checkpoint

    model = tmp_path / "model"
    model.mkdir()
    make_model(model)
    load_model(model)
    weights(model / "model.safetensors", Planted(mark))
    with pytest.raises(UserError, match="can't be loaded"):
        load_model(model)
    save_checkpoint(tmp_path / "step-1", {"a": torch.ones(1)})
    weights(tmp_path / "step-1" / "state.safetensors", Planted(mark))
    with pytest.raises(UserError, match="truncated or altered"):
        load_checkpoint(tmp_path / "step-1")
    assert not mark.exists()


def test_arrays(tmp_path: Path, mark: Path) -> None:
    np.save(tmp_path / "images.npy", objects(mark), allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=objects(mark))
    np.savez(tmp_path / "b.npz", images=np.zeros((2, 4, 4), np.uint8), labels=objects(mark)[:2])
    np.savez(tmp_path / "c.npz", mu=objects(mark), sigma=objects(mark))
    for name in ("images.npy", "a.npz", "b.npz"):
        with pytest.raises(UserError, match="holds Python objects, which could run any program"):
            open_source(str(tmp_path / name))
    with pytest.raises(UserError, match="holds pickled content"):
        read_statistics(tmp_path / "c.npz")
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "labels.npy").write_bytes(pickle.dumps(Planted(mark)))
    with pytest.raises(UserError, match="Python objects|damaged NumPy file"):
        open_source(str(tmp_path / "images.npy"))
    assert not mark.exists()


def _zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(("name", "write"), [("a.zip", _zip), ("a.tar", _tar)])
def test_members_of_archives(
    name: str, write: Callable[[Path, dict[str, bytes]], None], tmp_path: Path, mark: Path
) -> None:
    from benchmarks.fuzz.files import picture

    planted = pickle.dumps(Planted(mark))
    buffer = io.BytesIO()
    torch.save(Planted(mark), buffer)
    others = {"0.pyd": planted, "0.pickle": planted, "0.pkl": planted, "0.pth": buffer.getvalue(), "0.npy": planted}
    write(tmp_path / name, {"0.png": picture("PNG"), **others, "1.png": picture("PNG")})
    images = open_source(str(tmp_path / name))
    assert len(images) == 2  # type: ignore[arg-type]
    write(tmp_path / name, {"0.png": planted, "1.png": buffer.getvalue()})
    with pytest.raises(UserError, match="not an image"):
        open_source(str(tmp_path / name))
    assert not mark.exists()


def test_rows_and_folders(tmp_path: Path, mark: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    planted = pickle.dumps(Planted(mark))
    rows = [{"image": {"bytes": planted, "path": None}}] * 2
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="not an image"):
        open_source(str(tmp_path / "a.parquet"))
    for name in ("a.png", "b.jpg", "c.pkl"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_bytes(planted)
    with pytest.raises(UserError, match="not an image"):
        open_source(str(tmp_path / "images"))
    assert not mark.exists()
