"""The segmenter keeps its promises: sizes, gradients, images of any size, and what the last stage becomes."""

from typing import get_args

import pytest
import timm
import torch
from torch import nn

from dotcom.models import DoTCoM, Segmenter, TimmBackbone
from dotcom.models.dotcom import VARIANTS
from dotcom.models.segmenter import WIDTH, SegmentationHead, aspp


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("variant", "params"), [("small", 3_365_845), ("base", 6_471_397), ("large", 18_082_917)])
def test_params__match_the_published_sizes(variant, params):
    with torch.device("meta"):
        model = Segmenter(DoTCoM.from_variant(variant), num_classes=21)
    assert count(model) == params


@pytest.mark.parametrize(("variant", "params"), [("small", 2_837_973), ("base", 5_077_477), ("large", 9_163_877)])
def test_params__without_the_last_stage_stay_as_they_were_when_measured(variant, params):
    with torch.device("meta"):
        model = Segmenter(DoTCoM.from_variant(variant), num_classes=21, head="mobilevit")
    assert count(model) == params


def test_dense_aspp__gives_mobilevit_the_size_in_its_paper():
    with torch.device("meta"):
        network = timm.create_model("mobilevit_s", num_classes=0)
        network.final_conv = nn.Identity()  # the paper's DeepLabV3 reads the 160 channels before it
        model = nn.ModuleList([network, aspp(160, separable=False), nn.Conv2d(WIDTH, 21, 1)])
    assert count(model) == 6_357_941  # published: 6.4 M


@pytest.mark.parametrize("head", get_args(SegmentationHead))
@pytest.mark.parametrize("variant", VARIANTS)
def test_backward__reaches_every_parameter(variant, head):
    model = Segmenter(DoTCoM.from_variant(variant), num_classes=3, head=head, auxiliary=True)
    sum(logits.square().mean() for logits in model(torch.rand(2, 3, 64, 64))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("head", get_args(SegmentationHead))
@pytest.mark.parametrize("name", ["repvit_m1_0", "mobilenetv2_100", "mobilevit_xxs"])
def test_backward__reaches_every_parameter_of_a_peer(name, head):
    model = Segmenter(TimmBackbone(name), num_classes=3, head=head, auxiliary=True)
    sum(logits.square().mean() for logits in model(torch.rand(2, 3, 64, 64))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("head", get_args(SegmentationHead))
def test_forward__returns_logits_at_input_size(backbone, head):
    model = Segmenter(backbone, num_classes=5, head=head)
    assert model(torch.rand(2, 3, 64, 96)).shape == (2, 5, 64, 96)


def test_auxiliary_logits__are_there_in_training_only(backbone):
    model = Segmenter(backbone, num_classes=5, auxiliary=True)
    images = torch.rand(2, 3, 64, 96)
    logits, auxiliary = model(images)
    assert logits.shape == auxiliary.shape == (2, 5, 64, 96)
    assert model.eval()(images).shape == (2, 5, 64, 96)


@torch.no_grad()
def test_segment__of_odd_sizes_is_the_padded_image_cropped(backbone):
    model = Segmenter(backbone, num_classes=5).eval()
    images = torch.rand(2, 3, 50, 75)
    padded = torch.zeros(2, 3, 64, 96)
    padded[:, :, :50, :75] = images
    assert torch.equal(model.segment(images), model(padded)[:, :, :50, :75])


@torch.no_grad()
def test_segment__of_fitting_sizes_is_the_forward_pass(backbone):
    model = Segmenter(backbone, num_classes=5).eval()
    images = torch.rand(1, 3, 64, 96)
    assert torch.equal(model.segment(images), model(images))


@torch.no_grad()
def test_dilate__gives_the_last_map_stride_16_with_the_same_weights(backbone: DoTCoM):
    images = torch.rand(2, 3, 64, 96)
    backbone(images)  # batch norm sees some data
    before = backbone.eval()(images)
    names = {name: value.clone() for name, value in backbone.state_dict().items()}
    after = backbone.dilate()(images)
    assert backbone.strides == (4, 8, 16, 16)
    assert after[3].shape == (2, backbone.channels[3], 4, 6)
    assert all(torch.equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert all(torch.equal(value, names.pop(name)) for name, value in backbone.state_dict().items())
    assert names == {}
    torch.testing.assert_close(after[3][..., ::2, ::2], before[3])  # every second cell sees what it saw


def test_deeplabv3__reads_the_dilated_last_stage_and_mobilevit_the_map_before(config):
    kept = {head: Segmenter(DoTCoM(config), 3, head=head).backbone for head in get_args(SegmentationHead)}
    assert kept["deeplabv3"].strides == (4, 8, 16, 16)
    assert kept["mobilevit"].strides == (4, 8, 16)


@pytest.mark.parametrize(
    ("variant", "options", "separable"),
    [
        ("base", {}, True),
        ("large", {}, False),  # 1024 channels
        ("base", {"head": "mobilevit"}, False),
        ("base", {"separable": False}, False),
        ("large", {"separable": True}, True),
        ("base", {"head": "mobilevit", "separable": True}, True),
    ],
)
def test_separable__is_the_default_below_1024_channels_of_the_last_stage(variant, options, separable):
    with torch.device("meta"):
        model = Segmenter(DoTCoM.from_variant(variant), num_classes=3, **options)
    atrous = [m for m in model.aspp.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [m.dilation[0] for m in atrous] == [6, 12, 18]
    channels = model.backbone.channels[-1]
    assert [m.groups for m in atrous] == [channels if separable else 1] * 3


def test_head__names_the_allowed_values(backbone):
    with pytest.raises(ValueError, match=r"head must be one of .*mobilevit.*, got 'fcn'"):
        Segmenter(backbone, num_classes=3, head="fcn")


def test_backbone__without_a_map_at_stride_16_is_refused(backbone: DoTCoM):
    with pytest.raises(ValueError, match=r"a map at stride 16, the backbone has \(4, 8\)"):
        Segmenter(backbone.keep(2), num_classes=3)


def test_backbone__without_a_last_stage_cannot_be_dilated(backbone: DoTCoM):
    with pytest.raises(ValueError, match="only the fourth stage can be dilated, 3 are left"):
        Segmenter(backbone.keep(3), num_classes=3)


def test_auxiliary__needs_a_map_before_the_last():
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=r"before the last, mobilevit has only \(16,\); use head="),
    ):
        Segmenter(TimmBackbone("shvit_s1"), num_classes=3, head="mobilevit", auxiliary=True)
