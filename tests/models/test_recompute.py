"""Stages that run again in the backward pass change nothing: not the loss, no gradient, no running statistic."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dotcom.models import Classifier, Detector, DoTCoM, DoTCoMConfig, EdgeViT, Segmenter
from dotcom.models.edgevit import EdgeViTConfig
from dotcom.models.fat import FAT, FATConfig
from dotcom.models.recompute import recomputed
from dotcom.models.timm import TimmBackbone

Make = Callable[[], nn.Module]


@pytest.fixture
def makers(config: DoTCoMConfig) -> dict[str, Make]:
    edgevit = EdgeViTConfig(channels=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_dim=8)
    fat = FATConfig(channels=(8, 8, 16, 16), heads=(1, 1, 2, 2), depths=(1, 1, 1, 1))
    return {
        "classifier": lambda: Classifier(DoTCoM(config), 3),
        "detector": lambda: Detector(DoTCoM(config), 3, extra_channels=(16,)),
        "segmenter": lambda: Segmenter(DoTCoM(config), 3, auxiliary=True),
        "mobilevit": lambda: Segmenter(DoTCoM(config), 3, head="mobilevit"),
        "edgevit": lambda: Classifier(EdgeViT(edgevit), 3),
        "fat": lambda: Classifier(FAT(fat), 3),
    }


def loss_of(network: nn.Module, images: Tensor) -> Tensor:
    outputs = network(images)
    found = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, tuple) else [outputs]
    return torch.stack([output.square().mean() for output in found if output.requires_grad]).sum()


@pytest.mark.parametrize("kind", ["classifier", "detector", "segmenter", "mobilevit", "edgevit", "fat"])
def test_recompute__changes_no_loss_no_gradient_and_no_statistic(makers, kind):
    torch.manual_seed(0)
    plain = makers[kind]().double()
    again = copy.deepcopy(plain)
    again.backbone.recompute("all")
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    for _ in range(2):
        losses = []
        for network in (plain, again):
            torch.manual_seed(1)  # heads have dropout
            losses.append(loss_of(network, images))
            losses[-1].backward()
        torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12, msg=name)
    for (name, one), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(("stages", "expected"), [([], [1] * 5), ([0, 2], [2, 1, 2, 1, 1]), ("all", [2] * 5)])
def test_recompute__runs_those_stages_twice_and_only_for_gradients(backbone, stages, expected):
    runs = [0] * 5

    def count(number: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            runs[number] += 1

        return hook

    backbone.recompute(stages)
    for number, part in enumerate((backbone.stem, *backbone.stages)):
        part.register_forward_pre_hook(count(number))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        backbone(images)
    assert runs == [1] * 5
    sum(x.mean() for x in backbone(images)).backward()
    assert [number - 1 for number in runs] == expected


def test_recompute__counts_a_batch_once_where_the_network_is_compiled():
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SiLU())
    same, images = copy.deepcopy(part), torch.rand(2, 3, 4, 4)
    compiled = torch.compile(lambda x: recomputed(part, x), backend="aot_eager", fullgraph=True)
    for run in (compiled, same):
        run(images).sum().backward()
    assert part[1].num_batches_tracked == 1
    torch.testing.assert_close(part[1].running_mean, same[1].running_mean)
    torch.testing.assert_close(part[0].weight.grad, same[0].weight.grad)


def test_recompute__leaves_norms_as_they_were_where_the_second_run_fails():
    part = nn.Sequential(nn.BatchNorm2d(3), nn.SiLU())
    result = recomputed(part, torch.rand(2, 3, 4, 4, requires_grad=True))

    def fail(*_: object) -> None:
        raise RuntimeError("once more is too much")

    part[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="too much"):
        result.sum().backward()
    assert part[0].momentum == 0.1
    assert part[0].num_batches_tracked == 1


def test_recompute__refuses_a_stage_that_is_not_there(backbone):
    with pytest.raises(ValueError, match=r"numbers from 0 \(the stem\) to 4, got 5"):
        backbone.recompute([1, 5])


def test_recompute__is_refused_by_networks_of_timm():
    with pytest.raises(ValueError, match="name=test_efficientnet: networks of timm keep what they compute"):
        TimmBackbone("test_efficientnet").recompute("all")
