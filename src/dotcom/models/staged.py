"""What networks of a stem and four stages share: their maps, and how heads cut and dilate them."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from torch import Tensor, nn

from dotcom.models.recompute import recomputed

MULTIPLE = 32  # the last stage strides by 32, and a patch of the stride-16 map is 2x2


class Staged(nn.Module):
    """A feature pyramid: images (B, 3, H, W), normalised -> one map per stage, at strides 4, 8, 16 and 32.

    Attributes:
        stem: What comes before the first stage.
        stages: Each reads the map of the one before it.
        channels: Width of each returned map.
        strides: Input pixels per cell of each returned map.

    Raises:
        ValueError: In ``forward``, if H or W is no multiple of 32.
    """

    stem: nn.Module
    stages: nn.ModuleList

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels
        self.strides: tuple[int, ...] = (4, 8, 16, 32)
        self.recomputed: frozenset[int] = frozenset()

    def keep(self, num_stages: int) -> Self:
        """Drop the stages after the first ``num_stages`` (1 to 4), so that no parameter goes unused."""
        if not 1 <= num_stages <= len(self.stages):
            raise ValueError(f"num_stages must be 1 to {len(self.stages)}, got {num_stages}")
        self.stages = self.stages[:num_stages]
        self.channels, self.strides = self.channels[:num_stages], self.strides[:num_stages]
        return self

    def dilate(self) -> Self:
        """Let the last stage stride by 1 and dilate instead: output stride 16, with the same parameters.

        Source: DeepLabV3 (arXiv:1706.05587), Section 3.1: what followed a removed stride of 2 gets dilation 2.
        """
        if len(self.stages) < 4:
            raise ValueError(f"only the fourth stage can be dilated, {len(self.stages)} are left")
        if self.strides[3] == 32:
            convolutions: list[Any] = [layer for layer in self.stages[3].modules() if isinstance(layer, nn.Conv2d)]
            for layer in convolutions:
                if layer.stride == (1, 1):
                    layer.dilation = (2, 2)
                    layer.padding = tuple(2 * side for side in layer.padding)
                layer.stride = (1, 1)
            self.strides = (*self.strides[:3], 16)
        return self

    def recompute(self, stages: Sequence[int] | Literal["all"]) -> Self:
        """Let these stages keep nothing for the backward pass but their input; they run once more in it.

        Args:
            stages: Numbers from 1 to 4, 0 for the stem, or all of them. One that ``keep`` has dropped is left out.
        """
        numbers = range(5) if stages == "all" else stages
        if wrong := [number for number in numbers if number not in range(5)]:
            raise ValueError(f"stages must be all, or numbers from 0 (the stem) to 4, got {wrong[0]}")
        self.recomputed = frozenset(map(int, numbers))
        return self

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters from the first layer to the last: those of the stem, then those of each stage."""
        return [list(layer.parameters()) for layer in (self.stem, *self.stages)]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        check_size(*images.shape[-2:])
        maps = [images]
        for number, part in enumerate((self.stem, *self.stages)):
            maps.append(recomputed(part, maps[-1]) if number in self.recomputed else part(maps[-1]))
        return tuple(maps[2:])


def check_size(height: int, width: int) -> None:
    """Raise ValueError, naming the nearest valid sizes, unless both sides are multiples of 32."""
    if height % MULTIPLE or width % MULTIPLE or not height or not width:
        lower, upper = (
            "x".join(str(max(MULTIPLE, (side + up) // MULTIPLE * MULTIPLE)) for side in (height, width))
            for up in (0, MULTIPLE - 1)
        )
        nearest = lower if lower == upper else f"{lower} and {upper}"
        raise ValueError(f"image sides must be multiples of {MULTIPLE}, got {height}x{width}; nearest: {nearest}")
