"""The published network's numbers are reproduced in float64, from weights in its own format."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from dotcom.models import Classifier, DoTCoM, load_weights
from models.oracle import ORACLE, image, original_state

VARIANTS = tuple(ORACLE)


@pytest.fixture(scope="module", params=VARIANTS)
def filled(request, tmp_path_factory) -> tuple[str, dict, Classifier]:
    """One size: its name, what the oracle says of it, and our network with the original's weights."""
    path = tmp_path_factory.mktemp("original") / "original.pth"
    torch.save(original_state(request.param), path)
    network = Classifier(DoTCoM.from_variant(request.param), num_classes=1000).double()
    load_weights(network, path)
    return request.param, ORACLE[request.param], network


def close(ours: torch.Tensor, theirs: list[float], scale: float) -> None:
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("size", ["64x64", "64x96", "256x256", "64x64_shift0.7"])
def test_logits__equal_the_original(filled, size, memory_format):
    _, oracle, network = filled
    expected = oracle["eval"][size]
    height, width = map(int, size.partition("_")[0].split("x"))
    images = image(height, width, 0.7 if "shift" in size else 0.0).contiguous(memory_format=memory_format)
    with torch.inference_mode():
        logits = network.eval().to(memory_format=memory_format)(images)[0]
    close(logits[:8], expected["first8"], expected["std"])
    close(logits.norm(), expected["l2"], expected["l2"])
    close(logits.sum(), expected["sum"], expected["l2"])
    assert logits.argmax() == expected["argmax"]


def test_logits_without_co_bias__equal_the_original(filled):
    variant, oracle, network = filled
    expected = oracle["eval_no_co_bias"]["64x64"]
    off = Classifier(DoTCoM.from_variant(variant, co_bias=False), num_classes=1000).double()
    off.load_state_dict({k: v for k, v in network.state_dict().items() if ".bias_" not in k})
    with torch.inference_mode():
        logits = off.eval()(image(64, 64))[0]
    close(logits[:8], expected["first8"], expected["std"])


def test_training_step__equals_the_original(filled):
    _, oracle, network = filled
    expected = oracle["train_64x64_batch2"]
    network = copy.deepcopy(network)  # training moves the running statistics
    images = torch.cat([image(64, 64), image(64, 64, 0.7)])
    logits = network.train()(images)
    loss = nn.functional.cross_entropy(logits, torch.tensor(expected["labels"]))
    loss.backward()
    close(logits[:, :8].flatten(), [x for row in expected["logits_first8"] for x in row], logits.std().item())
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-9)
    total = torch.stack([p.grad.norm() for p in network.parameters()]).norm()
    assert total.item() == pytest.approx(expected["total_grad_norm"], rel=1e-9)


def test_second_co_bias__has_no_gradient_and_the_first_has(filled):
    network = copy.deepcopy(filled[2])
    images = torch.cat([image(64, 64), image(64, 64, 0.7)])
    nn.functional.cross_entropy(network.train()(images), torch.tensor([3, 7])).backward()
    for name, parameter in network.named_parameters():
        if ".bias_out." in name:
            assert parameter.grad.norm() < 1e-12, name
        if ".bias_in." in name:
            assert parameter.grad.norm() > 1e-3, name


def test_names__of_the_original_are_all_known(tmp_path: Path, capsys):
    torch.save({f"module.{k}": v for k, v in original_state("tiny").items()}, tmp_path / "parallel.pth")
    load_weights(Classifier(DoTCoM.from_variant("tiny"), num_classes=1000), tmp_path / "parallel.pth")
    assert "467 tensors loaded, 0 skipped, 0 missing; 100.0% of the backbone" in capsys.readouterr().out
