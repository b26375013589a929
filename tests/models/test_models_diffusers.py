"""Networks from and for diffusers: the same numbers in both, the same images, and what stands in the way."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.models import DiT, dit_by_name
from sadm.models.positions import sincos_positions
from sadm.models.weights import (
    SchedulerFacts,
    from_diffusers_state_dict,
    load_diffusers_dit,
    save_diffusers_folder,
    to_diffusers_state_dict,
)
from weights_setup import batch, filled, small

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(autouse=True)
def quiet() -> None:
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()


def theirs(net: DiT, **options: Any) -> Any:
    """A DiTTransformer2DModel of the same sizes, freshly initialised."""
    heads = net.blocks[0].attn.heads
    sizes = {
        "num_attention_heads": heads,
        "attention_head_dim": net.x_embedder.proj.out_channels // heads,
        "in_channels": net.shape[0],
        "out_channels": net.out_channels,
        "num_layers": len(net.blocks),
        "sample_size": net.shape[1],
        "patch_size": net.patch,
        "num_embeds_ada_norm": net.null_label,
        "norm_eps": 1e-6,
    }
    return diffusers.DiTTransformer2DModel(**{**sizes, **options}).eval()


def tiny_autoencoder(**options: Any) -> Any:
    torch.manual_seed(3)
    return diffusers.AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8, scaling_factor=0.7, **options
    ).eval()


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert float(expected.abs().max()) > 0.02  # two zero functions would agree
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def forward_theirs(model: Any, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return model(x, timestep=t, class_labels=y).sample


# ---- the same numbers ------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("out_channels", [4, 8])
def test_ours_in_diffusers_and_back(out_channels: int) -> None:
    net = small(frequency_shift=1, out_channels=out_channels)
    model = theirs(net)
    converted = to_diffusers_state_dict(net)
    model.load_state_dict(converted)
    x, t, y = batch(net.shape, 5)
    close(net(x, t, Cond(label=y)), forward_theirs(model, x, t, y))
    back = from_diffusers_state_dict(model.state_dict())
    assert set(back) == set(net.state_dict()) - {"pos_embed"}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in back.items())


@torch.no_grad()
def test_s_2_from_diffusers(tmp_path: Path) -> None:
    net = filled(dit_by_name("DiT-S/2", (4, 32, 32), 1000, out_channels=8, frequency_shift=1), scale=0.03)
    model = theirs(net, norm_eps=1e-5)
    model.load_state_dict(to_diffusers_state_dict(net))
    model.save_pretrained(tmp_path)
    loaded, report, facts = load_diffusers_dit(tmp_path, shape=(4, 32, 32), num_classes=1000)
    assert (facts.norm_eps, facts.learned_variance, facts.scheduler, facts.autoencoder) == (1e-5, True, None, None)
    assert [entry.name for entry in report.reinitialised] == ["pos_embed"]
    assert len(report.loaded) == len(net.state_dict()) - 1
    x, t, y = batch(net.shape, 1000, count=2)
    close(loaded(x, t, Cond(label=y)), forward_theirs(model, x, t, y))


@torch.no_grad()
def test_the_epsilon_travels_both_ways(tmp_path: Path) -> None:
    """One that is large enough to count, in and out; and diffusers' default where the file names none."""
    net = filled(small(frequency_shift=1, num_classes=2), scale=0.05)
    model = theirs(net, norm_eps=0.5)
    model.load_state_dict(to_diffusers_state_dict(net))
    model.save_pretrained(tmp_path / "theirs")
    x, t, y = batch(net.shape, 2)
    expected = forward_theirs(model, x, t, y)
    assert float((net(x, t, Cond(label=y)) - expected).abs().max()) > 1e-3
    loaded, _, facts = load_diffusers_dit(tmp_path / "theirs")
    assert facts.norm_eps == 0.5
    close(loaded(x, t, Cond(label=y)), expected)
    save_diffusers_folder(loaded, tmp_path / "ours", autoencoder=tiny_autoencoder(), null_at_1000=False)
    again = diffusers.DiTTransformer2DModel.from_pretrained(tmp_path / "ours", subfolder="transformer")
    close(forward_theirs(again, x, t, y), expected)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    del config["norm_eps"]
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    assert load_diffusers_dit(tmp_path / "theirs")[0].blocks[1].norm2.eps == 1e-5


