"""What a network costs, counted."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

KINDS = {"convolution": "convolution", "mm": "linear", "addmm": "linear"}  # everything else is attention


def parameters(network: nn.Module) -> int:
    """Numbers in all parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, image_size: int) -> dict[str, int]:
    """Multiply-accumulates of one square image in evaluation mode, of convolutions, linear layers and attention.

    Note: the original's README counts convolutions alone, at 256, and cuts off after one decimal.
    """
    return macs_by_module(network, image_size)[""]


def macs_by_module(network: nn.Module, image_size: int) -> dict[str, dict[str, int]]:
    """``macs`` of each module that computes something, by its path in the network; ``""`` is the whole."""
    device = next(network.parameters()).device
    training = network.training
    # spelled out, as the counter does not know the fused attention of the CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    network.train(training)
    found = {name.partition(".")[2]: by_kind(flops) for name, flops in counter.get_flop_counts().items()}
    return found | {"": by_kind(counter.get_flop_counts()["Global"])}


def by_kind(flops: Mapping[Any, int]) -> dict[str, int]:
    """Floating point operations by operation as multiply-accumulates by kind."""
    counts = {"convolution": 0, "linear": 0, "attention": 0}
    for operation, count in flops.items():
        counts[KINDS.get(str(operation).rpartition(".")[2], "attention")] += count // 2
    return counts
