"""What can be quantised: the convolutions and linear layers of a traced network, each known by its weights.

Every runtime renames, reorders and transposes on its way in; the numbers of a layer's weights stay what they are.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from dotcom.deploy.formats.torch import exported
from dotcom.deploy.graph import Graph
from dotcom.errors import counted

WEIGHTED = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer, found where it is used.

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
    module = exported(graph).run_decompositions({}).module()
    assert isinstance(module, GraphModule)
    return module


def layers_of(module: GraphModule) -> list[Layer]:
    """The layers with learned weights, in the order of execution.

    A product with a constant matrix, a buffer, is arithmetic (the mean of LayerNorm, say) and stays float32.
    """
    learned = dict(module.named_parameters())
    found = []
    for node in module.graph.nodes:
        target = str(getattr(node.args[1], "target", "")) if node.target in WEIGHTED else ""
        if target in learned:
            weight = learned[target].detach()
            name = target.removeprefix("network.").removesuffix(".weight")
            found.append(Layer(name, key_of(weight.numpy()), node, weight))
    return found


def key_of(weight: np.ndarray[Any, Any]) -> str:
    """A key of some float32 weights that no reordering, transposing or reshaping of them changes."""
    return hashlib.sha256(np.sort(weight, axis=None).astype(np.float32).tobytes()).hexdigest()


def all_found(keys: Collection[str], found: Collection[str | None]) -> None:
    """Raise ValueError if a converter has folded something into weights, so that their layer is not known any more."""
    if lost := set(keys) - set(found):
        raise ValueError(
            f"{counted(len(lost), 'layer')} of the graph cannot be told in its converted form; fuse it first"
        )
