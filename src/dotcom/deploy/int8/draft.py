"""A quantised network before it is kept: what the search judges."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from dotcom.deploy.formats import Array, Runner


@dataclass(frozen=True)
class Draft:
    """One choice of layers in int8.

    Attributes:
        run: What the file would compute; of some runtimes, the file itself.
        save: Writes the file.
    """

    run: Runner
    save: Callable[[Path], None]


class Quantiser(Protocol):
    """What each module here makes of a graph, the keys of its layers and calibration images.

    Attributes:
        selective: Whether it can leave layers in float32.
    """

    selective: bool

    def draft(self, kept: Collection[str]) -> Draft:
        """Quantise all layers but those whose keys are ``kept``, which stay float32."""


def runner(network: Callable[..., Any], names: Sequence[str]) -> Runner:
    """Run a graph, as it is or traced, in PyTorch; ``names`` are those of its outputs."""

    @torch.inference_mode()
    def run(images: Array) -> dict[str, Array]:
        outputs = network(torch.from_numpy(images))
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    return run
