"""The networks that sections measure, what they cost, and how fast this machine multiplies matrices."""

import copy
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from dotcom.bench.randomised import randomised
from dotcom.bench.reference import reference
from dotcom.bench.row import Effort
from dotcom.models import Classifier, DoTCoM
from dotcom.models.cost import macs
from dotcom.models.dotcom import VARIANTS, DoTCoMConfig

SIZE = 256  # side of the images in pixels
CLASSES = 1000
GEMM = 1024  # side of the matrices whose product shows what the machine can do
WIDTH, CELLS = 256, 32  # of the convolution that does, too


class Subject:
    """A network with norms and Co-Bias that are not neutral, an image, and the answer in float64.

    Args:
        config: Widths of the network.
        size: Side of the image in pixels.

    Attributes:
        network: As trained, in evaluation mode.
        plain: The reference: same weights, plain mode.
        images: (1, 3, size, size).
        truth: Logits of the reference in float64.
        macs: Multiply-accumulates of one image.
    """

    def __init__(self, config: DoTCoMConfig, size: int = SIZE) -> None:
        torch.manual_seed(0)
        self.size = size
        self.network = randomised(Classifier(DoTCoM(config), CLASSES)).requires_grad_(False)
        self.plain = reference(self.network)
        self.images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
        self.macs = sum(macs(self.network, size).values())
        with torch.inference_mode():
            self.truth = copy.deepcopy(self.plain).double()(self.images.double())

    def error(self, logits: Tensor) -> float:
        """Largest absolute distance from the truth."""
        return float((logits.double() - self.truth).abs().max())

    def limits(self, ms: float, dtype: torch.dtype = torch.float32) -> tuple[str, str]:
        """What a time means: GFLOP/s, and per cent of what a product of matrices reaches in this type."""
        rate = 2 * self.macs / ms / 1e6
        return f"{rate:.0f} GFLOP/s", f"{100 * rate / gemm_rate(dtype):.0f} % of GEMM"


def configs(effort: Effort) -> dict[str, DoTCoMConfig]:
    """The sizes that an effort measures: Tiny if there is little time, all otherwise."""
    return {name: config for name, config in VARIANTS.items() if name == "tiny" or effort != "quick"}


def inference(network: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """A call of a network without gradients, of the logits alone."""

    @torch.inference_mode()
    def run() -> Tensor:
        outputs = network(images)
        return outputs if isinstance(outputs, Tensor) else outputs[0]

    return run


@cache
def gemm_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of one thread at its best: the faster of a product of matrices and a dense 3x3 convolution.

    Two libraries do these two: MKL, or what torch was built with, and oneDNN.
    """
    matrix = torch.ones(GEMM, GEMM, dtype=dtype)
    layer = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False).to(dtype).requires_grad_(False)
    maps = torch.ones(1, WIDTH, CELLS, CELLS, dtype=dtype).to(memory_format=torch.channels_last)
    product = 2 * GEMM**3 / quickest(lambda: torch.mm(matrix, matrix))
    convolution = 2 * 9 * WIDTH**2 * CELLS**2 / quickest(lambda: layer(maps))
    return max(product, convolution) / 1e9


def quickest(run: Callable[[], object], tries: int = 5) -> float:
    """CPU seconds of the fastest call."""
    times = []
    for _ in range(tries):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)
