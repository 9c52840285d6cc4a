"""The original network's numbers, and the closed-form weights and images that led to them."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ORACLE = json.loads((Path(__file__).parent.parent / "oracle.json").read_text())["variants"]

PRIME = 2**31 - 1


def original_state(variant: str) -> dict[str, Tensor]:
    """A float64 state dict as the original repository would save it, filled by the oracle's formula."""
    tensors = enumerate(ORACLE[variant]["tensors"])
    return {name: torch.from_numpy(fill(role, number, shape)) for number, (name, role, shape) in tensors}


def fill(role: str, number: int, shape: list[int]) -> np.ndarray:
    """Values of tensor ``number``; the formulas are written out in tests/oracle.json."""
    i = np.arange(np.prod(shape), dtype=np.int64)
    mixed = (1000000007 * (i * i % PRIME)) % PRIME + (1327217885 * i) % PRIME + 362437 * (number + 1) ** 2 % PRIME
    s = 2 * ((mixed % PRIME) / PRIME) - 1
    values = {
        "conv_weight": 1.2 * np.sqrt(3.0 / np.prod(shape[1:])) * s,
        "linear_weight": 1.2 * np.sqrt(3.0 / np.prod(shape[1:])) * s,
        "norm_weight": 1 + 0.2 * s,
        "norm_bias": 0.1 * s,
        "running_mean": 0.1 * s,
        "running_var": 1 + 0.5 * s,
        "linear_bias": 0.1 * s,
        "co_bias": 0.5 * s,
    }
    return values[role].reshape(shape)


def image(height: int, width: int, shift: float = 0.0) -> Tensor:
    """(1, 3, height, width), float64."""
    c, y, x = np.meshgrid(np.arange(3.0), np.arange(float(height)), np.arange(float(width)), indexing="ij")
    return torch.from_numpy(np.sin((c + 1) * (0.11 * y + 0.07 * x) + shift) + 0.5 * np.cos(0.013 * x * y + c))[None]