@torch.no_grad()
def test_xl_width(tmp_path: Path) -> None:
    """DiT-XL/2 with 2 of its 28 blocks, every one with weights of its own."""
    net = filled(DiT((4, 32, 32), 2, 1152, 2, 16, num_classes=1000, noise_scale=1.0, out_channels=8, frequency_shift=1))
    model = theirs(net)
    model.load_state_dict(to_diffusers_state_dict(net))
    x, t, y = batch(net.shape, 1000, count=1)
    close(net(x, t, Cond(label=y)), forward_theirs(model, x, t, y))


@torch.no_grad()
def test_xl_whole() -> None:
    """DiT-XL/2 in its 28 blocks, on small latents.

    Whole copies would need 6 GB of memory: both networks read one, in which every fifth block is the same.
    """
    with torch.device("meta"):
        net = dit_by_name("DiT-XL/2", (4, 16, 16), 1000, noise_scale=1.0, out_channels=8, frequency_shift=1)
        model = theirs(net)
    draws, weights = torch.Generator().manual_seed(0), {"pos_embed": sincos_positions(1152, net.grid)[None]}
    for name, parameter in net.named_parameters():
        same = re.sub(r"blocks\.(\d+)", lambda block: f"blocks.{int(block[1]) % 5}", name)
        if same == name:
            weights[name] = torch.empty(parameter.shape).uniform_(-0.03, 0.03, generator=draws)
        weights[name] = weights[same]
    net.load_state_dict(weights, assign=True)
    net.t_embedder.frequencies = DiT((1, 2, 2), width=4, depth=0, heads=1, frequency_shift=1).t_embedder.frequencies
    model.load_state_dict(to_diffusers_state_dict(net), assign=True)
    model.pos_embed.pos_embed = theirs(
        DiT((4, 16, 16), width=1152, depth=1, heads=16, num_classes=1)
    ).pos_embed.pos_embed
    x, t, y = batch(net.shape, 1000, count=1)
    close(net(x, t, Cond(label=y)), forward_theirs(model, x, t, y))


def test_every_name_of_xl_has_its_counterpart() -> None:
    with torch.device("meta"):
        net = dit_by_name("DiT-XL/2", (4, 32, 32), 1000, out_channels=8, frequency_shift=1)
        model = theirs(net)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    net.pos_embed = sincos_positions(1152, net.grid)[None]  # whose values are looked at
    assert {name: value.shape for name, value in to_diffusers_state_dict(net).items()} == expected


@torch.no_grad()
def test_the_frequency_shift_is_why_the_others_are_refused() -> None:
    """With shift 0 our network differs from diffusers' by far more than rounding, at every step but the first."""
    net = small(frequency_shift=1)
    model = theirs(net)
    model.load_state_dict(to_diffusers_state_dict(net))
    other = small(frequency_shift=0)
    other.load_state_dict(net.state_dict())
    x, t, y = batch(net.shape, 5)
    t = torch.full_like(t, 700)
    difference = (other(x, t, Cond(label=y)) - forward_theirs(model, x, t, y)).abs().max()
    assert float(difference) > 1e-3
    with pytest.raises(
        UserError, match=r"frequencies of facebookresearch/DiT \(frequency_shift=0\).*frequency_shift=1"
    ):
        to_diffusers_state_dict(other)


@torch.no_grad()
def test_the_embedding_of_augmentation_is_left_out_and_said(tmp_path: Path) -> None:
    net, plain = small(frequency_shift=1, augment_dims=3), small(frequency_shift=1)
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if not name.startswith("augment")})
    assert to_diffusers_state_dict(net).keys() == to_diffusers_state_dict(plain).keys()
    left_out = save_diffusers_folder(net, tmp_path / "told", autoencoder=tiny_autoencoder())
    assert [str(entry) for entry in left_out] == [
        "augment_embedder.weight [384x3] (samples are asked for without augmentation)"
    ]
    assert save_diffusers_folder(plain, tmp_path / "plain", autoencoder=tiny_autoencoder()) == ()
    x, t, y = batch(net.shape, 5)
    for folder in ("told", "plain"):
        close(load_diffusers_dit(tmp_path / folder)[0](x, t, Cond(label=y)), net(x, t, Cond(label=y)))


