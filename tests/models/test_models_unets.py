"""Folders of diffusers' UNets: the same numbers, every tensor accounted for, and nothing that runs code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.models.weights import SchedulerFacts, holds_unet, load_diffusers_unet, save_unet_folder
from unet_setup import as_published_in_2022, edit, published_unet, saved_pipeline

diffusers = pytest.importorskip("diffusers")

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
STEPS = torch.tensor([0.0, 420.0, 999.0])
TABLE = "unet.class_embedding.weight"


@torch.no_grad()
@pytest.mark.parametrize("old", [False, True], ids=["today", "2022"])
def test_a_published_unet_gives_the_same_numbers(tmp_path: Path, old: bool) -> None:
    unet = published_unet()
    saved_pipeline(tmp_path, unet)
    if old:
        as_published_in_2022(tmp_path)
    assert holds_unet(tmp_path)
    net, report, facts = load_diffusers_unet(tmp_path)
    assert torch.equal(net(X, STEPS, Cond()), unet(X, STEPS).sample)
    assert not net.training
    assert (facts.shape, facts.num_classes, facts.learned_variance) == ((3, 8, 8), 0, False)
    assert facts.scheduler is not None
    torch.testing.assert_close(facts.scheduler.betas().float(), diffusers.DDPMScheduler().betas, rtol=1e-6, atol=0)
    assert {entry.name for entry in report.loaded} == net.state_dict().keys()
    assert not report.reinitialised
    assert not report.ignored
    notes = {entry.name: entry.note for entry in report.loaded if entry.note}
    assert len(notes) == (8 * 6 if old else 0)  # 2 attentions on the way down, 3 on the way up, 1 in the middle
    if old:
        assert notes["unet.mid_block.attentions.0.to_out.0.bias"] == "proj_attn.bias there"


def test_a_network_alone_has_no_process(tmp_path: Path) -> None:
    published_unet().save_pretrained(tmp_path)
    assert holds_unet(tmp_path)
    _, _, facts = load_diffusers_unet(tmp_path)
    assert facts.scheduler is None


@torch.no_grad()
def test_classes_get_a_null_class_unless_they_have_one(tmp_path: Path) -> None:
    unet = published_unet(num_class_embeds=4)
    unet.save_pretrained(tmp_path)
    table = unet.class_embedding.weight
    net, report, facts = load_diffusers_unet(tmp_path)
    assert (facts.num_classes, net.null_label) == (4, 4)
    assert torch.equal(net.state_dict()[TABLE], torch.cat([table, table.mean(0, keepdim=True)]))
    assert [str(entry) for entry in report.reinitialised] == [
        f"{TABLE} [1x32] (a null class, at the mean of the classes)"
    ]
    assert f"{TABLE} [4x32] (the classes)" in map(str, report.loaded)
    label = torch.tensor([3, 0, 1])
    assert torch.equal(net(X, STEPS, Cond(label=label)), unet(X, STEPS, class_labels=label).sample)

    net, report, facts = load_diffusers_unet(tmp_path, null_is_last=True)
    assert (facts.num_classes, net.null_label) == (3, 3)
    assert torch.equal(net.state_dict()[TABLE], table)
    assert not report.reinitialised
    assert torch.equal(net(X, STEPS, Cond()), unet(X, STEPS, class_labels=torch.tensor([3, 3, 3])).sample)


@torch.no_grad()
@pytest.mark.parametrize("classes", [0, 3])
def test_a_saved_unet_comes_back_here_and_in_diffusers(tmp_path: Path, classes: int) -> None:
    published_unet(num_class_embeds=classes + 1 if classes else None, dropout=0.1).save_pretrained(tmp_path / "source")
    net, _, facts = load_diffusers_unet(tmp_path / "source", null_is_last=True)
    assert facts.dropout == 0.1
    scheduler = SchedulerFacts(prediction_type="v_prediction")
    assert save_unet_folder(net, tmp_path / "out", scheduler) is (classes == 0)
    back, report, facts = load_diffusers_unet(tmp_path / "out")
    assert (facts.scheduler, facts.num_classes, facts.dropout) == (scheduler, classes, 0.0)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in back.state_dict().items())
    assert not report.reinitialised
    theirs = diffusers.UNet2DModel.from_pretrained(tmp_path / "out" / "unet", low_cpu_mem_usage=False)
    label = torch.tensor([2, 0, 3]) if classes else None
    assert torch.equal(net(X, STEPS, Cond(label=label)), theirs(X, STEPS, class_labels=label).sample)
    if not classes:
        pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path / "out")
        assert pipeline.scheduler.config.prediction_type == "v_prediction"
    net.time_scale = 1000.0
    with pytest.raises(UserError, match=r"timestep times 1000 \(net.noise_scale\); diffusers gives the timestep"):
        save_unet_folder(net, tmp_path / "out", scheduler)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    net.time_scale = 1.0
    with pytest.raises(UserError, match="not empty"):
        save_unet_folder(net, tmp_path / "mine", scheduler)
    net.patch = 2
    with pytest.raises(UserError, match=r"squares of 2x2 pixels as channels \(--net.unet.patch\)"):
        save_unet_folder(net, tmp_path / "squares", scheduler)
    assert not (tmp_path / "squares").exists()


class Evil:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_no_file_runs_code(tmp_path: Path) -> None:
    saved_pipeline(tmp_path / "p", published_unet())
    weights = tmp_path / "p" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(pickle.dumps({"conv_in.weight": Evil(str(tmp_path / "made"))}, protocol=2))
    with pytest.raises(UserError, match=r"holds more than tensors|damaged or no file of torch.save"):
        load_diffusers_unet(tmp_path / "p")
    assert not (tmp_path / "made").exists()


def test_what_is_no_such_folder_is_explained(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    saved_pipeline(folder, published_unet())
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(UserError, match="nothing does not exist"):
        load_diffusers_unet(tmp_path / "nothing")
    edit(folder / "unet" / "config.json", out_channels=6)
    with pytest.raises(UserError, match=r"unet\.conv_out\.\w+ in .* has the shape .*; this network needs"):
        load_diffusers_unet(folder)
    edit(folder / "unet" / "config.json", block_out_channels=[8, 16])
    with pytest.raises(UserError, match="describes no UNet2DModel that diffusers can build"):
        load_diffusers_unet(folder)
    edit(folder / "unet" / "config.json", block_out_channels=[8, 16, 16], out_channels=5)
    with pytest.raises(UserError, match="5 output channels for 3"):
        load_diffusers_unet(folder)
    edit(folder / "unet" / "config.json", out_channels=3, _class_name="UNet2DConditionModel")
    with pytest.raises(UserError, match="describes a UNet2DConditionModel; expected a UNet2DModel"):
        load_diffusers_unet(folder)
    edit(folder / "unet" / "config.json", _class_name="UNet2DModel")
    weights.unlink()
    with pytest.raises(UserError, match="no weights"):
        load_diffusers_unet(folder)
    edit(folder / "model_index.json", _class_name="LDMPipeline", vqvae=["diffusers", "VQModel"])
    with pytest.raises(
        UserError, match="is a LDMPipeline with UNet2DModel, vqvae; expected a pipeline of a UNet2DModel"
    ):
        load_diffusers_unet(folder)
