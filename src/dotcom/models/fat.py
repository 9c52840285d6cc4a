"""FAT, a peer: local convolution and global attention, joined by modulation.

Every tensor has at most four dimensions. Shapes: B batch, C channels, H W pixels of a map, N pixels, M sampled pixels.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Self

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from dotcom.models.blocks import conv
from dotcom.models.init import init_weights
from dotcom.models.staged import Staged

FATVariant = Literal["b0", "b1", "b2"]

SAMPLING = (8, 4, 2, 1)  # pixels to a side for each key and value, by stage
KERNELS = (3, 5, 7, 9)  # of the local convolutions, by stage
KERNEL = 5  # of the perceptrons and of all sampling
EXPANSION = 4  # hidden width of every perceptron, as a multiple of C


@dataclass(frozen=True, kw_only=True)
class FATConfig:
    """Widths in channels, attention heads and number of blocks of the four stages; and a switch.

    Attributes:
        two_way: Weight the global context by the local one as well. The paper draws it, the released code leaves it
            out, and the published accuracies are those of the released code.
    """

    channels: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    two_way: bool = False


VARIANTS: dict[FATVariant, FATConfig] = {
    "b0": FATConfig(channels=(32, 80, 160, 256), heads=(2, 5, 10, 16)),
    "b1": FATConfig(channels=(48, 96, 192, 384), heads=(3, 6, 12, 24)),
    "b2": FATConfig(channels=(64, 128, 256, 512), heads=(2, 4, 8, 16)),
}


def depthwise(channels: int, kernel_size: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution of each channel by itself that divides height and width by ``stride``."""
    return nn.Conv2d(channels, channels, kernel_size, stride, kernel_size // 2, groups=channels, bias=bias)


class AdaptiveAttention(nn.Module):
    """Fully adaptive self-attention: (B, C, H, W) -> (B, C, H, W).

    All pixels ask; keys and values come from a finely down-sampled map. A depthwise convolution of the queries,
    modulated by itself, is the local context. The output is out(local * sigmoid(world) * world), where world is the
    global context.

    Source: FAT (arXiv:2306.00396), FASA, as the released code computes it.

    Args:
        channels: C, divisible by ``heads``.
        heads: Number of attention heads.
        kernel_size: Of the local convolution.
        sampling: 1, 2, 4 or 8: side in pixels of what one key and value stand for.
        two_way: Multiply by sigmoid(local), too; see ``FATConfig``.
    """

    def __init__(self, channels: int, heads: int, kernel_size: int, sampling: int, two_way: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.two_way = two_way
        self.query = nn.Conv2d(channels, channels, 1)
        self.sample = sampler(channels, sampling)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.local = depthwise(channels, kernel_size)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)
        key, value = self.key_value(self.sample(x)).chunk(2, dim=1)
        local = F.silu(self.local(query))
        world = self.attend(query, key, value)
        return self.out(modulated(local, world) * (modulated(world, local) if self.two_way else world))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of N pixels to M: (B, C, H, W), twice (B, C, H', W') -> (B, C, H, W)."""
        q, k, v = (
            rearrange(x.flatten(2), "b (heads d) n -> b heads n d", heads=self.heads) for x in (query, key, value)
        )
        world = rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n d -> b (heads d) n")
        return world.reshape(query.shape)


def modulated(x: Tensor, by: Tensor) -> Tensor:
    """Each element of one context weighted in (0, 1) by the other."""
    return x * by.sigmoid()


def sampler(channels: int, sampling: int) -> nn.Sequential:
    """Halve height and width until ``sampling`` is reached: (B, C, H, W) -> (B, C, H / sampling, W / sampling).

    Source: FAT (arXiv:2306.00396), fine-grained downsampling: strided depthwise convolutions with mixing between them.
    """
    layers: list[nn.Module] = []
    while sampling > 1:
        layers += [depthwise(channels, KERNEL, 2, bias=False), nn.BatchNorm2d(channels)]
        sampling //= 2
        if sampling > 1:
            layers.append(nn.Conv2d(channels, channels, 1))
    return nn.Sequential(*layers)


class Mixer(nn.Module):
    """First half of a block, between pixels: position by a depthwise convolution, then attention; both residual."""

    def __init__(self, channels: int, heads: int, kernel_size: int, sampling: int, two_way: bool = False) -> None:
        super().__init__()
        self.position = depthwise(channels, kernel_size)
        self.norm = nn.GroupNorm(1, channels)
        self.attention = AdaptiveAttention(channels, heads, kernel_size, sampling, two_way)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(x)
        return x + self.attention(self.norm(x))


class ConvPerceptron(nn.Module):
    """Second half of a block, within pixels: a perceptron with a depthwise convolution inside, residual.

    With ``stride`` 2 it leads to the next stage, and its shortcut is a convolution.

    Shape: (B, C_in, H, W) -> (B, C_out, H / stride, W / stride).
    Source: FAT (arXiv:2306.00396), ConvFFN.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        hidden = EXPANSION * in_channels
        self.expand = nn.Sequential(nn.GroupNorm(1, in_channels), nn.Conv2d(in_channels, hidden, 1), nn.GELU())
        self.depthwise = depthwise(hidden, KERNEL, stride, bias=False)
        self.project = nn.Sequential(nn.BatchNorm2d(hidden), nn.Conv2d(hidden, out_channels, 1))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                depthwise(in_channels, KERNEL, stride, bias=False),
                nn.BatchNorm2d(in_channels),
                nn.Conv2d(in_channels, out_channels, 1),
            )
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.expand(x)
        mixed = self.depthwise(hidden)
        return self.shortcut(x) + self.project(hidden + mixed if self.residual else mixed)


