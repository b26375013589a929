"""Small valid files, from which inputs are made."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from sadm.core.files import sha256_of_file
from sadm.core.marking import Mark, to_xmp, write_marked_png
from sadm.data.cache.manifest import Manifest, Shard, TensorKind, shard_file
from sadm.models import DiT
from sadm.models.weights import SchedulerFacts
from sadm.models.weights.naming import to_diffusers_state_dict
from sadm.training.checkpoint import CHECKSUMS, TENSORS, VALUES, save_checkpoint
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import save_model
from sadm.training.spec import ModelSpec

KIND = "latents"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


def picture(kind: str, mode: str = "RGB") -> bytes:
    """An encoded image of 6x5 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., : len(mode)].squeeze() if len(mode) > 1 else pixels[..., 0]).save(buffer, kind)
    return buffer.getvalue()


def pictures(folder: Path) -> list[bytes]:
    """Every format that is read; a TIFF with two pages, a PNG with text and EXIF data, a compressed TIFF."""
    found = [picture(kind) for kind in _FORMATS] + [picture("PNG", "RGBA"), picture("PNG", "L")]
    first = Image.open(io.BytesIO(picture("PNG")))
    exif = Image.Exif()
    exif[0x0112] = 6
    for options in (
        {"format": "TIFF", "save_all": True, "append_images": [first]},
        {"format": "TIFF", "compression": "tiff_lzw"},
        {"format": "PNG", "exif": exif},
        {"format": "JPEG", "exif": exif, "progressive": True},
        {"format": "GIF", "save_all": True, "append_images": [first]},
    ):
        buffer = io.BytesIO()
        first.save(buffer, **options)
        found.append(buffer.getvalue())
    return found


def idx_images(folder: Path) -> list[bytes]:
    """An array of images, plain and compressed."""
    plain = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))
    return [plain, gzip.compress(plain)]


def _saved(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def npy(folder: Path) -> list[bytes]:
    """Arrays of images."""
    images = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    arrays = [images, images / 255, np.asfortranarray(images), images[..., 0], images.astype(">f2") / 255]
    return [_saved(lambda buffer, array=array: np.save(buffer, array)) for array in arrays]


def npz(folder: Path) -> list[bytes]:
    """Images, labels and names of classes, plain and compressed."""
    arrays: dict[str, Any] = {
        "images": np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3),
        "labels": np.array([0, 1]),
        "class_names": np.array(["a", "b"]),
    }
    writers = (np.savez, np.savez_compressed)
    return [_saved(lambda buffer, write=write: write(buffer, **arrays)) for write in writers]


def statistics(folder: Path) -> list[bytes]:
    """Mean and covariance."""
    return [_saved(lambda buffer: np.savez(buffer, mu=np.zeros(3), sigma=np.eye(3)))]


def zips(folder: Path) -> list[bytes]:
    """Two images in one folder, in three kinds of compression."""
    found = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            archive.writestr("a/x.png", picture("PNG"))
            archive.writestr("a/良.png", picture("PNG", "L"))
        found.append(buffer.getvalue())
    return found


def tars(folder: Path) -> list[bytes]:
    """Two samples, in two formats of tar."""
    found = []
    members = {"0.png": picture("PNG"), "0.cls": b"3", "1.png": picture("PNG"), "1.json": b'{"cls": 4, "size": 1.5}'}
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name if kind == tarfile.PAX_FORMAT else "d" * 120 + name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        found.append(buffer.getvalue())
    return found


def parquets(folder: Path) -> list[bytes]:
    """Three rows."""
    import pyarrow
    import pyarrow.parquet

    rows = [{"image": {"bytes": picture("PNG"), "path": None}, "label": i} for i in range(3)]
    path = folder / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return [path.read_bytes()]


