"""A trained network from its checkpoint alone."""

from pathlib import Path

import torch
from torch import nn

from dotcom.models.classifier import Classifier
from dotcom.models.dotcom import DoTCoM
from dotcom.models.weights import names_of_ours

NETWORKS = {"dotcom.models.Classifier": Classifier}  # a checkpoint may name these, and nothing else to be called


def from_checkpoint(path: str | Path, ema: bool = True) -> nn.Module:
    """Rebuild the network that a run saved, with its weights, in evaluation mode.

    Args:
        path: best.ckpt or last.ckpt of a run; opened with ``weights_only=True``.
        ema: Take the moving average of the weights if the run kept one.

    Raises:
        ValueError: If the file is no checkpoint of a run of ours.
    """
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(saved, dict) or "config" not in saved or "state_dict" not in saved:
        raise ValueError(f"{path} is not a checkpoint of a dotcom run")
    model = saved["config"]["task"]["model"]
    if model["_target_"] not in NETWORKS:
        raise ValueError(f"{path} names the network {model['_target_']!r}, expected one of {tuple(NETWORKS)}")
    backbone = {key: model["backbone"][key] for key in ("variant", "block", "co_bias")}
    network = NETWORKS[model["_target_"]](DoTCoM.from_variant(**backbone), model["num_classes"])
    network.load_state_dict(names_of_ours(saved, ema))
    return network.eval()
