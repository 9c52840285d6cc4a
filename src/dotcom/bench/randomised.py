"""Networks in which a wrong fold shows: at the start norms are neutral and Co-Bias is zero."""

from typing import Any

import torch
from torch import nn

from dotcom.models.dot import CoBias


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """Draw statistics, scales, shifts and Co-Bias in place; returns the network in evaluation mode."""
    rng = torch.Generator().manual_seed(0)
    for module in network.modules():
        layer: Any = module
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            layer.weight.uniform_(0.7, 1.3, generator=rng)
            layer.bias.normal_(0, 0.2, generator=rng)
        if isinstance(module, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2, generator=rng)
            layer.running_var.uniform_(0.7, 1.4, generator=rng)
        elif isinstance(module, CoBias):
            layer.bias.normal_(0, 0.3, generator=rng)
    return network.eval()
