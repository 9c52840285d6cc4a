"""The DoTCoM backbone and its four published sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self, get_args

from torch import Tensor, nn

from dotcom.models.blocks import BLOCKS, BlockKind, MV2Block, ResidualBlock, conv
from dotcom.models.dot import CoBiasKind, DoTBlock
from dotcom.models.init import init_weights
from dotcom.models.staged import Staged

Variant = Literal["tiny", "small", "base", "large"]


@dataclass(frozen=True, kw_only=True)
class DoTCoMConfig:
    """Widths in channels, one entry per block or mechanism, in forward order; all divisible by 4.

    Source: DoTCoM repository; the parameter counts of the README follow from these numbers.
    """

    stem: int
    early: tuple[int, int]
    inner: tuple[int, int, int]
    outer: tuple[int, int, int]
    last: int
    depths: tuple[int, int, int] = (2, 3, 4)
    block: BlockKind = "qib"
    co_bias: CoBiasKind = True

    def __post_init__(self) -> None:
        if self.block not in get_args(BlockKind):
            raise ValueError(f"block must be one of {get_args(BlockKind)}, got {self.block!r}")
        if self.co_bias not in get_args(CoBiasKind):
            raise ValueError(f"co_bias must be one of {get_args(CoBiasKind)}, got {self.co_bias!r}")


VARIANTS: dict[Variant, DoTCoMConfig] = {
    "tiny": DoTCoMConfig(stem=16, early=(16, 24), inner=(32, 48, 80), outer=(40, 64, 96), last=384),
    "small": DoTCoMConfig(stem=16, early=(16, 32), inner=(48, 80, 96), outer=(64, 96, 128), last=512),
    "base": DoTCoMConfig(stem=16, early=(32, 48), inner=(64, 96, 160), outer=(80, 128, 192), last=768),
    "large": DoTCoMConfig(stem=16, early=(32, 64), inner=(96, 160, 224), outer=(128, 192, 256), last=1024),
}


class Backbone(Protocol):
    """What classifier, detector and segmenter ask of a network.

    Attributes:
        channels: Width of each returned map.
        strides: Input pixels per cell of each returned map, rising.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]: ...

    def keep(self, num_stages: int) -> Self:
        """Drop what only the maps after the first ``num_stages`` need."""

    def dilate(self) -> Self:
        """Give the last map the stride of the one before it, if the network can."""

    def recompute(self, stages: Sequence[int] | Literal["all"]) -> Self:
        """Let these stages run once more in the backward pass, instead of keeping what they compute."""

    def layers(self) -> list[list[nn.Parameter]]:
        """All parameters, from the first layer to the last, for rates that differ between layers."""


class DoTCoM(Staged):
    """A feature pyramid: images (B, 3, H, W), normalised -> four maps at strides 4, 8, 16 and 32.

    Source: DoTCoM README, Fig. 1, and the published code.
    Note: ``block`` replaces the QIB blocks of stages 1 to 4 and leaves stem, MV2 exits and last QG as they are.
    """

    def __init__(self, config: DoTCoMConfig) -> None:
        outer = config.outer
        super().__init__((config.early[1], outer[1], outer[2], config.last))
        block = BLOCKS[config.block]
        stem, (first, early) = config.stem, config.early
        self.stem = nn.Sequential(conv(3, stem, 3, 2, activation_layer=nn.ReLU), MV2Block(stem, first))

        def mechanism(width_in: int, i: int, stride: int) -> nn.Sequential:
            inner, depth = config.inner[i], config.depths[i]
            return nn.Sequential(
                block(width_in, inner, stride, 6),
                block(inner, inner, 1, 6),
                DoTBlock(inner, depth, config.co_bias),
                MV2Block(inner, outer[i]),
            )

        self.stages = nn.ModuleList(
            [
                nn.Sequential(block(first, early, 2, 6), block(early, early, 1, 6)),
                nn.Sequential(mechanism(early, 0, 2), mechanism(outer[0], 1, 1)),
                mechanism(outer[1], 2, 2),
                ResidualBlock(outer[2], config.last, 2, groups=4),
            ]
        )
        init_weights(self, "backbone")

    @classmethod
    def from_variant(cls, variant: Variant, **changes: Any) -> Self:
        """Build a published size; ``changes`` replace fields of its configuration."""
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {tuple(VARIANTS)}, got {variant!r}")
        return cls(replace(VARIANTS[variant], **changes))
