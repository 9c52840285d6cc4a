"""Initial values that depend on the seed and on a parameter's own name, and on nothing else.

Two arms of an ablation therefore start from bit-equal common weights, however many other
parameters one of them has and in whatever order they were built.
"""

import hashlib
import math

import torch
from torch import Tensor, nn


def init_weights(module: nn.Module, name: str, std: float | None = None) -> None:
    """Draw every parameter of ``module`` from the seed given to ``torch.manual_seed`` and its name.

    Convolutions: Kaiming normal, fan out, gain of ReLU. Linear layers: PyTorch's default, uniform within
    1 / sqrt(fan in). Norms and Co-Bias keep the constants they were built with.

    Source: DoTCoM repository for the distributions.
    Note: building twice under one seed gives equal weights; call ``torch.manual_seed`` for other ones.

    Args:
        module: Changed in place. Nothing is drawn for the meta device.
        name: Where ``module`` will stand, for example ``"backbone"``; part of every parameter's name.
        std: Of the convolutions, instead of Kaiming's.
    """
    for path, layer in module.named_modules(prefix=name):
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight.shape[0] * math.prod(layer.kernel_size)
            _draw(layer.weight, f"{path}.weight", std=std or math.sqrt(2 / fan_out))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            _draw(layer.weight, f"{path}.weight", bound=bound)
            if layer.bias is not None:
                _draw(layer.bias, f"{path}.bias", bound=bound)


@torch.no_grad()
def _draw(parameter: Tensor, name: str, std: float = 0.0, bound: float = 0.0) -> None:
    if parameter.is_meta:
        return
    key = hashlib.sha256(f"{torch.initial_seed()}/{name}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
    values = torch.empty(parameter.shape)
    parameter.copy_(values.normal_(0, std, generator=rng) if std else values.uniform_(-bound, bound, generator=rng))
