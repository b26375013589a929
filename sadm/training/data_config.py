"""Which images a run is about, how they are brought to one shape, and what is done to them in training. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from tyro import conf

from sadm.core.config import Config, Fraction, Positive, PositiveFloat

Source = Annotated[str, conf.arg(aliases=["--data"])]
Strict = Annotated[bool, conf.arg(aliases=["--strict"])]
Preset = Annotated[Literal["none", "photos", "parts"], conf.arg(aliases=["--augment"])]
UpToOne = Fraction | None
Degrees = Annotated[float, Field(ge=0, le=180)] | None


PRESETS: dict[str, dict[str, float]] = {
    "none": {},
    # The transformations of EDM's experiments (2206.00364, table 6 and F.2).
    "photos": {
        "flip_x": 1.0,
        "flip_y": 0.1,
        "stretch": 0.2,
        "scale": 0.25,
        "rotation": 180.0,
        "shift": 0.125,
    },
    # Seen from above under a lamp: no side is up, proportions are part of the matter, and light varies.
    "parts": {
        "flip_x": 1.0,
        "flip_y": 1.0,
        "scale": 0.1,
        "rotation": 180.0,
        "shift": 0.125,
        "contrast": 0.1,
        "brightness": 0.05,
    },
}
"""Strengths of the presets of `AugmentConfig`; what is not named is off."""


class AugmentConfig(Config):
    """Augmentation that does not leak: the network is told what was done to an image, and samples are asked for with nothing done
    (2206.00364, F.2). For few images; docs/augmentation.md. A strength of None is the preset's, 0 = off.
    """

    preset: Preset = "none"
    """Strengths at once: photos = as in EDM's experiments; parts = things seen from above, with varying light."""
    probability: Fraction = 0.12
    """Of each transformation but the flips, for each image; keep it low, since samples are asked for as untouched images."""
    flip_x: UpToOne = None
    """Mirror left to right: 1 = every second image."""
    flip_y: UpToOne = None
    """Mirror top to bottom: 1 = every second image."""
    stretch: UpToOne = None
    """Multiply the ratio of width to height by up to 1 + stretch, or divide."""
    scale: UpToOne = None
    """Enlarge by up to 1 + scale, or reduce."""
    rotation: Degrees = None
    """Turn by up to so many degrees, to either side; 180 = any angle."""
    shift: UpToOne = None
    """Shift by up to this share of the side, in whole pixels, at least one."""
    saturation: UpToOne = None
    """Multiply the saturation by up to 1 + saturation, or divide; colour images alone."""
    hue: Degrees = None
    """Turn the hue by up to so many degrees, to either side; colour images alone."""
    contrast: UpToOne = None
    """Multiply the contrast by up to 1 + contrast, or divide."""
    brightness: UpToOne = None
    """Make brighter or darker by up to this share of the range from black to white."""

    @property
    def strengths(self) -> dict[str, float]:
        """The strength of every transformation, the preset's where none is given; 0 = off."""
        given = {
            name: getattr(self, name) for name in AugmentConfig.model_fields if name not in ("preset", "probability")
        }
        preset = PRESETS[self.preset]
        return {name: preset.get(name, 0.0) if value is None else value for name, value in given.items()}


OF_FIT = {
    "pad_colour": "pad",
    "overlap": "tiles",
    "scale": "tiles",
    "crop_margin": "random-crop",
    "bucket_multiple": "buckets",
}
"""Options of the data that one way of fitting needs, and which."""

OF_LIGHT = ("saturation", "hue", "contrast", "brightness")
"""Transformations that leave everything in its place."""

OF_PIXELS = ("resolution", "channels", "fit", "pad_colour", "overlap", "scale", "crop_margin", "white_level")
"""Options of the data that decide the pixels of an image that is encoded; images in buckets are not."""


