"""Fusing changes the number of nodes by what the structure predicts, and the output by rounding."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dotcom.bench.randomised import randomised
from dotcom.deploy.fuse import fuse
from dotcom.models import FAT, Classifier, Detector, DoTCoM, DoTCoMConfig, EdgeViT, EdgeViTConfig, FATConfig, Segmenter
from dotcom.models.blocks import ResidualBlock
from dotcom.models.cost import parameters
from dotcom.models.dot import CoBias
from dotcom.models.timm import TimmBackbone

NORM = "aten.native_batch_norm.default"
CO_BIAS = (True, False, "first", "second")
BLOCKS = ("basic", "mv2", "qg", "qib")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

TASKS = {
    "classifier": lambda backbone: Classifier(backbone, 3),
    "detector": lambda backbone: Detector(backbone, 3, extra_channels=(16, 16)),
    "segmenter": lambda backbone: Segmenter(backbone, 3, auxiliary=True),
    "backbone": lambda backbone: backbone,
}


def made(config: DoTCoMConfig, task: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return randomised(TASKS[task](DoTCoM(config))).to(dtype)


def outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Of the last layers, as a segmenter resizes its logits in float32 whatever the network computes in."""
    with torch.no_grad():
        if isinstance(network, Segmenter):
            return [network.classifier(network.aspp(network.backbone(images)[-1]))]
        found = network(images)
    if isinstance(found, dict):
        return [found["bbox_regression"], found["cls_logits"]]
    return list(found) if isinstance(found, tuple) else [found]


def difference(network: nn.Module, other: nn.Module, images: Tensor) -> float:
    """Largest one, relative to the spread of the output it is in."""
    pairs = zip(outputs(network, images), outputs(other, images), strict=True)
    return max(((ours - theirs).abs().max() / ours.std()).item() for ours, theirs in pairs)


def nodes(network: nn.Module) -> int:
    exported = torch.export.export(network, (torch.zeros(1, 3, 64, 64),))
    return sum(node.op == "call_function" for node in exported.graph.nodes)


