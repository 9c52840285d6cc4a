"""The states of all random number generators of a process, as plain values that a checkpoint may hold."""

import random
from typing import Any

import numpy as np
import torch


def draw_apart(rank: int, step: int) -> None:
    """Let each process draw numbers of its own, for dropout, MixUp and CutMix: all were seeded alike.

    The weights are drawn before, and have to be equal. At step 0 the first process goes on where it is.
    """
    if rank or step:
        seeds = (
            np.random.SeedSequence(torch.initial_seed(), spawn_key=(rank, step)).generate_state(3, np.uint32).tolist()
        )
        random.seed(seeds[0])
        np.random.seed(seeds[1])
        torch.manual_seed(seeds[2])


def random_states(device: torch.device) -> dict[str, Any]:
    """Of Python, NumPy, PyTorch, and PyTorch's generator on ``device`` if it is no CPU."""
    numpy = np.random.get_state(legacy=False)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": numpy | {"state": numpy["state"] | {"key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}},
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go on drawing where ``random_states`` was called; a generator on another kind of device stays as it is."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy = states["numpy"]
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": numpy["state"]["key"].numpy().astype(np.uint32)}})
    torch.set_rng_state(states["torch"].cpu())
    if device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type].cpu())