class DataConfig(Config):
    """Which images, and how they are brought to one shape."""

    source: Source = "digits"
    """A built-in set ('digits', 'surfaces', 'fashion-mnist'), or the path of a folder of images (class folders, flat, with a
    metadata.csv), a zip, arrays (.npy, .npz), Parquet files, WebDataset shards, IDX files or a saved data set, or
    hub:OWNER/NAME; docs/sources.md.
    """
    resolution: Positive | None = None
    """Side length in pixels (antialiased, without haloes); None = the images' own size."""
    channels: Literal[1, 3, 4] | None = None
    """1 = grey, 3 = colour, 4 = colour and transparency; None = 1 or 3, as the images are."""
    fit: Literal["crop", "pad", "random-crop", "tiles", "buckets"] = "crop"
    """How images become squares, or come into few shapes; docs/formats.md:
    crop = the central square, resized;
    pad = the whole image, resized, short sides padded;
    random-crop = training draws windows, everything that measures sees the central one;
    tiles = square tiles of large scans, each with the place it was cut from;
    buckets = nearly their own aspect ratio, in shapes of about resolution x resolution pixels; samples have them, too.
    """
    pad_colour: Literal["edge", "white", "black"] = "edge"
    """pad: what is beside the image; edge = its outermost pixels go on."""
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """tiles: share of a tile that the next one covers again."""
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """tiles: factor by which a scan is resized before it is cut; 1 = its own pixels."""
    crop_margin: Fraction = 0.125
    """random-crop: how much larger than the resolution the image is that windows are drawn from."""
    bucket_multiple: Positive = 8
    """buckets: sides are multiples of this, fit for net.patch or net.unet.channels; larger = fewer shapes, more cut off."""
    clean_class: str | None = None
    """Class of pictures whose mask marks nothing in them, such as tiles beside a defect; None = their image's."""
    white_level: Annotated[int, Field(ge=255, le=65535)] = 65535
    """Value of 16-bit grey that becomes white; 1023, 4095 or 16383 for sensor data of 10, 12 or 14 bits."""
    max_megapixels: PositiveFloat | None = None
    """Refuse images with more pixels; None = 89, against decompression bombs."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images kept away from training, for judging (a source with a test set of its own keeps that)."""
    limit: Positive | None = None
    """Train on this many images only; None = all."""
    keep: dict[str, Annotated[float, Field(gt=0, le=1)]] = {}
    """Share of the training images of a class that stays, by class name, to make a class rare; others stay whole."""
    balance: Fraction = 0.0
    """How far classes are brought to equal frequency in training: a class of n images is seen as often as n^(1 - balance) says;
    0 = as it is, 1 = all classes alike.
    """
    repeat: dict[str, Annotated[float, Field(gt=0, le=1000)]] = {}
    """Times that each image of a class is seen in an epoch, by class name; others once. Instead of balance."""
    flip: bool = False
    """Mirror every second image and do not tell the network: samples are mirrored, too, which is right for most photographs and
    wrong for digits and text. With --data.augment.flip-x, samples are not mirrored.
    """
    augment: AugmentConfig = AugmentConfig()
    tell: tuple[Literal["attributes", "masks", "damage"], ...] = ()
    """What the network is told of images besides their class; docs/telling.md:
    attributes = numbers known of them, so that it can be asked for images of such numbers;
    masks = what is marked in them, so that it can be asked for something in such a place;
    damage = what they look like when they are damaged, so that it learns to restore.
    """
    tell_dropout: Fraction = 0.1
    """Share of the images of which each of these is not told, so that the network can be asked without."""
    damage: tuple[Literal["fade", "stain", "fold", "tear", "blur", "coarse", "grain"], ...] = ()
    """With tell 'damage': what may befall an image; none = all of these."""
    damage_strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    """With tell 'damage': 1 = up to what makes an image barely legible."""
    autoencoder: str | None = None
    """Folder of an AutoencoderKL (needs diffusers): train on its latents, decode samples with it; None = train on pixels."""
    latents: str | None = None
    """Cache of latents, made by `sadm encode` or here where missing; None = 'latents' in the run folder."""
    latent_dtype: Literal["float16", "float32"] = "float16"
    """Numbers in that cache; float32 takes twice the space."""
    strict: Strict = False
    """Refuse a folder with unreadable files instead of skipping and listing them."""
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Threads that make batches ahead, the same ones for any number; 0 = none, as good where training is on the CPU."""

    @property
    def transform(self) -> dict[str, str | int | float | None]:
        """What decides the pixels of an image that is encoded, its mirror image left aside."""
        return {name: getattr(self, name) for name in OF_PIXELS}

    @model_validator(mode="after")
    def _one_frequency(self) -> DataConfig:
        if self.balance and self.repeat:
            raise ValueError(
                f"data.balance ({self.balance}) and data.repeat both say how often a class is seen. Give one of them"
            )
        return self

    @model_validator(mode="after")
    def _fits(self) -> DataConfig:
        if self.fit != "crop" and self.resolution is None:
            raise ValueError(f"data.fit '{self.fit}' needs a data.resolution, such as 64")
        for name, fit in OF_FIT.items():
            if getattr(self, name) != type(self).model_fields[name].default and self.fit != fit:
                raise ValueError(f"data.{name} has a meaning with data.fit '{fit}' alone, got '{self.fit}'")
        return self

    @model_validator(mode="after")
    def _mirrors_once(self) -> DataConfig:
        told = self.augment.strengths["flip_x"]
        if self.flip and told:
            raise ValueError(
                f"data.flip makes mirror images part of the data, data.augment.flip_x ({told:g}) keeps them out of the samples. "
                "Choose one: leave out data.flip, or set data.augment.flip_x to 0"
            )
        return self

    @model_validator(mode="after")
    def _masks_follow_their_images(self) -> DataConfig:
        if len(set(self.tell)) < len(self.tell):
            raise ValueError(f"data.tell names something twice: {', '.join(self.tell)}")
        for name in ("damage", "damage_strength"):
            if getattr(self, name) != type(self).model_fields[name].default and "damage" not in self.tell:
                raise ValueError(f"data.{name} has a meaning with data.tell 'damage' alone")
        if "damage" in self.tell and self.autoencoder is not None:
            raise ValueError("data.tell damage needs a model of pixels: leave data.autoencoder out")
        if "damage" in self.tell and self.fit == "buckets":
            raise ValueError("data.tell damage needs images of one shape: data.fit must not be 'buckets'")
        if "masks" not in self.tell:
            return self
        on = [name for name, strength in self.augment.strengths.items() if strength and name not in OF_LIGHT]
        if on:
            raise ValueError(
                f"data.augment ({', '.join(on)}) moves what is in an image, and its mask would stay: leave 'masks' out of "
                "data.tell, or choose data.flip, which mirrors both"
            )
        if self.fit in ("random-crop", "buckets"):
            raise ValueError(f"data.tell masks needs images as they are compared: data.fit must not be '{self.fit}'")
        if self.autoencoder is not None:
            raise ValueError("data.tell masks needs a model of pixels: leave data.autoencoder out")
        return self

    @model_validator(mode="after")
    def _latents_have_an_autoencoder(self) -> DataConfig:
        if self.autoencoder is None and (self.latents is not None or self.latent_dtype != "float16"):
            raise ValueError(
                "data.latents and data.latent_dtype are about the latents of an autoencoder: give its folder as data.autoencoder"
            )
        return self

    @model_validator(mode="after")
    def _latents_stay_as_encoded(self) -> DataConfig:
        on = [name for name, strength in self.augment.strengths.items() if strength]
        if self.autoencoder is not None and on:
            raise ValueError(
                f"data.augment ({', '.join(on)}) changes pixels, and data.autoencoder encodes each image once: choose "
                "one of them. data.flip goes with both"
            )
        if self.autoencoder is not None and self.fit == "random-crop":
            raise ValueError(
                "data.fit 'random-crop' draws other pixels in each epoch, and data.autoencoder encodes each image once. Choose "
                "'crop', 'pad' or 'tiles'"
            )
        return self
