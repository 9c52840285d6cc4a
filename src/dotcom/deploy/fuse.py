"""The same function in fewer nodes: what evaluation mode makes constant is folded into its neighbours."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from dotcom.models.blocks import ResidualBlock
from dotcom.models.dot import CoBias, DoTBlock
from dotcom.models.segmenter import Segmenter
from dotcom.models.timm import TimmBackbone

PROBE = 64  # side in pixels of the image that shows which layer reads which; any valid size tells the same


def fuse(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without gradients, that computes the same with fewer nodes and parameters.

    * Networks of timm take their own single-path form first (RepViT, FastViT).
    * A batch norm whose input is a convolution's output, read by nothing else, goes into that convolution:
      w' = w g / s, b' = (b - m) g / s + h, with mean m, deviation s, scale g and shift h. One node less each.
      Peers also have norms before a convolution; where it pads nothing, they go into that one.
    * The second Co-Bias goes into the fusing 1x1 convolution: W (y + c) + b = W y + (b + W c). Exact, as that
      convolution pads nothing. The first one stays: SiLU comes before it and LayerNorm after it, and it reaches
      only one of two branches.
    * The skip of a residual block gives its bias to the second convolution: (W2 y + b2) + (Ws x + bs) =
      (W2 y + (b2 + bs)) + Ws x. As many nodes, C_out parameters less.
    * The auxiliary head of a segmenter, which only training reads, is cut. Stages that no head reads were
      already dropped by the task's constructor (``keep``).

    Note: no *path* of a QG block can be merged with another for less. ``act(conv2(silu(conv1(x))) + skip(x))``:
        SiLU lies between ``conv1`` and the sum, so ``skip`` cannot pass into ``conv2``. As one convolution of x,
        ``conv1`` (3x3, 4 groups) and ``skip`` (1x1, dense) must become 3x3 dense, 18 rather than 3.25 products per
        pair of channels, and two slices undo it: three nodes instead of two. As one convolution of [y, x],
        ``conv2`` and ``skip`` must do the same, which needs stride 1, a concatenation, and for equal widths
        18 rather than 3.25 products again. An identity is no cheaper as a convolution than as an addition.

    Args:
        network: Classifier, Detector, Segmenter, a bare DoTCoM, or anything of convolutions and batch norms.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        if isinstance(module, TimmBackbone):
            module.network = _single_path(module.network)
        elif isinstance(module, Segmenter):
            module.auxiliary = None
    fold_norms(network)
    for module in network.modules():
        if isinstance(module, DoTBlock):
            _fold_second_co_bias(module)
        elif isinstance(module, ResidualBlock):
            _move_skip_bias(module)
    return network.eval().requires_grad_(False)  # what came new, too


@torch.no_grad()
def fold_norms(network: nn.Module) -> None:
    """Fold batch norms into the convolutions beside them, in place.

    One forward pass shows which are beside which, whatever the modules are called and however they are nested. A layer
    that is called twice stays as it is, and so does a pair if something else reads what is between the two.
    """
    reads = Reads()
    hooks = [hook for name, module in network.named_modules() for hook in reads.hooks(name, module)]
    with reads:
        outputs = network(_probe(network))
    for hook in hooks:
        hook.remove()
    reads.note(outputs)
    for first, second in reads.pairs():
        layers: list[Any] = [network.get_submodule(name) for name in (first, second)]
        norm = second if isinstance(layers[1], nn.BatchNorm2d) else first
        if norm == second:
            network.set_submodule(first, fuse_conv_bn_eval(*layers))
            network.set_submodule(norm, getattr(layers[1], "act", nn.Identity()))  # timm's norms also activate
        elif _takes_norm(*layers):
            _fold_ahead(*layers)
            network.set_submodule(norm, nn.Identity())


def _takes_norm(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> bool:
    """Whether a constant per channel reaches all of a convolution's outputs alike: zeros around the map would not."""
    unpadded = convolution.padding in (0, (0, 0), "valid")
    return type(norm) is nn.BatchNorm2d and unpadded and convolution.groups == 1


