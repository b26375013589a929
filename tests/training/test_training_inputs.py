"""What a step works on: the same from threads as without, weighted as the configuration says, and divided as it says."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sadm.core.errors import InterruptedRun, UserError
from sadm.data.order import uniform_order
from sadm.training.model_folder import load_model
from sadm.training.run import split_for, train
from tiny import Listener, equal_bits, tiny_config, tiny_images, tiny_learner


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder).denoiser.net.state_dict()


def without_index(inputs: Any) -> list[torch.Tensor]:
    return [inputs.x0, inputs.sigma, inputs.noise, inputs.cond.label, inputs.label]


def test_threads_change_no_bit_of_a_run_that_is_stopped_and_goes_on(tmp_path: Path) -> None:
    images, before = tiny_images(), threading.active_count()
    train(tiny_config(data={"flip": True}), tmp_path / "none", images=images)
    with pytest.raises(InterruptedRun):
        train(tiny_config(data={"flip": True, "workers": 2}), tmp_path / "two", Listener(stop_at=4), images)
    assert threading.active_count() == before
    train(tiny_config(data={"flip": True, "workers": 3}), tmp_path / "two", images=images)
    assert equal_bits(weights(tmp_path / "none"), weights(tmp_path / "two"))


def test_an_error_of_a_thread_ends_the_training_with_its_message() -> None:
    learner = tiny_learner(tiny_config(signal="none", data={"workers": 1}), tiny_images())
    learner.stream.order = uniform_order(1000, seed=0)  # of more images than there are
    with pytest.raises(IndexError, match="out of range"):
        learner.advance()
    learner.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_inputs_arrive_as_they_are() -> None:
    config = tiny_config(signal="none", device="cuda", data={"workers": 1})
    ahead, alone = (tiny_learner(config, tiny_images()) for _ in range(2))
    for step in range(5):
        assert ahead.ahead is not None
        inputs = ahead.ahead.get(step)
        assert inputs.x0.is_pinned()
        there = without_index(inputs.to(ahead.device))
        for tensor, expected in zip(there, without_index(alone.inputs(step)), strict=True):
            assert torch.equal(tensor.cpu(), expected)
    ahead.close()


def test_batches_are_balanced_as_the_configuration_says() -> None:
    images = tiny_images(24).subset(torch.tensor([i for i in range(24) if i % 3 == 0 or i < 6]))  # 8, 2 and 2
    assert images.labels is not None
    assert images.labels.bincount().tolist() == [8, 2, 2]
    for data, expected in (({"balance": 1.0}, [4, 4, 4]), ({"repeat": {"b": 3}}, [8, 6, 2])):
        stream = tiny_learner(tiny_config(signal="none", data=data), images).stream
        epoch = torch.cat([stream.batch(step).index for step in range(3)])[: sum(expected)]
        assert images.labels[epoch].bincount().tolist() == expected


def test_a_balanced_model_still_knows_how_frequent_classes_are() -> None:
    images = tiny_images(24).subset(torch.tensor([i for i in range(24) if i % 3 == 0 or i < 6]))
    assert tiny_learner(tiny_config(signal="none", data={"balance": 1.0}), images).spec.label_counts == (8, 2, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"balance": 0.5, "repeat": {"3": 2}}, r"data\.balance \(0\.5\) and data\.repeat both say how often"),
        ({"balance": 1.5}, r"'data\.balance'.*less than or equal to 1"),
        ({"repeat": {"3": 0}}, r"'data\.repeat\.3'.*greater than 0"),
        ({"workers": -1}, r"'data\.workers'.*greater than or equal to 0"),
    ],
)
def test_bad_values_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_config(data=data)


def test_classes_that_images_lack_are_refused() -> None:
    config = tiny_config(signal="none", data={"balance": 1.0})
    with pytest.raises(UserError, match=r"--data\.balance is about classes, but tiny has no labels"):
        tiny_learner(config, tiny_images(labelled=False))


def test_a_class_that_is_never_held_out_is_said(class_folder: Path) -> None:
    listener = Listener()
    split_for(tiny_config(data={"source": str(class_folder)}), listener)
    assert listener.said == []
    (class_folder / "dented").mkdir()
    Image.new("RGB", (10, 10), "red").save(class_folder / "dented" / "only.png")
    split = split_for(tiny_config(data={"source": str(class_folder)}), listener)
    assert len(listener.said) == 1
    assert "All images of 'dented' are in training" in listener.said[0]
    assert "dented/only.png" in split.train.names
