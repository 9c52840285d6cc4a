"""Learning from another network's answers as well as from the labels."""

from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from dotcom.errors import UsageError

Distill = Literal["soft", "hard"]


class Network(Protocol):
    """What is asked of a teacher: logits (B, K) of images (B, 3, H, W) that are normalised as it was trained.

    Attributes:
        mean: Per channel, of images in [0, 1].
        std: Per channel, of images in [0, 1].
        classes: Names of its classes in the order of the logits; empty if unknown.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: list[str]

    def __call__(self, images: Tensor) -> Tensor: ...


class Distillation:
    """A part of the loss that asks for the answers of a teacher; the teacher itself never learns.

    It is no ``nn.Module``, so that the teacher is in no checkpoint, no moving average and no exported network.

    Source: soft, Hinton et al. (arXiv:1503.02531), Section 2: the divergence of both distributions at a temperature,
    times its square. Hard, DeiT (arXiv:2012.12877), Section 4: cross-entropy with the teacher's first choice; here
    without DeiT's token, which only a transformer has.

    Args:
        network: The teacher.
        kind: ``"soft"`` or ``"hard"``.
        weight: Of the teacher in the loss, in (0, 1]; the labels keep the rest.
        temperature: Of both distributions, above 0; for ``"soft"`` alone.
    """

    def __init__(self, network: Network, kind: Distill = "soft", weight: float = 0.5, temperature: float = 3.0) -> None:
        if kind not in get_args(Distill):
            raise ValueError(f"distill must be one of {get_args(Distill)}, got {kind!r}")
        self.network: Any = network
        self.kind, self.weight, self.temperature = kind, weight, temperature
        self.scale = self.shift = torch.ones(())

    def begin(self, mean: tuple[float, ...], std: tuple[float, ...], classes: list[str], device: torch.device) -> None:
        """Move the teacher to the device, and note what turns the student's images into the teacher's.

        Args:
            mean: That the student's images are normalised with.
            std: Likewise.
            classes: Names of the student's classes; empty if unknown.
            device: Where the student trains.

        Raises:
            UsageError: If the teacher knows other classes.
        """
        theirs = self.network.classes
        if theirs and classes and list(theirs) != list(classes):
            pairs = enumerate(zip(theirs, classes, strict=False))
            number = next((index for index, (one, other) in pairs if one != other), min(len(theirs), len(classes)))
            names = [known[number] if number < len(known) else "none" for known in (theirs, classes)]
            raise UsageError(f"teacher: its class {number} is {names[0]!r}, that of these data is {names[1]!r}")
        self.network.to(device).eval().requires_grad_(False)
        own_mean, own_std, new_mean, new_std = (
            torch.tensor(numbers, device=device).view(1, -1, 1, 1)
            for numbers in (mean, std, self.network.mean, self.network.std)
        )
        self.scale, self.shift = own_std / new_std, (own_mean - new_mean) / new_std

    def loss(self, logits: Tensor, images: Tensor, own: Tensor) -> Tensor:
        """The student's own loss, and that of differing from the teacher.

        Args:
            logits: Of the student, (B, K).
            images: That the student saw, normalised for it.
            own: Loss of the student against the labels.
        """
        with torch.no_grad():
            answers = self.network(images * self.scale + self.shift).float()
        logits = logits.float()
        if self.kind == "hard":
            other = F.cross_entropy(logits, answers.argmax(dim=1))
        else:
            log_probabilities = (logits / self.temperature).log_softmax(dim=1)
            targets = (answers / self.temperature).log_softmax(dim=1)
            other = F.kl_div(log_probabilities, targets, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.weight) * own + self.weight * other


def taught_by(network: Network | None, kind: Distill, weight: float, temperature: float) -> Distillation | None:
    """``Distillation``, or None where there is no teacher: what a configuration calls."""
    return None if network is None else Distillation(network, kind, weight, temperature)
