"""What the bench compares with: the plainest build of the network, with the same weights.

Attention as matmul, softmax, matmul; patches by one permutation of six axes; batch norm unfused; NCHW; float32.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dotcom.models.dot import Attention, DoTBlock


class PlainAttention(nn.Module):
    """The same attention, spelled out."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.norm, self.qkv, self.out = attention.heads, attention.norm, attention.qkv, attention.out

    def forward(self, x: Tensor) -> Tensor:
        groups, tokens, _ = x.shape
        qkv = self.qkv(self.norm(x)).reshape(groups, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (torch.matmul(q, k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.out(torch.matmul(weights, v).transpose(1, 2).reshape(groups, tokens, -1))


class PlainDoT(nn.Module):
    """The same DoT block, its patches made by one permutation of six axes each way."""

    def __init__(self, block: DoTBlock) -> None:
        super().__init__()
        self.local, self.bias_in, self.mlp = block.local, block.bias_in, block.mlp
        self.project, self.bias_out, self.fuse = block.project, block.bias_out, block.fuse
        layers: Any = block.attention
        self.attention = nn.ModuleList(map(PlainAttention, layers))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        local = self.local(x)
        tokens = self.bias_in(local).reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1)
        tokens = tokens.reshape(b * 4, -1, c)
        for attention, mlp in zip(self.attention, self.mlp, strict=True):
            tokens = tokens + attention(tokens)
            tokens = tokens + mlp(tokens)
        world = tokens.reshape(b, 2, 2, h // 2, w // 2, c).permute(0, 5, 3, 1, 4, 2).reshape(b, c, h, w)
        return x + self.fuse(self.bias_out(torch.cat([self.project(world), local], dim=1)))


def reference(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in NCHW in which every DoT block is the plain one."""
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for name, module in list(network.named_modules()):
        if isinstance(module, DoTBlock):
            network.set_submodule(name, PlainDoT(module))
    return network
