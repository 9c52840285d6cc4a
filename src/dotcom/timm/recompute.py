"""Activations that are computed twice instead of being kept, without counting twice in batch norms."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    """The map of a stage, whose inside is computed once more in the backward pass.

    Source: sublinear memory (arXiv:1604.06174).
    """
    if torch.compiler.is_compiling():  # which updates the statistics once by itself, and takes no contexts
        return checkpoint(stage, x, use_reentrant=False)
    return checkpoint(stage, x, use_reentrant=False, context_fn=partial(_contexts, stage))


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first and around the second pass."""
    return nullcontext(), _without_statistics(stage)


@contextmanager
def _without_statistics(stage: nn.Module) -> Iterator[None]:
    """Batch norms count into copies: what they save for the backward pass must be as many tensors as before."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    norms = [layer for layer in stage.modules() if isinstance(layer, kinds) and layer.training]
    kept = [(norm, name, value) for norm in norms for name, value in norm.named_buffers()]
    for norm, name, value in kept:
        setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, name, value in kept:
            setattr(norm, name, value)