def _fold_ahead(norm: Any, convolution: Any) -> None:
    """W (g (x - m) / s + h) + b = (W g / s) x + (b + W (h - m g / s)), in place."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = convolution.weight.sum(dim=(2, 3)) @ (norm.bias - norm.running_mean * scale)
    convolution.bias = nn.Parameter(shift if convolution.bias is None else convolution.bias + shift)
    convolution.weight *= scale[:, None, None]


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches a forward pass: which convolution or batch norm reads which, and how often tensors are read at all."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()  # how often a tensor, by ``id``, is an operand
        self.alive: list[Any] = []  # so that no two tensors share an ``id``
        self.calls: Counter[str] = Counter()
        self.outputs: dict[int, str] = {}  # who made it, by ``id``
        self.inputs: dict[str, int] = {}  # ``id`` of what it reads
        self.kinds: dict[str, type[nn.Module]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        self.note((args, kwargs))
        self.alive.append(result)
        return result

    def note(self, operands: object) -> None:
        """Something reads these tensors, however nested."""
        tensors = [leaf for leaf in tree_leaves(operands) if isinstance(leaf, Tensor)]
        self.count.update(map(id, tensors))
        self.alive += tensors

    def hooks(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        """Start to watch a module, if it is of a kind that matters."""

        def called(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.calls[name] += 1
            self.inputs[name] = id(inputs[0])
            self.outputs[id(output)] = name

        self.kinds[name] = next((kind for kind in (nn.Conv2d, nn.BatchNorm2d) if isinstance(module, kind)), nn.Module)
        return [] if self.kinds[name] is nn.Module else [module.register_forward_hook(called)]

    def pairs(self) -> list[tuple[str, str]]:
        """A convolution and the norm that alone reads its output, then those in the other order; all called once."""
        found = [
            (self.outputs[x], reader) for reader, x in self.inputs.items() if self.count[x] == 1 and x in self.outputs
        ]
        once = [pair for pair in found if self.calls[pair[0]] == self.calls[pair[1]] == 1]
        mixed = [pair for pair in once if self.kinds[pair[0]] is not self.kinds[pair[1]]]
        return sorted(mixed, key=lambda pair: self.kinds[pair[0]] is nn.BatchNorm2d)


def _probe(network: nn.Module) -> Tensor:
    """An image of a size that the network takes."""
    sizes = [module.fixed_size for module in network.modules() if isinstance(module, TimmBackbone)]
    parameter = next(network.parameters())
    height, width = next((size for size in sizes if size), (PROBE, PROBE))
    return torch.zeros(1, 3, height, width, dtype=parameter.dtype, device=parameter.device)


def _single_path(network: Any) -> nn.Module:
    """The form that timm's networks with parallel branches take after training.

    What remains of the head waits outside: RepViT's would multiply its norm into the linear layer that we took out.
    """
    from timm.utils.model import reparameterize_model

    names = network.default_cfg["classifier"]
    head = (names if isinstance(names, str) else names[0]).split(".")[0]
    rest, default = network.get_submodule(head), torch.get_default_dtype()
    network.set_submodule(head, nn.Identity())
    torch.set_default_dtype(next(network.parameters()).dtype)  # timm builds the merged layers in this one
    try:
        merged = reparameterize_model(network)
    finally:
        torch.set_default_dtype(default)
    merged.set_submodule(head, rest)
    return merged


@torch.no_grad()
def _fold_second_co_bias(block: DoTBlock) -> None:
    if isinstance(block.bias_out, CoBias):
        convolution = block.fuse[0]
        convolution.bias += convolution.weight[:, :, 0, 0] @ block.bias_out.bias
        block.bias_out = nn.Identity()


@torch.no_grad()
def _move_skip_bias(block: ResidualBlock) -> None:
    if not isinstance(block.skip, nn.Identity):
        block.conv2[0].bias += block.skip[0].bias
        block.skip[0].bias = None
