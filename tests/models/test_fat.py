"""FAT is the network that was released: its size, its cost, and what it computes."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from dotcom.fingerprint import fingerprint
from dotcom.models import FAT, Classifier, Detector, FATConfig, Segmenter
from dotcom.models.checkpoint import from_config
from dotcom.models.cost import macs, parameters
from dotcom.models.fat import KERNELS, SAMPLING, VARIANTS, AdaptiveAttention, ConvPerceptron, Mixer, modulated, sampler
from dotcom.resume import NETWORK, differing, override_for
from test_conf import composed

# parameters, and the paper's figures: millions of parameters, G multiply-accumulates at 224
PUBLISHED = {"b0": (4_485_848, 4.5, 0.7), "b1": (7_808_560, 7.8, 1.2), "b2": (13_451_848, 13.5, 2.0)}
SMALL = FATConfig(channels=(8, 8, 16, 16), heads=(1, 2, 2, 4), depths=(2, 1, 1, 1))


@pytest.fixture
def small() -> FAT:
    torch.manual_seed(0)
    return FAT(SMALL)


def on_meta(variant: str) -> Classifier:
    with torch.device("meta"):
        return Classifier(FAT.from_variant(variant), num_classes=1000)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters__round_to_the_published_figure(variant):
    exact, published, _ = PUBLISHED[variant]
    assert parameters(on_meta(variant)) == exact
    assert round(exact / 1e6, 1) == published


@pytest.mark.parametrize("variant", VARIANTS)
def test_macs__of_convolutions_and_linear_layers_round_to_the_published_figure(variant):
    counts = macs(on_meta(variant), 224)
    assert round((counts["convolution"] + counts["linear"]) / 1e9, 1) == PUBLISHED[variant][2]
    assert 0 < counts["attention"] < 0.1e9  # which the paper leaves out: with it, B0 would have 0.8 and B2 2.1


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


@torch.no_grad()
def test_dilate__gives_the_last_map_stride_16_with_the_same_parameters(small):
    images = torch.rand(1, 3, 64, 96)
    before, weights = small.eval()(images), small.state_dict()
    maps = small.dilate().dilate()(images)
    assert small.strides == (4, 8, 16, 16)
    assert maps[-1].shape == (1, 16, 4, 6)
    assert all(torch.equal(a, b) for a, b in zip(maps[:3], before[:3], strict=True))
    assert small.state_dict().keys() == weights.keys()


@torch.no_grad()
def test_dilate__keeps_what_the_strided_network_saw_at_its_pixels(small):
    def layers() -> nn.Sequential:  # those that look at neighbours alone, without a norm over all pixels
        return nn.Sequential(small.stages[3][0].shortcut, small.stages[3][1].position).eval()

    x = torch.rand(1, 16, 16, 16)
    before = layers()(x)
    small.dilate()
    torch.testing.assert_close(layers()(x)[:, :, ::2, ::2], before)


@pytest.mark.parametrize("stages", [3, 4])
def test_backward__reaches_every_parameter(small, stages):
    small.keep(stages)
    sum(m.square().sum() for m in small(torch.rand(2, 3, 64, 64))).backward()
    assert [name for name, p in small.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_initial_weights__follow_from_the_seed_alone():
    torch.manual_seed(3)
    one = FAT(SMALL).state_dict()
    torch.manual_seed(3)
    torch.rand(17)  # what was drawn before must not matter
    other = FAT(SMALL).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_modulation__weights_each_context_by_the_other():
    local, world = torch.rand(2, 8, 4, 4, dtype=torch.float64) - 0.5
    together = modulated(local, world) * modulated(world, local)
    torch.testing.assert_close(together, modulated(world, local) * modulated(local, world))  # neither comes first
    assert (modulated(local, world).abs() < local.abs()).all()
    assert (modulated(world, local).abs() < world.abs()).all()
    torch.testing.assert_close(modulated(local, torch.full_like(local, 50.0)), local)


@torch.no_grad()
@pytest.mark.parametrize("two_way", [False, True])
def test_attention__is_the_formula_worked_out_by_hand(two_way):
    """out(local * sigmoid(world) * world), and times sigmoid(local) with both directions; in NumPy, pixel by pixel."""
    attention = AdaptiveAttention(8, heads=2, kernel_size=3, sampling=1, two_way=two_way).double().eval()
    images = torch.rand(1, 8, 4, 4, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in attention.state_dict().items()}
    x = images[0].numpy().reshape(8, 16)

    def linear(name: str, values: np.ndarray) -> np.ndarray:
        return weights[f"{name}.weight"][:, :, 0, 0] @ values + weights[f"{name}.bias"][:, None]

    query, key_value = linear("query", x), linear("key_value", x)
    key, value = key_value[:8], key_value[8:]
    world = np.zeros((8, 16))
    for head in (slice(0, 4), slice(4, 8)):
        for pixel in range(16):
            likeness = np.array([query[head, pixel] @ key[head, other] for other in range(16)]) / 2  # 4 ** 0.5
            shares = np.exp(likeness) / np.exp(likeness).sum()
            world[head, pixel] = value[head] @ shares
    padded = np.pad(query.reshape(8, 4, 4), ((0, 0), (1, 1), (1, 1)))
    local = np.zeros((8, 4, 4))
    for channel, row, column in np.ndindex(8, 4, 4):
        window = padded[channel, row : row + 3, column : column + 3]
        local[channel, row, column] = (window * weights["local.weight"][channel, 0]).sum() + weights["local.bias"][
            channel
        ]
    local = local.reshape(8, 16)
    local = local / (1 + np.exp(-local))  # SiLU
    joined = local / (1 + np.exp(-world)) * world
    joined = joined / (1 + np.exp(-local)) if two_way else joined
    expected = linear("out", joined).reshape(8, 4, 4)
    np.testing.assert_allclose(attention(images)[0].numpy(), expected, rtol=1e-12, atol=1e-14)


def test_switch__is_off_in_every_size_and_costs_no_parameter():
    with torch.device("meta"):
        usual, both = FAT.from_variant("b0"), FAT.from_variant("b0", two_way=True)
    assert {layer.two_way for layer in usual.modules() if isinstance(layer, AdaptiveAttention)} == {False}
    assert {layer.two_way for layer in both.modules() if isinstance(layer, AdaptiveAttention)} == {True}
    assert usual.state_dict().keys() == both.state_dict().keys()


def test_earlier_checkpoints__go_on_computing_what_they_were_trained_with():
    """Runs before the switch weighted both ways; their weights would fit, and mean something else."""
    run = OmegaConf.to_container(composed("model=fat_b0", "data=fashion"), resolve=True)
    earlier = {**run["task"]["model"], "weights": None}
    earlier["backbone"] = {key: value for key, value in earlier["backbone"].items() if key != "two_way"}
    for model, expected in ((run["task"]["model"], {False}), (earlier, {True})):
        network = from_config(model, "a test")
        assert {layer.two_way for layer in network.modules() if isinstance(layer, AdaptiveAttention)} == expected
    saved = {**run, "model": earlier["backbone"]}
    assert fingerprint(run) != fingerprint(saved) == fingerprint({**run, "model": {**run["model"], "two_way": True}})
    assert differing(OmegaConf.create(saved), OmegaConf.create(run), NETWORK) == ["model.two_way"]
    assert override_for("model.two_way", OmegaConf.create(saved), OmegaConf.create(run)) == "model.two_way=true"


@torch.no_grad()
def test_block__lets_any_pixel_reach_any_other_but_its_convolution_only_neighbours():
    mixer = Mixer(8, heads=2, kernel_size=5, sampling=4).eval()
    x, touched = torch.rand(1, 8, 16, 16), torch.zeros(16, 16)
    touched[7, 7] = 1
    moved = (mixer.attention(x + touched) - mixer.attention(x)).abs().sum(dim=(0, 1))
    assert (moved > 0).all()
    rows, columns = (mixer.position(x + touched) - mixer.position(x)).abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 9, 5, 9)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_sampler__is_finely_grained(sampling):
    """Halving by halving, rather than in one step; no layer at all where nothing is sampled."""
    layers = sampler(8, sampling)
    strides = [layer.stride for layer in layers if isinstance(layer, nn.Conv2d) and layer.groups == 8]
    assert strides == [(2, 2)] * {1: 0, 2: 1, 4: 2, 8: 3}[sampling]
    assert layers(torch.rand(2, 8, 16, 16)).shape == (2, 8, 16 // sampling, 16 // sampling)


def test_stages__see_farther_and_sample_less_the_later_they_are(small):
    mixers = [next(layer for layer in stage if isinstance(layer, Mixer)) for stage in small.stages]
    assert [mixer.position.kernel_size[0] for mixer in mixers] == list(KERNELS) == [3, 5, 7, 9]
    assert [mixer.attention.local.kernel_size[0] for mixer in mixers] == list(KERNELS)


def test_perceptron__has_a_residual_inside_unless_it_strides():
    flat, strided = ConvPerceptron(8, 8), ConvPerceptron(8, 16, stride=2)
    assert strided(torch.rand(2, 8, 8, 8)).shape == (2, 16, 4, 4)
    with torch.no_grad():
        x = torch.rand(2, 8, 8, 8)
        for half in (flat.eval(), strided.eval()):
            half.depthwise.weight.zero_()
        told = [(half(x) - half.shortcut(x)).std(dim=(2, 3)) for half in (flat, strided)]
    assert (told[0] > 1e-3).all()  # the hidden pixels themselves
    assert (told[1] < 1e-5).all()  # one constant


@torch.no_grad()
def test_heads__build_on_it(small):
    images = torch.rand(1, 3, 64, 64)
    assert Segmenter(small, num_classes=5).eval()(images).shape == (1, 5, 64, 64)
    outputs = Detector(FAT(SMALL), num_classes=4, extra_channels=(16,)).eval()(images)
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
        assert network(images).isfinite().all()


def test_mistakes__are_named():
    with pytest.raises(ValueError, match=r"variant must be one of .*b0.*, got 'b3'"):
        FAT.from_variant("b3")
    with pytest.raises(ValueError, match=r"multiples of 32, got 100x64"):
        FAT.from_variant("b0")(torch.rand(1, 3, 100, 64))