def stem(channels: int) -> nn.Sequential:
    """Convolutions in place of patches: (B, 3, H, W) -> (B, channels, H / 4, W / 4)."""
    widths = (3, channels // 2, channels, channels, channels)
    strides = (2, 2, 1, 1)
    layers = (conv(*pair, 3, s, activation_layer=nn.ReLU) for pair, s in zip(pairwise(widths), strides, strict=True))
    return nn.Sequential(*layers, nn.Conv2d(channels, channels, 1), nn.GroupNorm(1, channels))


class FAT(Staged):
    """A feature pyramid: images (B, 3, H, W), normalised -> four maps at strides 4, 8, 16 and 32.

    Source: FAT (arXiv:2306.00396) and the released code for the sizes. 4.5, 7.8 and 13.5 M parameters as
        published; 0.7, 1.2 and 2.0 G multiply-accumulates at 224 are those of convolutions and linear layers, without
        the products of attention.
    Note: a block that ends a stage strides in its second half. That half begins the next stage here, so that a map is
        the last one of its size.
    Note: the norm that precedes the classifier stands at the end of the last stage, so that every head reads it.
        Convolutions before a batch norm have no bias, which it would subtract.
    """

    def __init__(self, config: FATConfig) -> None:
        super().__init__(config.channels)
        widths = config.channels
        self.stem = stem(widths[0])
        starts = [nn.Identity(), *(ConvPerceptron(before, after, 2) for before, after in pairwise(widths))]
        stages = []
        for i, width in enumerate(widths):
            settings = (width, config.heads[i], KERNELS[i], SAMPLING[i], config.two_way)
            mixers = [Mixer(*settings) for _ in range(config.depths[i])]
            between = [layer for mixer in mixers[:-1] for layer in (mixer, ConvPerceptron(width, width))]
            stages.append(nn.Sequential(starts[i], *between, mixers[-1]))
        stages[-1].extend([ConvPerceptron(widths[-1], widths[-1]), nn.GroupNorm(1, widths[-1])])
        self.stages = nn.ModuleList(stages)
        init_weights(self, "backbone")

    @classmethod
    def from_variant(cls, variant: FATVariant, two_way: bool = False) -> Self:
        """Build a published size; ``two_way`` as in ``FATConfig``."""
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {tuple(VARIANTS)}, got {variant!r}")
        return cls(replace(VARIANTS[variant], two_way=two_way))
