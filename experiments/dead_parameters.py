"""Parameters that change nothing, whatever their values: found in any module by trying each one alone.

A parameter has *no effect* if its gradient is zero and random values leave the output as it was, both up to rounding in
float64, in training mode and in evaluation mode after batch norm has seen a batch with the new values, as it has at the
end of any training. Such a parameter cannot learn, nothing else learns differently because of it, and a network without
it computes the same. With the running statistics of the *old* values an evaluation may change all the same: a running
mean holds what a constant per channel adds, and subtracts it. That is measured too, and no part of the verdict.
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ROUNDING = 1e-9  # relative; float64 gives 1e-16 to 1e-12 for what is equal, and more than 1e-6 for what is not


@dataclass(frozen=True)
class Finding:
    """What one parameter does.

    Attributes:
        name: Of the parameter.
        numbers: How many it holds.
        gradient: Norm of the gradient of the loss, in training mode; None where the loss does not depend on it.
        share: The same as a fraction of the norm over all parameters.
        training: Largest change of an output under random values, relative to the spread of that output.
        evaluation: The same in evaluation mode, with running statistics that belong to the new values.
        outdated: The same in evaluation mode, with running statistics that belong to the old values.
    """

    name: str
    numbers: int
    gradient: float | None
    share: float
    training: float
    evaluation: float
    outdated: float

    @property
    def verdict(self) -> str:
        still = max(self.training, self.evaluation) < ROUNDING
        if self.gradient is None:
            return "unused, removable" if still else "fixed: changes the output, never learns"
        if self.share >= ROUNDING:
            return "has an effect"
        return "no effect, removable" if still else "no gradient: changes the output, does not learn here"


def audit(
    network: nn.Module,
    images: Tensor,
    loss: Callable[[Any], Tensor],
    names: Collection[str] | None = None,
    draws: int = 2,
) -> Iterator[Finding]:
    """Try parameters one at a time, on a float64 copy of the network.

    Args:
        network: Any module that can be called with ``images``; what it draws at random is drawn alike every time.
        images: One batch.
        loss: From the output of the network in training mode to a scalar.
        names: Parameters to try; all if None.
        draws: How many sets of values, from N(0, 1), have to change nothing.
    """
    network, images = copy.deepcopy(network).double(), images.double()
    for module in network.modules():
        if getattr(module, "momentum", None) is not None:
            module.momentum = 1.0  # one training pass makes the running statistics those of its batch
    parameters = {name: p for name, p in network.named_parameters() if names is None or name in names}
    gradients = gradient_norms(network, images, loss)
    total = sum(value**2 for value in gradients.values() if value is not None) ** 0.5 or 1.0
    before = outputs(network, images, training=True), outputs(network, images, training=False)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    generator = torch.Generator().manual_seed(0)
    for name, parameter in parameters.items():
        kept, changes = parameter.detach().clone(), []
        while len(changes) < draws and not (changes and changes[-1][0] >= ROUNDING):  # one effect is enough
            parameter.data.copy_(torch.randn(kept.shape, generator=generator, dtype=torch.float64))
            changes.append(changed(network, images, *before))
            for buffer, value in buffers.items():
                network.get_buffer(buffer).copy_(value)
        parameter.data.copy_(kept)
        gradient, worst = gradients[name], map(max, zip(*changes, strict=True))
        yield Finding(name, kept.numel(), gradient, (gradient or 0.0) / total, *worst)


def changed(
    network: nn.Module, images: Tensor, training: list[Tensor], evaluation: list[Tensor]
) -> tuple[float, float, float]:
    """How far the outputs now are from those given: in training, in evaluation, and there with the old statistics."""
    outdated = change(evaluation, outputs(network, images, training=False))
    return (
        change(training, outputs(network, images, training=True)),  # from here on with the statistics of this batch
        change(evaluation, outputs(network, images, training=False)),
        outdated,
    )


def gradient_norms(network: nn.Module, images: Tensor, loss: Callable[[Any], Tensor]) -> dict[str, float | None]:
    """Per parameter the norm of its gradient in training mode; None where the loss does not depend on it."""
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        value = loss(network.train()(images))
    found = list(learning.values()) if value.requires_grad else []
    gradients = torch.autograd.grad(value, found, allow_unused=True) if found else [None] * len(learning)
    norms = {name: None if g is None else float(g.norm()) for name, g in zip(learning, gradients, strict=True)}
    return {name: norms.get(name) for name, _ in network.named_parameters()}


@torch.no_grad()
def outputs(network: nn.Module, images: Tensor, training: bool) -> list[Tensor]:
    """All tensors that the network returns."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return list(tensors(network.train(training)(images)))


def tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors of nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield from [value] if value.is_floating_point() else []
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest difference, relative to the spread of the tensor it is found in, or to its size if it has none."""
    worst = 0.0
    for old, new in zip(before, after, strict=True):
        spread = float(old.std()) if old.numel() > 1 else 0.0
        difference = float((new - old).abs().max().nan_to_num(nan=math.inf))
        worst = max(worst, difference / (spread or float(old.abs().max()) or 1.0))
    return worst
