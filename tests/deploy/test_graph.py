"""What leaves for a runtime computes the same as the network, from operations that small runtimes know."""

import operator
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from dotcom.bench.randomised import randomised
from dotcom.deploy.graph import Graph, deployed
from dotcom.deploy.tokens import Standardise
from dotcom.models import Classifier, Detector, DoTCoM, Segmenter
from dotcom.models.dot import DoTBlock

SIZE = 64
RUNTIMES = (None, "executorch", "torch")
TASKS = {
    "classifier": lambda backbone: Classifier(backbone, 3),
    "detector": lambda backbone: Detector(backbone, 3, extra_channels=(16, 16)),
    "focal": lambda backbone: Detector(backbone, 3, loss="focal", extra_channels=(16, 16)),
    "segmenter": lambda backbone: Segmenter(backbone, 3),
    "mobilevit": lambda backbone: Segmenter(backbone, 3, head="mobilevit"),
}
ALLOWED = """add bmm cat clamp conv2d div exp flatten hardtanh_ layer_norm linear mean mul permute relu reshape sigmoid
    silu slice softmax sub to transpose unsqueeze upsample_bilinear2d view _assert_tensor_metadata"""


def made(backbone: DoTCoM, task: str) -> nn.Module:
    torch.manual_seed(0)
    return randomised(TASKS[task](backbone))


@torch.no_grad()
def expected(network: nn.Module, images: Tensor) -> list[Tensor]:
    """What the contract of a graph promises, worked out with the network's own methods."""
    found = network(images)
    if not isinstance(network, Detector):
        return [found]
    boxes = network.box_coder.decode_single(found["bbox_regression"][0], found["anchors"])
    logits = found["cls_logits"]
    scores = logits.sigmoid() if network.loss == "focal" else logits.softmax(dim=-1)
    return [clip_boxes_to_image(boxes, (SIZE, SIZE))[None], scores[..., 1:]]


def operations(graph: Graph) -> list[torch.fx.Node]:
    exported = torch.export.export(graph, (graph.example,))
    return [node for node in exported.graph.nodes if node.op == "call_function" and node.target is not operator.getitem]


@torch.no_grad()
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_deployed__computes_the_same(backbone, task, runtime):
    network = made(backbone, task)
    graph = deployed(network, SIZE, runtime)
    images = torch.randn(1, 3, SIZE, SIZE)
    outputs = graph(images)
    assert len(outputs) == len(graph.outputs)
    for ours, theirs in zip(outputs, expected(network, images), strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5 * theirs.std() + 1e-7  # the scores of a focal detector begin alike


@torch.no_grad()
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_deployed__is_exact_in_float64(backbone, runtime):
    network = made(backbone, "classifier").double()
    images = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64)
    logits = network(images)
    assert (deployed(network, SIZE, runtime)(images)[0] - logits).abs().max() < 1e-10 * logits.std()


def test_standardise__divides_by_the_norms_own_deviation():
    """Tokens that hardly vary, where the small constant under the root is most of it."""
    norm = nn.LayerNorm(8, eps=1e-4).double()
    x = 1e-3 * torch.randn(2, 5, 8, dtype=torch.float64)
    assert torch.allclose(Standardise(norm)(x), norm(x), rtol=0, atol=1e-12)


def test_deployed__leaves_the_network_alone(backbone):
    network = made(backbone, "segmenter").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    deployed(network, SIZE, "executorch")
    assert network.training
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("task", ["classifier", "detector", "segmenter"])
def test_graph__has_fixed_shapes_of_four_axes_and_known_operations(backbone, task):
    nodes = operations(deployed(made(backbone, task), SIZE))
    shapes = [node.meta["val"].shape for node in nodes if node.meta["val"] is not None]
    assert max(len(shape) for shape in shapes) <= 4
    assert all(type(side) is int for shape in shapes for side in shape)
    assert {str(node.target).split(".")[1] for node in nodes} <= set(ALLOWED.split())


class Small(nn.Module):
    """A backbone of one DoT block, whose conversion is quick."""

    channels, strides = (8,), (4,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, 4), DoTBlock(8, depth=1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.layers(images),)


def left_out(graph: nn.Module) -> Counter[str]:
    """What ExecuTorch runs by itself; a call of a delegate counts as one."""
    partition = pytest.importorskip(
        "executorch.backends.xnnpack.partition.xnnpack_partitioner", reason="the extra executorch is not installed"
    )
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(graph, (torch.zeros(1, 3, 32, 32),))
    edge = to_edge_transform_and_lower(exported, partitioner=[partition.XnnpackPartitioner()]).exported_program()
    called = [node for node in edge.graph.nodes if node.op == "call_function" and node.target is not operator.getitem]
    return Counter(node.target.__name__ for node in called)


def test_executorch__delegates_the_network_as_a_whole():
    network = randomised(Classifier(Small(), 3))
    assert left_out(deployed(network, 32, "executorch")) == {"executorch_call_delegate": 1}


def test_deployed__for_torch_holds_the_scores_of_one_group_of_tokens_at_a_time(backbone):
    graph = deployed(made(backbone, "classifier"), SIZE, "torch")
    exported = torch.export.export(graph, (graph.example,))
    scores = [node.meta["val"].shape for node in exported.graph.nodes if "softmax" in str(node.target)]
    assert len(scores) == 3 * 4  # one layer in each of three blocks, four groups
    assert all(shape[0] == 4 and shape[1] == shape[2] for shape in scores)  # heads, tokens, tokens


def test_deployed__refuses_what_is_no_task(backbone):
    with pytest.raises(ValueError, match="expected a Classifier, Detector or Segmenter, got DoTCoM"):
        deployed(backbone, SIZE)
