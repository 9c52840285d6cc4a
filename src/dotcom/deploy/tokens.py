"""The transformer of a DoT block in the words of small runtimes: the same numbers from simpler operations.

Shapes: G groups of tokens (4 per image), N tokens of a group, C channels, D width of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dotcom.models.dot import Attention, FeedForward


class HeadsInBatch(nn.Module):
    """Attention whose products are between three axes: the heads of all groups are one batch.

    Three linear layers make queries, keys and values, so that nothing is split; the scale is part of the queries'
    weights; and the product of matrices asks for no broadcasting, which some runtimes spell as copies.

    Shape: (G, N, C) -> (G, N, C).
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.norm, self.out = attention.heads, attention.norm, attention.out
        self.query, self.key, self.value = map(linear, scaled_weights(attention))

    def forward(self, x: Tensor) -> Tensor:
        groups, tokens, _ = x.shape
        x, apart, batch = self.norm(x), (groups, tokens, self.heads, -1), groups * self.heads
        query = self.query(x).view(apart).transpose(1, 2).reshape(batch, tokens, -1)
        key = self.key(x).view(apart).permute(0, 2, 3, 1).reshape(batch, -1, tokens)
        value = self.value(x).view(apart).transpose(1, 2).reshape(batch, tokens, -1)
        found = torch.bmm(torch.bmm(query, key).softmax(dim=-1), value)
        return self.out(found.view(groups, self.heads, tokens, -1).transpose(1, 2).reshape(groups, tokens, -1))


class GroupByGroup(nn.Module):
    """Attention for PyTorch on a CPU: one group of tokens after the other, so that its scores stay in the cache.

    Tokens lie along the last axis of all products, for heads of width 8 leave kernels that work on 16 or more numbers
    at once half idle. The scale is part of the queries' weights.

    Shape: (G, N, C) -> (G, N, C).
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.norm, self.out = attention.heads, attention.norm, attention.out
        self.qkv = linear(torch.cat(scaled_weights(attention)))

    def forward(self, x: Tensor) -> Tensor:
        groups, tokens, _ = x.shape
        parts = self.qkv(self.norm(x)).transpose(1, 2).reshape(groups, 3, self.heads, -1, tokens)
        found = [value @ (query.mT @ key).softmax(dim=-1).mT for query, key, value in parts]
        return self.out(torch.stack(found).view(groups, -1, tokens).mT)


class Standardise(nn.Module):
    """LayerNorm without scale and shift as products of matrices: subtract the mean, divide by the deviation.

    For runtimes that know matrix products and ``rsqrt`` but no LayerNorm: the mean over channels is one too.
    """

    centre: Tensor
    mean: Tensor
    eps: Tensor

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        weight = norm.weight
        width = weight.numel()
        self.register_buffer("centre", torch.eye(width).to(weight) - 1 / width)
        self.register_buffer("mean", torch.full_like(weight, 1 / width)[None])
        self.register_buffer("eps", torch.full_like(weight[:1], norm.eps))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.centre)
        return x * F.linear(x * x, self.mean, self.eps).rsqrt()


def scaled_weights(attention: Attention) -> tuple[Tensor, Tensor, Tensor]:
    """Of queries, the scale of the products in them, of keys and of values."""
    query, key, value = attention.qkv.weight.chunk(3)
    return query * (len(query) / attention.heads) ** -0.5, key, value


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with these numbers."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer


def heads_in_batch(network: nn.Module) -> None:
    """Replace every attention in place."""
    _replace(network, HeadsInBatch)


def group_by_group(network: nn.Module) -> None:
    """Replace every attention in place."""
    _replace(network, GroupByGroup)


def _replace(network: nn.Module, form: type[HeadsInBatch | GroupByGroup]) -> None:
    for name, module in list(network.named_modules()):
        if isinstance(module, Attention):
            network.set_submodule(name, form(module))


def standardise(network: nn.Module) -> None:
    """Replace every LayerNorm in place; its scale and shift go into the linear layers that read it.

    W (g x + h) + b = (W g) x + (W h + b).
    """
    for module in list(network.modules()):
        if isinstance(module, HeadsInBatch):
            for name in ("query", "key", "value"):
                setattr(module, name, _after(module.norm, getattr(module, name)))
            module.norm = Standardise(module.norm)  # type: ignore[assignment]
        elif isinstance(module, FeedForward):
            layers: Any = module
            layers[1] = _after(layers[0], layers[1])
            layers[0] = Standardise(layers[0])


def _after(norm: Any, layer: Any) -> nn.Linear:
    """A linear layer that reads standardised tokens as ``layer`` reads normalised ones."""
    bias = layer.weight @ norm.bias
    return linear(layer.weight * norm.weight, bias if layer.bias is None else bias + layer.bias)