@torch.no_grad()
@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16], ids=str)
def test_positions_that_were_kept_in_half_precision_are_those_of_diffusers(tmp_path: Path, kept: torch.dtype) -> None:
    net, x, t, y = small(frequency_shift=1), *batch((4, 8, 8), 5)
    expected = net(x, t, Cond(label=y))
    net.pos_embed.copy_(net.pos_embed.to(kept))
    save_diffusers_folder(net, tmp_path / "pipeline", autoencoder=tiny_autoencoder())
    close(load_diffusers_dit(tmp_path / "pipeline")[0](x, t, Cond(label=y)), expected)
    net.pos_embed.normal_(0, 0.02, generator=torch.Generator().manual_seed(1))
    with pytest.raises(UserError, match=r"this network's positions \(pos_embed\) are others"):
        to_diffusers_state_dict(net)


# ---- the same images -------------------------------------------------------------------------------------------------


@torch.no_grad()
def ddim(net: DiT, autoencoder: Any, labels: list[int], scale: float, steps: int, seed: int) -> torch.Tensor:
    """Sampling as in Song et al. 2021, eq. 12 with sigma 0, with classifier-free guidance; in [0, 1]."""
    alpha = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).float()
    x = torch.randn(len(labels), *net.shape, generator=torch.Generator().manual_seed(seed))
    stride = 1000 // steps
    for t in range((steps - 1) * stride, -1, -stride):
        level = torch.full((len(labels),), float(t)) / net.noise_scale
        eps = net(x, level, Cond(label=torch.tensor(labels)))[:, : net.shape[0]]
        if scale != 1:
            free = net(x, level, Cond())[:, : net.shape[0]]
            eps = free + scale * (eps - free)
        x0 = (x - (1 - alpha[t]).sqrt() * eps) / alpha[t].sqrt()
        before = alpha[t - stride] if t >= stride else torch.tensor(1.0)
        x = before.sqrt() * x0 + (1 - before).sqrt() * eps
    return (autoencoder.decode(x / autoencoder.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def from_pipeline(folder: Path, labels: list[int], scale: float, steps: int, seed: int) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = diffusers.DiTPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    draws = torch.Generator().manual_seed(seed)
    output = pipeline(
        labels, guidance_scale=scale, generator=draws, num_inference_steps=steps, output_type="np"
    )  # [B, H, W, C]; older versions have no "pt"
    return torch.from_numpy(output.images).permute(0, 3, 1, 2)


def same_images(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert float(expected.std()) > 0.02
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("scale", "noise_scale", "out_channels"), [(1.0, 1.0, 4), (4.0, 1000.0, 4), (2.5, 1.0, 8)])
def test_the_pipeline_draws_what_we_draw(tmp_path: Path, scale: float, noise_scale: float, out_channels: int) -> None:
    """Five classes, so that row 1000 is padding but for `null_at_1000`; with guidance and without."""
    net = filled(small(frequency_shift=1, noise_scale=noise_scale, out_channels=out_channels), scale=0.05)
    autoencoder = tiny_autoencoder()
    save_diffusers_folder(net, tmp_path / "pipeline", autoencoder=autoencoder)
    expected = ddim(net, autoencoder, [4, 0], scale, steps=8, seed=5)
    same_images(from_pipeline(tmp_path / "pipeline", [4, 0], scale, steps=8, seed=5), expected)
    if scale != 1:  # the null class is one of its own: guidance by a class would show
        assert float((ddim(net, autoencoder, [4, 0], 1.0, 8, 5) - expected).abs().max()) > 1e-3
    back, report, facts = load_diffusers_dit(tmp_path / "pipeline", num_classes=5)
    assert back.noise_scale == noise_scale
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in back.state_dict().items())
    assert facts.scheduler == SchedulerFacts()
    assert facts.autoencoder == tmp_path / "pipeline" / "vae"
    assert "ignored 1 tensor: class_embedder.embedding_table.weight [995x384]" in str(report)


def test_a_table_without_padding(tmp_path: Path) -> None:
    net = filled(small(frequency_shift=1), scale=0.05)
    autoencoder = tiny_autoencoder()
    save_diffusers_folder(net, tmp_path / "pipeline", autoencoder=autoencoder, null_at_1000=False)
    same_images(from_pipeline(tmp_path / "pipeline", [2], 1.0, 4, 1), ddim(net, autoencoder, [2], 1.0, 4, 1))
    with pytest.raises(IndexError):  # the pipeline looks for row 1000: loud, not wrong
        from_pipeline(tmp_path / "pipeline", [2], 4.0, 4, 1)


def test_the_padding_of_the_table_is_the_null_class() -> None:
    net = small(frequency_shift=1)
    own = net.y_embedder.embedding_table.weight  # type: ignore[union-attr]
    for block in range(2):
        name = f"transformer_blocks.{block}.norm1.emb.class_embedder.embedding_table.weight"
        table = to_diffusers_state_dict(net, null_at_1000=True)[name]
        assert table.shape == (1001, 384)
        assert torch.equal(table[:5], own[:5])
        assert torch.equal(table[5:], own[5:].expand(996, -1))


def test_a_thousand_classes_need_no_padding_and_more_have_no_place(tmp_path: Path) -> None:
    net = small(frequency_shift=1, num_classes=1000, depth=1)
    for padded in (True, False):
        table = to_diffusers_state_dict(net, padded)[
            "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
        ]
        assert torch.equal(table, net.y_embedder.embedding_table.weight)  # type: ignore[union-attr]
    many = small(frequency_shift=1, num_classes=1001, depth=1)
    with pytest.raises(UserError, match=r"row 1000 .* it has 1001. Save with null_at_1000=False"):
        save_diffusers_folder(many, tmp_path / "pipeline", autoencoder=tiny_autoencoder())
    assert not (tmp_path / "pipeline").exists()


def test_a_network_without_classes(tmp_path: Path) -> None:
    net = filled(small(frequency_shift=1, num_classes=0), scale=0.05)
    autoencoder = tiny_autoencoder()
    save_diffusers_folder(net, tmp_path / "pipeline", autoencoder=autoencoder)
    same_images(from_pipeline(tmp_path / "pipeline", [0], 1.0, 4, 1), ddim(net, autoencoder, [0], 1.0, 4, 1))
    assert load_diffusers_dit(tmp_path / "pipeline")[0].null_label is None


def test_a_class_count_beside_the_table_must_fit_it(tmp_path: Path) -> None:
    save_diffusers_folder(small(frequency_shift=1), tmp_path / "pipeline", autoencoder=tiny_autoencoder())
    edit(tmp_path / "pipeline" / "sadm.json", num_classes=1001)
    with pytest.raises(UserError, match=r"sadm.json says 1001 classes; the table .* has 1000 and the null class"):
        load_diffusers_dit(tmp_path / "pipeline")


def test_names_schedulers_and_an_autoencoder_from_a_folder(tmp_path: Path) -> None:
    net = small(frequency_shift=1)
    tiny_autoencoder().save_pretrained(tmp_path / "autoencoder")
    process = SchedulerFacts(class_name="DDPMScheduler", beta_schedule="squaredcos_cap_v2", variance_type="fixed_large")
    folder = tmp_path / "pipeline"
    names = {0: "bolt", 4: "washer, ring"}
    save_diffusers_folder(net, folder, autoencoder=tmp_path / "autoencoder", scheduler=process, class_names=names)
    pipeline = diffusers.DiTPipeline.from_pretrained(folder)
    assert pipeline.labels == {"bolt": 0, "ring": 4, "washer": 4}
    assert isinstance(pipeline.scheduler, diffusers.DDPMScheduler)
    assert pipeline.scheduler.config.variance_type == "fixed_large"
    assert pipeline.vae.config.scaling_factor == 0.7
    _, _, facts = load_diffusers_dit(folder)
    assert (facts.scheduler, facts.class_names) == (process, names)
    save_diffusers_folder(net, folder, autoencoder=tmp_path / "autoencoder")  # replaced
    assert load_diffusers_dit(folder)[2].class_names == {}


# ---- schedulers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 300},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
        {"rescale_betas_zero_snr": True},
    ],
)
def test_betas_are_those_of_diffusers(tmp_path: Path, name: str, options: dict) -> None:
    scheduler = getattr(diffusers, name)(**options)
    scheduler.save_pretrained(tmp_path)
    facts = SchedulerFacts.from_config(json.loads((tmp_path / "scheduler_config.json").read_text()), "here")
    if "rescale_betas_zero_snr" in options:  # theirs are differences of float32 numbers near 1
        torch.testing.assert_close(facts.betas()[:-1].float(), scheduler.betas[:-1], rtol=2e-5, atol=5e-7)
        assert float(facts.betas()[-1]) == 1
    else:
        torch.testing.assert_close(facts.betas().float(), scheduler.betas, rtol=2e-5, atol=1e-7)
    assert facts.prediction_type == scheduler.config.prediction_type
    assert facts.variance_type == scheduler.config.get("variance_type")
    again = type(scheduler).from_config(facts.to_config())
    assert {**again.config, "_use_default_values": []} == {**scheduler.config, "_use_default_values": []}


