"""EdgeViT is the network that was published: its size, its cost, and which pixels attend to which."""

import pytest
import torch
from torch import Tensor, nn

from dotcom.models import Classifier, Detector, EdgeViT, EdgeViTConfig, Segmenter
from dotcom.models.cost import macs, parameters
from dotcom.models.edgevit import EXPANSION, PATCHES, VARIANTS, LGLBlock, SparseAttention

# parameters, and the paper's figures: millions of parameters, G multiply-accumulates at 224
PUBLISHED = {"xxs": (4_067_704, 4.1, 0.6), "xs": (6_770_056, 6.7, 1.1), "s": (13_108_168, 11.1, 1.9)}


@pytest.fixture
def small() -> EdgeViT:
    torch.manual_seed(0)
    return EdgeViT(EdgeViTConfig(channels=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_dim=8))


def on_meta(variant: str) -> Classifier:
    with torch.device("meta"):
        return Classifier(EdgeViT.from_variant(variant), num_classes=1000)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters__are_those_of_the_released_code(variant):
    exact, published, _ = PUBLISHED[variant]
    assert parameters(on_meta(variant)) == exact
    if variant != "s":  # 13.1 M, printed as 11.1
        assert abs(exact / 1e6 - published) < 0.1  # XS is cut off


@pytest.mark.parametrize("variant", VARIANTS)
def test_macs__round_to_the_published_figure(variant):
    counts = macs(on_meta(variant), 224)
    assert round(sum(counts.values()) / 1e9, 1) == PUBLISHED[variant][2]
    assert min(counts.values()) > 0


def test_depths_quoted_from_the_paper__have_neither_its_parameters_nor_its_cost():
    channels, head_dim = VARIANTS["s"].channels, VARIANTS["s"].head_dim
    with torch.device("meta"):
        config = EdgeViTConfig(channels=channels, depths=(1, 2, 3, 2), head_dim=head_dim)
        network = Classifier(EdgeViT(config), num_classes=1000)
    assert parameters(network) == 8_758_504
    assert round(sum(macs(network, 224).values()) / 1e9, 2) == 1.37


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward__returns_the_promised_pyramid(variant):
    backbone = on_meta(variant).backbone
    maps = backbone(torch.empty(2, 3, 64, 96, device="meta"))
    assert backbone.strides == (4, 8, 16, 32)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(VARIANTS[variant].channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@torch.no_grad()
def test_keep__leaves_the_first_maps_as_they_were(small, stages):
    images = torch.rand(1, 3, 64, 64)
    before = small.eval()(images)
    after = small.keep(stages)(images)
    assert len(after) == len(small.channels) == len(small.strides) == stages
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=False))
    with pytest.raises(ValueError, match=f"1 to {stages}, got {stages + 1}"):
        small.keep(stages + 1)


@torch.no_grad()
def test_dilate__gives_the_last_map_stride_16_with_the_same_parameters(small):
    images = torch.rand(1, 3, 64, 96)
    before, weights = small.eval()(images), small.state_dict()
    maps = small.dilate().dilate()(images)
    assert small.strides == (4, 8, 16, 16)
    assert maps[-1].shape == (1, 16, 4, 6)
    assert all(torch.equal(a, b) for a, b in zip(maps[:3], before[:3], strict=True))
    assert small.state_dict().keys() == weights.keys()
    with pytest.raises(ValueError, match="only the fourth stage can be dilated, 3 are left"):
        small.keep(3).dilate()


@torch.no_grad()
def test_dilate__keeps_what_the_strided_network_saw_at_its_pixels(small):
    """Without attention and norms over all pixels, every second pixel computes what it did before."""
    start, block = small.stages[3][0], small.stages[3][1][0]
    x = torch.rand(1, 16, 8, 8)
    before = block(start(x))
    small.dilate()
    torch.testing.assert_close(block(start(x))[:, :, ::2, ::2], before)


