"""Memory for time: parts of a network that keep nothing but their input until the backward pass, and run again then."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``, with the same gradients; what it computes on the way is computed once more for them.

    Source: gradient checkpointing, arXiv:1604.06174.
    Note: batch norm would count each batch twice in its running statistics; it does not. A compiled network needs no
        care: there the compiler decides what runs again, and only the network's own first run changes its buffers.
    """
    if not torch.is_grad_enabled():
        return module(x)
    if torch.compiler.is_compiling():
        return checkpoint(module, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), still(module)

    return checkpoint(module, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Let batch norm normalise as ever, and leave its running statistics and its count of batches as they are."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