def test_an_empty_scheduler_file_means_diffusers_defaults() -> None:
    facts = SchedulerFacts.from_config({"_class_name": "DDIMScheduler", "beta_start": 0.0001}, "here")
    config = diffusers.DDIMScheduler().config
    own = facts.to_config()
    del own["_class_name"]
    assert {key: config[key] for key in own} == own
    assert facts.clip_sample != SchedulerFacts().clip_sample  # latents must not be clipped: our own default


def test_schedules_that_are_not_known() -> None:
    with pytest.raises(UserError, match="of the scheduler FlowMatchEulerDiscreteScheduler, which has no betas"):
        SchedulerFacts.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}, "here")
    with pytest.raises(UserError, match="beta_schedule 'sigmoid' is not known here; expected linear"):
        SchedulerFacts(beta_schedule="sigmoid").betas()


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (4, 8, 16)}, "square images only; this network's are 8x16"),
        ({"qk_norm": True}, r"built with qk_norm; diffusers' DiTTransformer2DModel has no such option"),
        ({"rope": True}, r"built with rope; diffusers'"),
        ({"swiglu": True, "registers": 2}, r"built with swiglu and registers; diffusers'"),
        ({"mlp_ratio": 2.0}, r"4 times the width \(1536\); this network's has 768"),
    ],
)
def test_networks_that_diffusers_does_not_have(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_diffusers_state_dict(small(frequency_shift=1, **options))


def test_further_networks_that_diffusers_does_not_have() -> None:
    net = small(frequency_shift=1)
    net.blocks[1].attn.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(UserError, match=r"no counterpart of this network's blocks.1.attn.scale"):
        to_diffusers_state_dict(net)
    net = small(frequency_shift=1)
    net.pos_embed += 1
    with pytest.raises(UserError, match=r"this network's positions \(pos_embed\) are others"):
        to_diffusers_state_dict(net)


def test_what_a_pipeline_can_not_have(tmp_path: Path) -> None:
    net, folder = small(frequency_shift=1), tmp_path / "pipeline"
    with pytest.raises(UserError, match="names class 5; this network has the classes 0 to 4"):
        save_diffusers_folder(net, folder, autoencoder=tiny_autoencoder(), class_names={5: "nut"})
    plain = small(frequency_shift=1, num_classes=0)
    with pytest.raises(UserError, match="names class 0; this network has no classes"):
        save_diffusers_folder(plain, folder, autoencoder=tiny_autoencoder(), class_names={0: "nut"})
    for options in ({"shift_factor": 0.1}, {"latents_mean": (0.1,) * 4}):
        with pytest.raises(UserError, match="shifts its latents .* LatentCodec"):
            save_diffusers_folder(net, folder, autoencoder=tiny_autoencoder(**options))
    other = small(frequency_shift=1, shape=(3, 8, 8))
    with pytest.raises(UserError, match="latents have 4 channels; this network's images have 3"):
        save_diffusers_folder(other, folder, autoencoder=tiny_autoencoder())
    with pytest.raises(UserError, match="autoencoder is a Linear; DiTPipeline needs an AutoencoderKL"):
        save_diffusers_folder(net, folder, autoencoder=torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match=r"holds no config.json; expected the folder of an AutoencoderKL"):
        save_diffusers_folder(net, folder, autoencoder=tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(UserError, match=r"holds no safetensors; expected the folder of an AutoencoderKL"):
        save_diffusers_folder(net, folder, autoencoder=tmp_path)
    assert not folder.exists()
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    with pytest.raises(UserError, match="is not empty and holds no diffusers pipeline"):
        save_diffusers_folder(net, folder, autoencoder=tiny_autoencoder())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A transformer's folder, as diffusers writes it."""
    net = small(frequency_shift=1)
    model = theirs(net)
    model.load_state_dict(to_diffusers_state_dict(net))
    model.save_pretrained(tmp_path / "dit")
    return tmp_path / "dit"


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_weights_in_parts(folder: Path) -> None:
    expected = load_diffusers_dit(folder)[0].state_dict()
    diffusers.DiTTransformer2DModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="5MB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    (folder / "diffusion_pytorch_model.safetensors").unlink(missing_ok=True)
    found = load_diffusers_dit(folder)[0].state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    next(folder.glob("*-00002-*.safetensors")).unlink()
    with pytest.raises(UserError, match=r"00002-of-.*safetensors does not exist"):
        load_diffusers_dit(folder)


def test_older_files_of_torch_save(folder: Path) -> None:
    expected = load_diffusers_dit(folder)[0].state_dict()
    weights = folder / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    edit(folder / "config.json", _class_name="Transformer2DModel")  # as the published folders say
    found = load_diffusers_dit(folder)[0].state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_folders_that_hold_no_network(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        UserError, match=r"empty holds nothing; expected model_index.json \(a DiTPipeline\) or config.json"
    ):
        load_diffusers_dit(empty)
    with pytest.raises(UserError, match="missing does not exist"):
        load_diffusers_dit(tmp_path / "missing")
    with pytest.raises(UserError, match="is a file; a checkpoint is loaded by load_dit_checkpoint"):
        load_diffusers_dit(folder / "config.json")
    (empty / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match=r"is a pipeline without .*transformer/config.json"):
        load_diffusers_dit(empty)
    weights = folder / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="cut short"):
        load_diffusers_dit(folder)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="git-lfs pointer"):
        load_diffusers_dit(folder)
    weights.unlink()
    with pytest.raises(
        UserError, match=r"holds config.json, and no weights; expected diffusion_pytorch_model.safetensors"
    ):
        load_diffusers_dit(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_class_name": "UNet2DModel"}, "describes a UNet2DModel; expected a DiTTransformer2DModel"),
        ({"activation_fn": "geglu"}, "activation_fn is 'geglu'; our network has 'gelu-approximate'"),
        ({"norm_type": "ada_norm"}, "norm_type is 'ada_norm'"),
        ({"sample_size": [8, 16]}, r"sample_size is \[8, 16\]; expected one number"),
        ({"num_layers": 3}, "lacks tensors of this network: blocks.2"),
        ({"num_layers": 1}, r"no place for: blocks\.1\."),
        ({"in_channels": 3}, r"x_embedder.proj.weight in .* has the shape"),
    ],
)
def test_configurations_that_are_not_ours(folder: Path, values: dict, message: str) -> None:
    edit(folder / "config.json", **values)
    with pytest.raises(UserError, match=message):
        load_diffusers_dit(folder)


def test_other_sizes_than_asked_for(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is for images \[4, 8, 8\] .*; \[4, 16, 16\] were asked for"):
        load_diffusers_dit(folder, shape=(4, 16, 16))
    with pytest.raises(UserError, match=r"has 5 classes and the null class; 7 were asked for.*resize_class_table"):
        load_diffusers_dit(folder, num_classes=7)


def test_embedders_that_went_apart_in_training(folder: Path) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["transformer_blocks.1.norm1.emb.timestep_embedder.linear_2.bias"] += 1e-3
    save_file(tensors, weights)
    with pytest.raises(
        UserError, match=r"transformer_blocks.1.norm1.emb.* differs from its counterpart.*one for all blocks"
    ):
        load_diffusers_dit(folder)


def test_weights_of_another_network(folder: Path) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    save_file({"conv_in.weight": torch.ones(1)}, weights)
    with pytest.raises(UserError, match="holds no class table"):
        load_diffusers_dit(folder)
    tensors = {"conv_in.weight": torch.ones(1), **to_diffusers_state_dict(small(frequency_shift=1))}
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, weights)
    with pytest.raises(UserError, match=r"no place for: conv_in.weight\."):
        load_diffusers_dit(folder)
