"""Writing a folder that diffusers' `DiTPipeline` loads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sadm.core.errors import UserError
from sadm.core.files import folder_written_atomically, make_folder, read_object, refuse_foreign_folder, write_json
from sadm.core.tensors import save_tensors
from sadm.models.dit import AUGMENT_TABLE, DiT
from sadm.models.weights.folders import CONFIG, OURS, PIPELINE, SCHEDULER, WEIGHTS
from sadm.models.weights.naming import THEIR_TABLE, dit_blocks, norm_eps, to_diffusers_state_dict
from sadm.models.weights.report import Entry
from sadm.models.weights.scheduler import SchedulerFacts


def save_diffusers_folder(
    net: DiT,
    folder: str | Path,
    *,
    autoencoder: nn.Module | str | Path,
    scheduler: SchedulerFacts | None = None,
    class_names: Mapping[int, str] | None = None,
    null_at_1000: bool = True,
) -> tuple[Entry, ...]:
    """Writes a `DiTPipeline` folder; the pipeline draws the images that this network draws.

    The pipeline gives the network its timestep, 0 to T - 1: the network must have been trained so that that is ``c_noise *
    noise_scale``. What diffusers has no word for (noise_scale, the number of classes) goes into a small file, sadm.json.

    Args:
        net: a network with frequency_shift=1; see `check_for_diffusers` for what else diffusers can't express.
        folder: where to write; an older pipeline there is replaced.
        autoencoder: an `AutoencoderKL`, or the folder of one, which the pipeline can't do without.
        scheduler: the process that the network was trained with; None = DiT's.
        class_names: by class, by which `DiTPipeline.get_label_ids` finds them.
        null_at_1000: pads the class table so that the null class is row 1000, where `DiTPipeline` looks for it; without, guidance
            needs a network of just 1,000 classes. Labels between the last class and 1000 mean "no class".

    Returns:
        The network's tensors that are not in the folder, which no sample needs.

    Raises:
        UserError: diffusers has no such network or the pipeline no such autoencoder, a name is of no class, or the folder can't
            be written.
    """
    target = Path(folder)
    refuse_foreign_folder(target, PIPELINE, "diffusers pipeline")
    tensors = to_diffusers_state_dict(net, null_at_1000)
    scheduler = scheduler or SchedulerFacts()
    num_classes = net.null_label or 0
    names = _checked_names(class_names or {}, num_classes)
    _check_autoencoder(_autoencoder_config(autoencoder), net)
    index = {
        "_class_name": "DiTPipeline",
        "id2label": names or None,
        "scheduler": ["diffusers", scheduler.class_name],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    rows = len(tensors[f"transformer_blocks.0.norm1.emb.{THEIR_TABLE}"])
    with folder_written_atomically(target) as temporary:
        write_json(temporary / PIPELINE, index)
        write_json(temporary / OURS, {"num_classes": num_classes, "noise_scale": net.noise_scale})
        write_json(temporary / "scheduler" / SCHEDULER, scheduler.to_config())
        write_json(temporary / "transformer" / CONFIG, _config(net, rows - 1))
        # Copies: the blocks' embedders are one tensor here, and safetensors refuses tensors that share memory.
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        save_tensors(temporary / "transformer" / f"{WEIGHTS}.safetensors", copies)
        _save_autoencoder(autoencoder, temporary / "vae")
    if net.augment_embedder is None:
        return ()
    return (
        Entry(AUGMENT_TABLE, tuple(net.augment_embedder.weight.shape), "samples are asked for without augmentation"),
    )


def _config(net: DiT, num_embeds: int) -> dict[str, Any]:
    heads = dit_blocks(net)[0].attn.heads
    return {
        "_class_name": "DiTTransformer2DModel",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": net.x_embedder.proj.out_channels // heads,
        "dropout": 0.0,
        "in_channels": net.shape[0],
        "norm_elementwise_affine": False,
        "norm_eps": norm_eps(net),
        "norm_type": "ada_norm_zero",
        "num_attention_heads": heads,
        "num_embeds_ada_norm": num_embeds,
        "num_layers": len(net.blocks),
        "out_channels": net.out_channels,  # never left out: the pipeline divides it by two
        "patch_size": net.patch,
        "sample_size": net.shape[1],
    }


def _checked_names(names: Mapping[int, str], num_classes: int) -> dict[str, str]:
    strange = [label for label in names if not 0 <= label < num_classes]
    if strange:
        raise UserError(
            f"class_names names class {strange[0]}; this network has the classes 0 to {num_classes - 1}."
            if num_classes
            else f"class_names names class {strange[0]}; this network has no classes."
        )
    return {str(label): name for label, name in names.items()}


def _autoencoder_config(autoencoder: nn.Module | str | Path) -> Mapping[str, Any]:
    if isinstance(autoencoder, nn.Module):
        return {"_class_name": type(autoencoder).__name__, **getattr(autoencoder, "config", {})}
    path = Path(autoencoder) / CONFIG
    if not path.is_file():
        raise UserError(
            f"{autoencoder} holds no {CONFIG}; expected the folder of an AutoencoderKL, as diffusers saves it."
        )
    return read_object(path)


def _check_autoencoder(config: Mapping[str, Any], net: DiT) -> None:
    kind, channels = config.get("_class_name"), config.get("latent_channels", 4)
    if kind != "AutoencoderKL":
        raise UserError(f"the autoencoder is a {kind}; DiTPipeline needs an AutoencoderKL.")
    if channels != net.shape[0]:
        raise UserError(
            f"the autoencoder's latents have {channels} channels; this network's images have {net.shape[0]}."
        )
    if config.get("shift_factor") or config.get("latents_mean") or config.get("latents_std"):
        raise UserError(
            "the autoencoder shifts its latents (shift_factor or latents_mean in its config), and DiTPipeline only scales "
            "them: its images would be wrong. Save the network in a model folder, and decode with LatentCodec."
        )


def _save_autoencoder(autoencoder: nn.Module | str | Path, folder: Path) -> None:
    make_folder(folder)
    if isinstance(autoencoder, nn.Module):
        autoencoder.save_pretrained(folder)  # type: ignore[operator]
        return
    found = [path for path in sorted(Path(autoencoder).iterdir()) if path.name == CONFIG or "safetensors" in path.name]
    if len(found) < 2:
        raise UserError(
            f"{autoencoder} holds no safetensors; expected the folder of an AutoencoderKL, as diffusers saves it."
        )
    for path in found:
        shutil.copyfile(path, folder / path.name)
