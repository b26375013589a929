"""Feature spaces against the packages that they are from, on the same weights; needs `make test-reference`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.operators import register_missing_operators
from sadm.evaluation.features import InceptionV3, open_extractor

LARGEST = 1e-5


def random_inception() -> InceptionV3:
    """Weights and statistics that keep signals alive through all layers."""
    torch.manual_seed(0)
    network = InceptionV3().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0, 0.1)
    return network


def deviation(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference over the spread of theirs."""
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize("side", [28, 299, 320])
def test_inception_equals_torch_fidelity(side: int, tmp_path: Path) -> None:
    register_missing_operators()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = tmp_path / "weights.pth"
    torch.save(random_inception().state_dict(), file)
    wanted = ["2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", wanted, feature_extractor_weights_path=str(file))
    pixels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    ours = open_extractor(f"inception:{file}", "cpu")(pixels)
    features, logits = theirs(pixels)
    assert deviation(ours["features"], features) < LARGEST
    assert deviation(ours["logits"], logits) < LARGEST


def test_dinov2_gives_its_class_token(tmp_path: Path) -> None:
    register_missing_operators()
    import transformers

    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    model = transformers.Dinov2Model(config).eval()
    model.save_pretrained(tmp_path)
    processor = transformers.BitImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4])
    processor.save_pretrained(tmp_path)
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)  # the size that needs no resizing
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std))
    with torch.no_grad():
        expected = model(pixel_values=(pixels / 255 - mean) / std).last_hidden_state[:, 0]
    assert deviation(open_extractor(f"dinov2:{tmp_path}", "cpu")(pixels)["features"], expected) < LARGEST
    with torch.no_grad():
        tokens = model(pixel_values=((pixels / 255 - mean) / std)[:, :, :28, :28]).last_hidden_state
    small = open_extractor(f"transformers:{tmp_path}", "cpu")(pixels[:, :, :28, :28])["features"]
    assert deviation(small, tokens.mean(1)) < LARGEST


def test_timm_gives_pooled_features(tmp_path: Path) -> None:
    register_missing_operators()
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_resnet.r160_in1k", pretrained=False).eval()
    timm.models.save_for_hf(model, tmp_path, model_config={})
    facts = timm.data.resolve_model_data_config(model)
    side = facts["input_size"][-1]
    pixels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    mean, std = (torch.tensor(facts[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        normalised = (pixels / 255 - mean) / std
        expected = model.forward_head(model.forward_features(normalised), pre_logits=True)
    found = open_extractor(f"timm:local-dir:{tmp_path}", "cpu")(pixels)["features"]
    assert deviation(found, expected) < LARGEST
