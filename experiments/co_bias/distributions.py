"""The distributions around Co-Bias: before, after, and with random biases in its place; then normalised.

Shapes: P pixels of all images, C channels.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import rearrange
from scipy.stats import skew
from torch import Tensor, nn
from torch.nn import functional as F

from dotcom.models.dot import CoBias, DoTBlock

SITES = ("bias_in", "bias_out")
DRAWS = 20  # random biases
BINS = 80
SHOWN = (0.002, 0.995)  # quantiles between which histograms are drawn

Key = tuple[str, str]  # path of a DoT block in the backbone, and a site


@dataclass(frozen=True)
class Distribution:
    """The numbers and the histogram of one set of values.

    Attributes:
        name: ``before``, ``after``, or ``control 1`` and so on.
        mean: Over all pixels and channels, as everything else.
        variance: Mean squared deviation.
        skewness: Third moment of the standardised values.
        distance: Wasserstein-1 from ``before``: how far a value has to move on average.
        density: (BINS,), whose integral is the share of the values between the edges.
    """

    name: str
    mean: float
    variance: float
    skewness: float
    distance: float
    density: np.ndarray


@dataclass(frozen=True)
class Place:
    """Everything that was measured at one place.

    Attributes:
        block: Path of the DoT block in the backbone.
        site: ``bias_in`` or ``bias_out``.
        kind: ``activation``, or ``normalised`` as the next layer gets it.
        norm: L2 norm of the bias.
        edges: (BINS + 1,) of the histograms.
        distributions: Before, after, then the controls.
    """

    block: str
    site: str
    kind: str
    norm: float
    edges: np.ndarray
    distributions: list[Distribution]

    @property
    def controls(self) -> np.ndarray:
        """Distances of the controls, (DRAWS,)."""
        return np.array([control.distance for control in self.distributions[2:]])


def dot_blocks(network: Any) -> dict[str, DoTBlock]:
    """The DoT blocks by their path in the backbone."""
    return {name: module for name, module in network.backbone.named_modules() if isinstance(module, DoTBlock)}


def activations(network: Any, batches: Iterable[Tensor]) -> dict[Key, Tensor]:
    """What goes into each Co-Bias of a network in evaluation mode, (P, C) in float64."""
    seen: dict[Key, list[Tensor]] = defaultdict(list)

    def keep(key: Key, _: nn.Module, given: tuple[Tensor], __: Tensor) -> None:
        seen[key].append(rearrange(given[0], "b c h w -> (b h w) c"))

    sites = [(name, site, getattr(block, site)) for name, block in dot_blocks(network).items() for site in SITES]
    hooks = [
        module.register_forward_hook(partial(keep, (name, site)))
        for name, site, module in sites
        if isinstance(module, CoBias)
    ]
    with torch.inference_mode():
        for images in batches:
            getattr(network, "segment", network)(images)
    for hook in hooks:
        hook.remove()
    return {key: torch.cat(parts).double() for key, parts in seen.items()}


def places(network: Any, seen: dict[Key, Tensor]) -> Iterator[Place]:
    """Measure what ``activations`` returned, first as it is and then normalised."""
    for (name, site), before in seen.items():
        block = dot_blocks(network)[name]
        bias = getattr(block, site).bias.detach().double()
        biases = [torch.zeros_like(bias), bias, *random_biases(bias)]
        for kind, look in (("activation", torch.flatten), ("normalised", partial(normalised, block, site))):
            yield Place(name, site, kind, float(bias.norm()), *measured(before, biases, look))


def random_biases(bias: Tensor, draws: int = DRAWS) -> Tensor:
    """Normal numbers (draws, C) with the mean and the standard deviation, and hence the norm, of ``bias`` (C,)."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(draws, len(bias), generator=generator, dtype=torch.float64)
    numbers = (numbers - numbers.mean(1, keepdim=True)) / numbers.std(1, correction=0, keepdim=True)
    return numbers * bias.std(correction=0) + bias.mean()


@torch.inference_mode()
def normalised(block: Any, site: str, x: Tensor) -> Tensor:
    """What the next layer makes of (P, C): attention's LayerNorm, or the fusing 1x1 convolution and its batch norm.

    Both look at one pixel at a time, so that none has to know where it stood. The mean and variance of the batch norm
    are those of ``x``.
    """
    if site == "bias_in":
        norm = block.attention[0].norm
        return F.layer_norm(x, norm.normalized_shape, norm.weight.double(), norm.bias.double(), norm.eps)
    convolution, norm = block.fuse[0], block.fuse[1]
    y = F.linear(x, convolution.weight.double().flatten(1))
    return F.batch_norm(y, None, None, norm.weight.double(), norm.bias.double(), training=True, eps=norm.eps)


def measured(
    before: Tensor, biases: Sequence[Tensor], look: Callable[[Tensor], Tensor]
) -> tuple[np.ndarray, list[Distribution]]:
    """The edges of all histograms, and what ``look`` makes of ``before`` with each bias added, the first being none."""
    reference, after = (in_order(look(before + bias)) for bias in biases[:2])
    low, high = (np.quantile(values, SHOWN) for values in (reference, after))
    edges = np.linspace(min(low[0], high[0]), max(low[1], high[1]), BINS + 1)
    names = ["before", "after", *(f"control {number}" for number in range(1, len(biases) - 1))]
    found = []
    for name, bias in zip(names, biases, strict=True):
        values = in_order(look(before + bias))
        density = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
        distance = float(np.abs(values - reference).mean())  # of as many values each: the sorted ones meet in pairs
        found.append(
            Distribution(name, float(values.mean()), float(values.var()), float(skew(values)), distance, density)
        )
    return edges, found


def in_order(values: Tensor) -> np.ndarray:
    """All values, sorted."""
    return np.sort(values.flatten().numpy())
