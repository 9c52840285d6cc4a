"""What can be quantised: the convolutions and linear layers of a traced network, each known by its weights.

Every runtime renames, reorders and transposes on its way in; the numbers of a layer's weights stay what they are.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from dotcom.deploy.graph import Graph

WEIGHTED = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer.

    Attributes:
        name: Where its weight is in the network.
        key: Of the weight, see ``key_of``.
        node: Its place in the traced network.
        weight: First axis: output channels.
    """

    name: str
    key: str
    node: Node
    weight: Tensor


def traced(graph: Graph) -> GraphModule:
    """The graph as a list of operations without side effects."""
    module = torch.export.export(graph, (graph.example,), strict=False).run_decompositions({}).module()
    assert isinstance(module, GraphModule)
    return module


def layers_of(module: GraphModule) -> list[Layer]:
    """The layers with weights, in the order of execution."""
    found = []
    for node in weighted(module):
        target = str(node.args[1].target)  # type: ignore[union-attr]
        weight = value_of(module, target)
        name = target.removeprefix("network.").removesuffix(".weight")
        found.append(Layer(name, key_of(weight.numpy()), node, weight))
    return found


def weighted(module: GraphModule) -> Iterator[Node]:
    """The nodes that multiply by stored weights."""
    for node in module.graph.nodes:
        if node.target in WEIGHTED and isinstance(node.args[1], Node) and node.args[1].op == "get_attr":
            yield node


def value_of(module: torch.nn.Module, target: str) -> Tensor:
    """A stored tensor of a traced network, by its dotted name."""
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value.detach()


def key_of(weight: np.ndarray[Any, Any]) -> str:
    """A key of some float32 weights that no reordering, transposing or reshaping of them changes."""
    return hashlib.sha256(np.sort(weight, axis=None).astype(np.float32).tobytes()).hexdigest()