def safetensors(folder: Path) -> list[bytes]:
    """Tensors of several types."""
    return [
        save({"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(3, dtype=torch.int64)}, {"format": "pt"}),
        save({"c": torch.ones(2, dtype=torch.bfloat16), "d": torch.zeros(0), "e": torch.ones(1, dtype=torch.bool)}),
    ]


def _net() -> DiT:
    return DiT((1, 4, 4), 2, width=8, depth=1, heads=2, num_classes=2, frequency_shift=1)


def torch_files(folder: Path) -> list[bytes]:
    """A checkpoint of a small network, in torch's present and former format."""
    state = {"model": _net().state_dict(), "args": {"a": 1}}
    return [
        _saved(lambda buffer: torch.save(state, buffer)),
        _saved(lambda buffer: torch.save(state, buffer, _use_new_zipfile_serialization=False)),
    ]


def make_model(folder: Path) -> None:
    """A model folder of ours."""
    sizes = NetConfig(patch=2, width=8, depth=1, heads=2)
    spec = ModelSpec(
        (1, 4, 4), sizes, 0.5, ("a", "b"), (3, 4), DenoiserConfig(), ("flip",), ((4, 4), (2, 8)), ((1, 2), (2, 2))
    )
    save_model(folder / "model", spec, spec.build().net.state_dict(), SamplingConfig(), {"step": 3})
    for path in (folder / "model").iterdir():
        path.rename(folder / path.name)
    (folder / "model").rmdir()


def make_diffusers(folder: Path) -> None:
    """A pipeline of diffusers without its autoencoder."""
    from safetensors.torch import save_file

    net = _net()
    (folder / "transformer").mkdir()
    (folder / "scheduler").mkdir()
    config = {
        "_class_name": "DiTTransformer2DModel",
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": 1,
    }
    config |= {"out_channels": 1, "num_layers": 1, "sample_size": 4, "patch_size": 2, "norm_eps": 1e-6}
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "DiTPipeline", "id2label": {"0": "a", "1": "b"}})
    )
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SchedulerFacts().to_config()))
    tensors = {name: tensor.contiguous() for name, tensor in to_diffusers_state_dict(net).items()}
    save_file(tensors, folder / "transformer" / "diffusion_pytorch_model.safetensors")


def shard_of_cache(folder: Path) -> list[bytes]:
    """The one shard of `make_cache`."""
    return [save({"mean": torch.arange(12.0).view(3, 4), "label": torch.zeros(3, 1, dtype=torch.int64)})]


def make_cache(folder: Path) -> None:
    """A cache of three images."""
    path = folder / shard_file(0)
    path.write_bytes(shard_of_cache(folder)[0])
    kinds = {"mean": TensorKind(dtype="float32", shape=(4,)), "label": TensorKind(dtype="int64", shape=(1,))}
    shard = Shard(number=0, bytes=path.stat().st_size, sha256=sha256_of_file(path))
    Manifest(kind=KIND, about={"a": 1}, count=3, per_shard=3, tensors=kinds, shards=(shard,)).write(folder)


def make_prepared(folder: Path) -> None:
    """A prepared folder of two images, which lie beside it."""
    from sadm.data.preparation.preparing import prepare

    images = folder.with_name(f"{folder.name}-images")
    images.mkdir()
    for name, mode in (("a.png", "RGB"), ("b.png", "L")):
        (images / name).write_bytes(picture("PNG", mode))
    prepare(str(images), folder)


def journals(folder: Path) -> list[bytes]:
    """What a scan wrote down."""
    make_prepared(folder / "scanned")
    return [(folder / "scanned" / "scan.jsonl").read_bytes().replace(str(folder).encode(), b"")]


def checkpoint_values(folder: Path) -> Any:
    """What a checkpoint says besides its tensors."""
    place = folder / "step-1"
    save_checkpoint(place, {"step": 3, "weights": {"a": torch.ones(2), "b": [torch.zeros(1), 2.5, None]}, "name": "x"})
    return json.loads((place / VALUES).read_text("utf-8"))


def forge_checkpoint(folder: Path, values: Any) -> None:
    """A checkpoint of forged values with the right sums, so that they are read."""
    folder.mkdir()
    (folder / VALUES).write_text(json.dumps(values), "utf-8")
    (folder / TENSORS).write_bytes(save({"/weights/a": torch.ones(2), "/weights/b/0": torch.zeros(1)}))
    sums = {name: sha256_of_file(folder / name) for name in (TENSORS, VALUES)}
    (folder / CHECKSUMS).write_text(json.dumps(sums), "utf-8")


def mark() -> Mark:
    """One that says something in every field."""
    return Mark(
        "sadm vary", True, "a" * 64, "b" * 64, 17, "良品", {"strength": 0.4, "of": ["x<&>", None]}, version="0.1.0"
    )


def marked(folder: Path) -> list[bytes]:
    """Images with marks: as they are written, and carried over into other formats."""
    path = folder / "marked.png"
    write_marked_png(path, np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8), mark())
    found = [path.read_bytes()]
    packet = to_xmp(mark()).encode()
    for kind, options in (("JPEG", {"xmp": packet}), ("WEBP", {"xmp": packet}), ("TIFF", {"tiffinfo": {700: packet}})):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(picture("PNG"))).save(buffer, kind, **options)
        found.append(buffer.getvalue())
    return found


def records() -> list[dict[str, Any]]:
    """Lines beside generated images: of an image, and of a review."""
    image = {"file": "a.png", "seed": 3, "label": "good", "edited": False, "details": {"index": 0}, "pixels": "a" * 64}
    review = {"file": "a.png", "approved": True, "reason": "sharp", "reviewer": "me", "pixels": "a" * 64}
    return [image, review]


POLICY = (
    b"owner: us\nlicences: {a: ours}\nrequire_audit: true\nmax_copy_rate: 0.01\nmax_images: 20\nforbidden: [b, c]\n"
)
