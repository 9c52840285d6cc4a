"""The DoT block: local convolution, patch attention, fusion, with optional Co-Bias.

Every tensor has at most four dimensions, because several phone runtimes stop there.
Shapes: B batch, C channels, H W pixels, N = H * W / 4 tokens per pixel position.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from dotcom.models.blocks import conv

CoBiasKind = Literal[True, False, "first", "second"]

PATCH = 2  # side of a square patch, in pixels of the feature map


class CoBias(nn.Module):
    """A learned offset per channel: (B, C, H, W) -> (B, C, H, W), zero at the start.

    Source: DoTCoM README, Co-Bias and Fig. 3.
    Note: stored as a vector of length C where the original has (1, C, 1, 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[:, None, None]


class Attention(nn.Module):
    """Pre-norm self-attention between the tokens of one group: (G, N, C) -> (G, N, C).

    Source: DoTCoM repository; 4 heads of width 8 whatever C is, no positional encoding.
    """

    def __init__(self, dim: int, heads: int = 4, head_dim: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(part, "g n (heads d) -> g heads n d", heads=self.heads)
            for part in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )
        return self.out(rearrange(attend(q, k, v), "g heads n d -> g n (heads d)"))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of queries, keys and values (G, heads, N, d); on a CPU always in float32.

    PyTorch's kernel takes longer in bfloat16 than in float32 there if heads are as narrow as ours: with mixed precision
    a training step of DoTCoM-Tiny at 128 pixels takes 1.4 times as long.
    """
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    return F.scaled_dot_product_attention(q, k, v)


class FeedForward(nn.Sequential):
    """Pre-norm two-layer perceptron on the last axis."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim))


def unfold(x: Tensor) -> Tensor:
    """Group the pixels by their position within a 2x2 patch: (B, C, H, W) -> (4B, N, C).

    Pixels at the same position of all patches form one group; attention runs inside a group.
    In channels_last the first step is a view, and each of the other two is one copy.
    """
    pixels = rearrange(x, "b c h w -> b h (w c)")
    rows = rearrange(pixels, "b (h p) wc -> (b p) (h wc)", p=PATCH)
    return rearrange(rows, "b (n q c) -> (b q) n c", q=PATCH, c=x.shape[1])


def fold(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo ``unfold``: (4B, N, C) -> (B, C, height, width)."""
    rows = rearrange(tokens, "(b q) n c -> b (n q c)", q=PATCH)
    pixels = rearrange(rows, "(b p) (h wc) -> b (h p) wc", p=PATCH, h=height // PATCH)
    return rearrange(pixels, "b h (w c) -> b c h w", w=width)


class DoTBlock(nn.Module):
    """Local convolution, a transformer across patches, and a fusion of the two.

    Shape: (B, C, H, W) -> (B, C, H, W); H and W must be even.
    Source: DoTCoM README, Fig. 1 (DoT block) and Fig. 2, with the published code deciding where they differ.
    Note: ``co_bias="second"`` cannot change the network's function while training: a constant per channel
        passes the 1x1 convolution as a constant and batch norm subtracts it. It is kept for parity.

    Args:
        channels: C; also the width of the transformer.
        depth: Transformer layers; the MLP is ``depth`` times as wide as C.
        co_bias: ``True`` adds Co-Bias before the transformer and before the fusion, as published;
            ``"first"`` and ``"second"`` add only that one.
    """

    def __init__(self, channels: int, depth: int, co_bias: CoBiasKind = True) -> None:
        super().__init__()
        self.local = nn.Sequential(conv(channels, channels, 3, groups=channels), conv(channels, channels, 1))
        self.bias_in = CoBias(channels) if co_bias in (True, "first") else nn.Identity()
        self.attention = nn.ModuleList(Attention(channels) for _ in range(depth))
        self.mlp = nn.ModuleList(FeedForward(channels, channels * depth) for _ in range(depth))
        self.project = conv(channels, channels, 1)
        self.bias_out = CoBias(2 * channels) if co_bias in (True, "second") else nn.Identity()
        self.fuse = conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        local = self.local(x)
        tokens = unfold(self.bias_in(local))
        for attention, mlp in zip(self.attention, self.mlp, strict=True):
            tokens = tokens + attention(tokens)
            tokens = tokens + mlp(tokens)
        world = fold(tokens, *x.shape[-2:])
        return x + self.fuse(self.bias_out(torch.cat([self.project(world), local], dim=1)))
