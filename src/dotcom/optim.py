"""Learning-rate schedules."""

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.1, floor: float = 0.001) -> LambdaLR:
    """Rise linearly for the first part of training, then follow half a cosine down.

    Source: the original's schedule (10 of 100 epochs of warm-up, peak 1e-3, end 1e-6), here per step, not per epoch.

    Args:
        optimizer: Its ``lr`` is the peak.
        total_steps: Optimiser steps of the whole training.
        warmup: Length of the rise as a fraction of ``total_steps``, in [0, 1).
        floor: Learning rate of the last step as a fraction of the peak.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a fraction of the training in [0, 1), got {warmup}")
    rise = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min((step - rise) / max(1, total_steps - 1 - rise), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The optimiser's own learning rate throughout."""
    return LambdaLR(optimizer, lambda step: 1.0)


def batch_of_step(config: Mapping[str, Any], processes: int) -> int:
    """How many images one optimiser step learns from, over all processes."""
    return int(config["data"]["batch_size"] * config["accumulate"] * processes)


def rate_factor(config: Mapping[str, Any], processes: int) -> float:
    """What ``lr_scaling`` multiplies the learning rates by; 1 in a configuration that has no such key.

    Source: linear, for SGD: Goyal et al., arXiv:1706.02677, section 2.1. The root, for Adam and its like: Malladi et
        al., arXiv:2205.10287.

    Args:
        config: Of the run: ``lr_scaling`` (None, "linear" or "sqrt") and ``lr_batch``, the batch that the rates are
            meant for.
        processes: How many train together.
    """
    rule = config.get("lr_scaling")
    if rule is None:
        return 1.0
    ratio = batch_of_step(config, processes) / config["lr_batch"]
    return ratio if rule == "linear" else math.sqrt(ratio)