def operations(network: nn.Module) -> Counter[str]:
    """What a forward pass asks the CPU to do; far cheaper to have than an exported graph."""

    class Operations(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.made: Counter[str] = Counter()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.made[str(func)] += 1
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Operations() as counter:
        network(torch.zeros(1, 3, 64, 64))
    return counter.made


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("co_bias", CO_BIAS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_fuse__computes_the_same(config, task, co_bias, dtype):
    network = made(replace(config, co_bias=co_bias), task, dtype)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fused = fuse(network)
    assert difference(network, fused, torch.randn(1, 3, 64, 96, dtype=dtype)) < TOLERANCE[dtype]
    assert count(fused, nn.BatchNorm2d) == 0
    assert not fused.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_fuse__of_a_network_in_training_is_in_evaluation_mode(config):
    network = made(config, "classifier").train()
    fused = fuse(network)
    assert network.training
    assert not any(module.training for module in fused.modules())
    assert difference(network.eval(), fused, torch.randn(1, 3, 64, 64)) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_fuse__computes_the_same_with_every_block(config, block, dtype):
    network = made(replace(config, block=block), "classifier", dtype)
    assert difference(network, fuse(network), torch.randn(1, 3, 64, 64, dtype=dtype)) < TOLERANCE[dtype]


@pytest.mark.parametrize("variant", ["tiny", "small", "base", "large"])
def test_fuse__holds_for_the_published_sizes(variant):
    network = randomised(Classifier(DoTCoM.from_variant(variant), 10))
    images = torch.randn(1, 3, 64, 64)
    fused = fuse(network)
    assert difference(network, fused, images) < TOLERANCE[torch.float32]
    assert operations(network) - operations(fused) == predicted(count(network, nn.BatchNorm2d), 3)
    if variant == "tiny":
        assert difference(network.double(), fuse(network), images.double()) < TOLERANCE[torch.float64]


def test_fuse__takes_as_many_nodes_out_of_the_exported_graph_as_predicted(config):
    network = made(config, "classifier")
    second = 3 * 3  # in each of three DoT blocks the vector is unsqueezed twice, then added
    assert nodes(network) - nodes(fuse(network)) == count(network, nn.BatchNorm2d) + second


@pytest.mark.parametrize("co_bias", CO_BIAS)
@pytest.mark.parametrize("task", TASKS)
def test_fuse__takes_the_predicted_operations_out(config, task, co_bias):
    network = made(replace(config, co_bias=co_bias), task)
    norms = sum(isinstance(m, nn.BatchNorm2d) for n, m in network.named_modules() if not n.startswith("auxiliary"))
    second = 3 if co_bias in (True, "second") else 0  # one in each DoT block
    gone = operations(network) - operations(fuse(network))
    assert gone == predicted(norms, second)


def predicted(norms: int, second: int) -> Counter[str]:
    """Each norm also asks for the memory of its statistics."""
    return +Counter(
        {
            NORM: norms,
            "aten.empty.memory_format": norms,
            "aten.unsqueeze.default": 2 * second,
            "aten.add.Tensor": second,
        }
    )


def test_fuse__takes_the_predicted_parameters_out(config):
    network = made(config, "segmenter")
    skips = [m for m in network.modules() if isinstance(m, ResidualBlock) and not isinstance(m.skip, nn.Identity)]
    norms = [m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) and not n.startswith("auxiliary")]
    gone = (
        sum(norm.num_features for norm in norms)  # two vectors each, but the convolution gets a bias
        + sum(skip.skip[0].out_channels for skip in skips)
        + sum(block.bias.numel() for name, block in network.named_modules() if name.endswith("bias_out"))
        + parameters(network.auxiliary)
    )
    assert parameters(network) - parameters(fuse(network)) == gone


def test_fuse__leaves_no_parameter_without_effect(config):
    fused = fuse(made(config, "segmenter")).requires_grad_(True)
    fused(torch.randn(1, 3, 64, 64)).square().sum().backward()
    assert [name for name, parameter in fused.named_parameters() if not parameter.grad.any()] == []


def test_fuse__keeps_the_first_co_bias(config):
    fused = fuse(made(config, "classifier"))
    assert count(fused, CoBias) == 3


@torch.no_grad()
@pytest.mark.parametrize(("padding", "groups", "left"), [(0, 1, 0), (1, 1, 1), (0, 3, 1)])
def test_fuse__folds_a_norm_ahead_only_where_nothing_is_padded_or_grouped(padding, groups, left):
    convolution = nn.Conv2d(3, 3, 3, padding=padding, groups=groups, bias=False)
    network = randomised(nn.Sequential(nn.BatchNorm2d(3), convolution))
    fused, images = fuse(network), torch.randn(1, 3, 64, 64)
    assert count(fused, nn.BatchNorm2d) == left
    assert difference(network, fused, images) < TOLERANCE[torch.float32]


def test_fuse__leaves_a_norm_alone_whose_input_something_else_reads():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.convolution(x)
            return x + self.norm(x)

    network, images = randomised(Branch()), torch.randn(1, 3, 64, 64)
    fused = fuse(network)
    assert count(fused, nn.BatchNorm2d) == 1
    assert torch.equal(network(images), fused(images))


def test_fuse__leaves_a_convolution_alone_whose_output_is_returned():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.convolution(x)
            return x, self.norm(x)

    network, images = randomised(Both()), torch.randn(1, 3, 64, 64)
    assert difference(network, fuse(network), images) == 0


def test_fuse__leaves_a_convolution_alone_that_is_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.convolution(self.convolution(x)))

    network, images = randomised(Twice()), torch.randn(1, 3, 64, 64)
    assert torch.equal(network(images), fuse(network)(images))


PEERS = {  # and how many norms stay: the one that heads of EdgeViT read
    "edgevit": (lambda: EdgeViT(EdgeViTConfig(channels=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_dim=8)), 1),
    "fat": (lambda: FAT(FATConfig(channels=(8, 8, 16, 16), heads=(1, 2, 2, 4), depths=(2, 1, 1, 1))), 0),
}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("task", ["classifier", "segmenter"])
def test_fuse__folds_the_norms_of_our_own_peers_also_dilated(peer, task):
    torch.manual_seed(0)
    make, left = PEERS[peer]
    network = randomised(TASKS[task](make())).to(torch.float64, memory_format=torch.channels_last)
    fused = fuse(network)
    assert difference(network, fused, torch.randn(1, 3, 64, 64, dtype=torch.float64)) < TOLERANCE[torch.float64]
    assert count(fused, nn.BatchNorm2d) == left


@pytest.mark.parametrize("name", ["mobilenetv2_100", "repvit_m0_9"])
@pytest.mark.parametrize("pyramid", [True, False])
def test_fuse__folds_the_norms_of_timm(name, pyramid):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    torch.manual_seed(0)
    backbone = TimmBackbone(name, pyramid=pyramid)
    network = randomised(backbone if pyramid else Classifier(backbone, 3)).double()
    fused = fuse(network)
    assert difference(network, fused, torch.randn(1, 3, 64, 64, dtype=torch.float64)) < TOLERANCE[torch.float64]
    assert count(fused, nn.BatchNorm2d) == 0