@pytest.mark.parametrize("stages", [3, 4])
def test_backward__reaches_every_parameter(small, stages):
    small.keep(stages)
    sum(m.square().sum() for m in small(torch.rand(2, 3, 64, 64))).backward()
    assert [name for name, p in small.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_initial_weights__follow_from_the_seed_alone():
    config = EdgeViTConfig(channels=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_dim=8)
    torch.manual_seed(3)
    one = EdgeViT(config).state_dict()
    torch.manual_seed(3)
    torch.rand(17)  # what was drawn before must not matter
    other = EdgeViT(config).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("patch", [2, 4])
@torch.no_grad()
def test_attention__sees_one_token_of_each_patch(patch):
    attention = SparseAttention(8, heads=2, patch=patch)
    x = torch.rand(1, 8, 8, 8)
    before = attention(x)
    unheard = torch.ones(8, 8)
    unheard[::patch, ::patch] = 0
    torch.testing.assert_close(attention(x + unheard), before)
    one_token = torch.zeros(8, 8)
    one_token[patch, 0] = 1
    moved = (attention(x + one_token) - before).abs().amax(dim=(0, 2))
    assert (moved > 0).all()  # everywhere in the map


@torch.no_grad()
def test_propagation__starts_by_telling_a_whole_patch_the_same():
    out = SparseAttention(8, heads=2, patch=4)(torch.rand(1, 8, 8, 8)).reshape(1, 8, 8, 8)  # b h w c
    assert torch.equal(out, out[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))


@torch.no_grad()
def test_block__lets_any_pixel_reach_any_other_but_its_local_half_only_neighbours():
    block = LGLBlock(8, heads=1, patch=4).eval()
    x, touched = torch.rand(1, 8, 16, 16), torch.zeros(16, 16)
    touched[5, 5] = 1

    def reach(layers: nn.Module) -> Tensor:
        return (layers(x + touched) - layers(x)).abs().sum(dim=(0, 1)) > 0

    assert reach(block).all()
    rows, columns = reach(nn.Sequential(*list(block)[:3])).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 8, 2, 8)  # 3x3, then 5x5


def test_local_half__is_there_where_there_are_patches():
    assert [len(LGLBlock(8, 1, patch)) for patch in PATCHES] == [5, 5, 5, 2]
    assert EXPANSION == 4


@torch.no_grad()
def test_heads__build_on_it(small):
    images = torch.rand(1, 3, 64, 64)
    assert Segmenter(small, num_classes=5).eval()(images).shape == (1, 5, 64, 64)
    torch.manual_seed(0)
    fresh = EdgeViT(EdgeViTConfig(channels=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_dim=8))
    outputs = Detector(fresh, num_classes=4, extra_channels=(16,)).eval()(images)
    assert outputs["cls_logits"].shape == (1, 6 * (16 + 4 + 1), 5)


def test_export__computes_the_same_with_at_most_four_dimensions(small):
    network = Classifier(small, 3).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    exported = torch.export.export(network, (torch.rand(2, 3, 64, 64),), dynamic_shapes=(batch,))
    more = torch.rand(5, 3, 64, 64)
    torch.testing.assert_close(exported.module()(more), network(more))
    shown = [node.meta["val"] for node in exported.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert max(value.dim() for value in shown) == 4


def test_channels_last_and_autocast__compute_the_same(small):
    network, images = Classifier(small, 3).eval(), torch.rand(2, 3, 64, 64)
    before = network(images)
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(images), before, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(images).dtype == torch.bfloat16


def test_mistakes__are_named():
    with pytest.raises(ValueError, match=r"variant must be one of .*xxs.*, got 'huge'"):
        EdgeViT.from_variant("huge")
    with pytest.raises(ValueError, match=r"multiples of 32, got 100x64"):
        EdgeViT.from_variant("xxs")(torch.rand(1, 3, 100, 64))
