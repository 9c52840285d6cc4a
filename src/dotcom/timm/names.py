"""Checkpoints of ours and of the original repository under the names that the network's weights have."""

from typing import Any

from torch import Tensor, nn

from dotcom.models.matching import names_of_ours


def checkpoint_filter_fn(state_dict: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """What timm calls with the tensors of a file, before it fits them to other channels or classes."""
    return names_of_ours(state_dict, network)


def rename(network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before loading: ``model.backbone...`` becomes ``backbone...``; of a run's two sets, the moving average is taken.

    Args:
        network: Which is about to load.
        state: Changed in place, as PyTorch's hooks do it.
        prefix: Empty unless the network is a part of another one, whose names are not ours to change.
    """
    if not prefix:
        ours = names_of_ours(state, network)
        state.clear()
        state.update(ours)
