"""What a run trains on: the images themselves or, where an autoencoder is given, latents from a cache that is made if missing."""

from __future__ import annotations

from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.data import ImageSet
from sadm.data.cache import MANIFEST, Manifest, TensorStore, describe_differences, read_manifest
from sadm.training.config import TrainConfig
from sadm.training.encoding import codec_for, encode_images, plan_cache
from sadm.training.latents import KIND, LatentSet, TrainingSet
from sadm.training.moments import Layout
from sadm.training.shapes import why_not, why_not_sides
from sadm.training.spec import ModelSpec, spec_for


def training_set(config: TrainConfig, images: ImageSet, folder: Path, reporter: Reporter) -> TrainingSet:
    """The images, or their latents where the configuration names an autoencoder.

    A cache that is complete is only read, and may hold more than these images; one that was begun for just these images is
    completed, and damaged shards of it are made anew.

    Args:
        config: of the run.
        images: the training images.
        folder: of the cache, unless the configuration names one.
        reporter: told about encoding.

    Raises:
        UserError: the cache holds something else, or can't be read or made.
        InterruptedRun: stopped while encoding.
    """
    data = config.data
    if data.autoencoder is None:
        return images
    target, layout = Path(data.latents or folder), Layout(data.flip, data.latent_dtype)
    plan = plan_cache(images, codec_for(images, data.autoencoder), data.autoencoder, layout)
    stored = read_manifest(target, KIND) if (target / MANIFEST).exists() else None
    if stored is None or stored.about == plan.about:
        if stored is None or not _is_whole(target, stored):
            reporter.say(
                f"Encoding {len(images)} images into latents in {target}; `sadm encode` does so ahead of time."
            )
            encode_images(
                images, target, data.autoencoder, layout, None, config.device, reporter, transform=data.transform
            )
    elif stored.missing:
        raise UserError(
            f"{target} is incomplete ({len(stored.missing)} of {stored.shard_count} shards are missing), and was begun for "
            f"something else ({'; '.join(describe_differences(plan.about, stored.about))}). Finish it with the command that "
            "began it, or choose another folder (--data.latents)."
        )
    # Of more images, or with mirror images that are not needed, it serves as well.
    wanted = {key: fact for key, fact in plan.about.items() if key != "images" and (data.flip or key != "flip")}
    return LatentSet(TensorStore(target, KIND), images, wanted, data.transform)


def check_sizes(config: TrainConfig, images: ImageSet) -> None:
    """Refuses sizes that do not fit each other, before anything is written or encoded.

    Raises:
        UserError: the network does not fit the images or their latents, the autoencoder does not fit the images, or something
            takes images of one shape alone, and these have several.
    """
    if images.shaped is not None:
        reason = why_not(config) or why_not_sides(config, *images.shaped.sizes.unique().tolist())
        if reason:
            raise UserError(f"{images.source} holds images of several shapes, and {reason}.")
    if config.data.autoencoder is None:
        spec_for(images, config.net, config.process, config.data).build()
        return
    codec = codec_for(images, config.data.autoencoder)
    shape, net = codec.latent_shape(images.shape), config.net
    if shape[1] % net.divisor or shape[2] % net.divisor:
        raise UserError(
            f"images of {images.shape[2]}x{images.shape[1]} pixels become latents of {shape[2]}x{shape[1]}, which can't "
            f"{net.division}. Choose another --{net.divided_by}, or a --data.resolution that {net.divisor * codec.factor} "
            "divides."
        )
    ModelSpec(shape, config.net, 1.0, (), (), config.process.denoiser).build()


def _is_whole(folder: Path, manifest: Manifest) -> bool:
    """Whether all files are there, in their size."""
    sizes = [(folder / shard.file, shard.bytes) for shard in manifest.shards]
    return not manifest.missing and all(path.is_file() and path.stat().st_size == size for path, size in sizes)
