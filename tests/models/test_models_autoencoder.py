"""Latents: scale and shift from the config, draws from the posterior, round trips."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sadm.core.errors import UserError
from sadm.models.autoencoder import LatentCodec

diffusers = pytest.importorskip("diffusers")

CONFIGS = [
    {"scaling_factor": 0.5},
    {"scaling_factor": 1.5, "shift_factor": 0.25},
    {"scaling_factor": 2.0, "latents_mean": (0.1, -0.2, 0.3), "latents_std": (0.5, 1.0, 2.0)},
]
X = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def autoencoder(**options: Any) -> Any:
    """Two levels, three latent channels, random weights; deviations of about a half so that they show."""
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=3,
        **options,
    )
    with torch.no_grad():
        model.quant_conv.bias[3:] -= 1
    return model


def scale_and_shift(config: dict) -> tuple[torch.Tensor, torch.Tensor]:
    std = torch.tensor(config.get("latents_std", (1.0,) * 3))
    shift = torch.tensor(config.get("latents_mean", (config.get("shift_factor", 0.0),) * 3))
    return (config["scaling_factor"] / std)[:, None, None], shift[:, None, None]


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
def test_moments_are_the_posterior_scaled_as_the_config_says(config: dict) -> None:
    model = autoencoder(**config).eval()
    codec = LatentCodec(model)
    mean, std = codec.encode_moments(X)
    raw_mean, raw_log_variance = model.quant_conv(model.encoder(X)).chunk(2, dim=1)
    scale, shift = scale_and_shift(config)
    torch.testing.assert_close(mean, (raw_mean - shift) * scale)
    torch.testing.assert_close(std, (raw_log_variance / 2).exp() * scale)
    assert mean.shape == (2, *codec.latent_shape((3, 8, 16))) == (2, 3, 4, 8)


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
def test_decoding_undoes_scale_and_shift(config: dict) -> None:
    model = autoencoder(**config).eval()
    z = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(2))
    scale, shift = scale_and_shift(config)
    expected = model.decoder(model.post_quant_conv(z))
    torch.testing.assert_close(LatentCodec(model).decode((z - shift) * scale), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
def test_a_round_trip_is_the_autoencoders_own(config: dict) -> None:
    model = autoencoder(**config)
    codec = LatentCodec(model)
    mean, _ = codec.encode_moments(X)
    torch.testing.assert_close(codec.decode(mean), model(X).sample, rtol=1e-4, atol=1e-5)  # without a draw


def test_draws_have_the_posteriors_mean_and_deviation() -> None:
    codec = LatentCodec(autoencoder(scaling_factor=0.5, shift_factor=0.3))
    moments = codec.encode_moments(X[:1])
    count = 4000
    many = type(moments)(*(part.expand(count, -1, -1, -1) for part in moments))
    z = (codec.sample(many, torch.Generator().manual_seed(3)) - moments.mean) / moments.std  # [count, 3, 4, 8]
    assert float(z.mean(0).abs().max()) < 5 / count**0.5  # of 96 latents, five standard errors
    assert float((z.std(0) - 1).abs().max()) < 5 / (2 * count) ** 0.5
    correlation = torch.corrcoef(z.flatten(1).T) - torch.eye(96)
    assert float(correlation.abs().max()) < 6 / count**0.5
    assert float(((z**4).mean() - 3).abs()) < 0.1  # as of a Gaussian


def test_the_generator_decides_the_draw() -> None:
    codec = LatentCodec(autoencoder())
    moments = codec.encode_moments(X)
    first, again, other = (codec.sample(moments, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_autoencoder_is_not_trained() -> None:
    model = autoencoder().train()
    codec = LatentCodec(model)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not codec.decode(codec.encode_moments(X.clone().requires_grad_()).mean).requires_grad


def test_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = autoencoder(scaling_factor=0.9)
    model.save_pretrained(tmp_path / "vae")
    codec = LatentCodec.from_folder(tmp_path / "vae")
    assert torch.equal(codec.encode_moments(X).mean, LatentCodec(model).encode_moments(X).mean)
    with pytest.raises(UserError, match="holds no config.json; expected the folder of an AutoencoderKL"):
        LatentCodec.from_folder(tmp_path)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="vae holds no AutoencoderKL that diffusers can load: "):
        LatentCodec.from_folder(tmp_path / "vae")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'sadm-diffusion\[diffusers\]'"):
        LatentCodec.from_folder(tmp_path / "vae")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.conv_in.bias": None}, r"1 tensors are missing, such as decoder\.conv_in\.bias\. Copy"),
        ({"decoder.further": torch.ones(1)}, r"1 tensors are unexpected, such as decoder\.further\. Copy"),
    ],
    ids=["missing", "unexpected"],
)
def test_weights_that_are_not_those_of_the_config_are_named(
    tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    autoencoder().save_pretrained(tmp_path / "vae")
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = {**load_file(weights), **change}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, weights)
    with pytest.raises(UserError, match=f"the weights in .*vae are not those of its config.json: {message}"):
        LatentCodec.from_folder(tmp_path / "vae")


def test_a_folder_of_another_class_is_refused(tmp_path: Path) -> None:
    autoencoder().save_pretrained(tmp_path / "vae")
    config = tmp_path / "vae" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "_class_name": "AutoencoderTiny"}))
    with pytest.raises(UserError, match="vae holds a AutoencoderTiny; expected the folder of an AutoencoderKL"):
        LatentCodec.from_folder(tmp_path / "vae")
    del values["_class_name"]
    config.write_text(json.dumps(values))
    assert LatentCodec.from_folder(tmp_path / "vae").channels == 3


def test_weights_with_the_names_of_2022_are_whole(tmp_path: Path) -> None:
    model = autoencoder()
    model.save_pretrained(tmp_path / "vae")
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in tensors.items()}
    assert any(".proj_attn." in name for name in tensors)
    save_file(tensors, weights)
    codec = LatentCodec.from_folder(tmp_path / "vae")
    assert torch.equal(codec.encode_moments(X).mean, LatentCodec(model).encode_moments(X).mean)


def test_mistakes_are_explained() -> None:
    with pytest.raises(UserError, match="a Linear has no scaling_factor"):
        LatentCodec(torch.nn.Linear(1, 1))
    codec = LatentCodec(autoencoder())
    with pytest.raises(UserError, match="latent of 2x2 pixels; images of 7x8 are not divisible by 2"):
        codec.encode_moments(torch.zeros(1, 3, 7, 8))
    with pytest.raises(UserError, match="expects images of 3 channels, got 1"):
        codec.encode_moments(torch.zeros(1, 1, 8, 8))
