"""The backbone keeps its contract: sizes, strides, gradients, ablation switches, every way it may be run."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from dotcom.models import Classifier, DoTCoM, DoTCoMConfig
from dotcom.models.blocks import BlockKind
from dotcom.models.dot import CoBiasKind


@pytest.mark.parametrize(
    ("variant", "params"), [("tiny", 1_731_064), ("small", 2_870_440), ("base", 5_895_864), ("large", 11_169_592)]
)
def test_params__match_the_published_sizes(variant, params):
    with torch.device("meta"):
        model = Classifier(DoTCoM.from_variant(variant), num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) == params


@pytest.mark.parametrize("block", get_args(BlockKind))
def test_forward__returns_the_promised_pyramid(config: DoTCoMConfig, block):
    with torch.device("meta"):
        backbone = DoTCoM(replace(config, block=block))
        maps = backbone(torch.empty(2, 3, 64, 96))
    assert backbone.strides == (4, 8, 16, 32)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_keep__leaves_the_first_maps_as_they_were(backbone: DoTCoM, stages):
    images = torch.rand(1, 3, 64, 64)
    before = backbone.eval()(images)
    after = backbone.keep(stages)(images)
    assert len(after) == len(backbone.channels) == len(backbone.strides) == stages
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=False))


def test_keep__names_the_range(backbone: DoTCoM):
    with pytest.raises(ValueError, match="1 to 4, got 5"):
        backbone.keep(5)


@pytest.mark.parametrize(
    ("height", "width", "nearest"), [(100, 64, "96x64 and 128x64"), (250, 250, "224x224 and 256x256"), (5, 5, "32x32")]
)
def test_forward__names_a_size_it_cannot_take_and_the_nearest_it_can(backbone: DoTCoM, height, width, nearest):
    with pytest.raises(ValueError, match=rf"multiples of 32, got {height}x{width}; nearest: {nearest}$"):
        backbone(torch.rand(1, 3, height, width))


@pytest.mark.parametrize("block", get_args(BlockKind))
def test_backward__reaches_every_parameter(config: DoTCoMConfig, block):
    backbone = DoTCoM(replace(config, block=block))
    sum(m.sum() for m in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("co_bias", [False, "first", "second"])
def test_arms__share_every_common_weight_at_step_0(config: DoTCoMConfig, co_bias):
    torch.manual_seed(3)
    full = Classifier(DoTCoM(config), 5).state_dict()
    torch.manual_seed(3)
    torch.rand(17)  # what was drawn before must not matter
    arm = Classifier(DoTCoM(replace(config, co_bias=co_bias)), 5).state_dict()
    assert set(arm) < set(full)
    assert all(torch.equal(arm[name], full[name]) for name in arm)


def test_seeds__give_other_weights(config: DoTCoMConfig):
    torch.manual_seed(0)
    first = DoTCoM(config).stem[0][0].weight
    torch.manual_seed(1)
    assert not torch.equal(first, DoTCoM(config).stem[0][0].weight)


def test_initial_weights__have_the_spread_of_the_original():
    torch.manual_seed(0)
    network = Classifier(DoTCoM.from_variant("base"), 1000)
    dense = network.backbone.stages[2][0][0].skip[0].weight  # 1x1, 128 -> 160
    depthwise = network.backbone.stages[2][2].local[0][0].weight  # 3x3: torch counts 160 * 9 outputs, groups or not
    assert dense.std().item() == pytest.approx((2 / 160) ** 0.5, rel=0.02)
    assert depthwise.std().item() == pytest.approx((2 / (160 * 9)) ** 0.5, rel=0.05)
    assert network.head.weight.abs().max().item() == pytest.approx(768**-0.5, rel=0.01)
    assert all((p == 0).all() for name, p in network.named_parameters() if ".bias_in." in name or ".bias_out." in name)


def test_second_co_bias__changes_nothing_while_training(config: DoTCoMConfig):
    second = DoTCoM(replace(config, co_bias="second")).double()
    off = DoTCoM(replace(config, co_bias=False)).double()
    off.load_state_dict(second.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in second.named_parameters():
            if ".bias_out." in name:
                parameter.normal_()
    images = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    for a, b in zip(second(images), off(images), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_first_co_bias__changes_the_output(config: DoTCoMConfig):
    backbone = DoTCoM(replace(config, co_bias="first"))
    images = torch.rand(4, 3, 64, 64)
    before = backbone(images)[-1]
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if ".bias_in." in name:
                parameter.normal_()
    assert (backbone(images)[-1] - before).abs().max() > 1e-3


@pytest.mark.parametrize(("field", "allowed"), [("block", "qib"), ("co_bias", "second")])
def test_config__names_the_allowed_values(config: DoTCoMConfig, field, allowed):
    with pytest.raises(ValueError, match=f"{field} must be one of .*{allowed}.*, got 'other'"):
        replace(config, **{field: "other"})


def test_variant__names_the_allowed_values():
    with pytest.raises(ValueError, match=r"variant must be one of .*large.*, got 'huge'"):
        DoTCoM.from_variant("huge")


@pytest.mark.parametrize("co_bias", get_args(CoBiasKind))
def test_export__computes_the_same(config: DoTCoMConfig, co_bias):
    network = Classifier(DoTCoM(replace(config, co_bias=co_bias)), 3).eval()
    images = torch.rand(2, 3, 64, 64)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    exported = torch.export.export(network, (images,), dynamic_shapes=(batch,)).module()
    more = torch.rand(5, 3, 64, 64)
    torch.testing.assert_close(exported(more), network(more))


def test_compile__captures_the_whole_network(classifier: Classifier):
    images = torch.rand(2, 3, 64, 64)
    compiled = torch.compile(classifier.eval(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), classifier(images), rtol=1e-4, atol=1e-5)


def test_autocast__runs_in_bfloat16_forward_and_backward(classifier: Classifier):
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(torch.rand(2, 3, 64, 64))
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in classifier.parameters())


def test_channels_last__computes_the_same_and_stays_so(classifier: Classifier):
    images = torch.rand(2, 3, 64, 64)
    before = classifier.eval()(images)
    fast = classifier.to(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(images), before, rtol=1e-4, atol=1e-5)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in fast.backbone(images))
