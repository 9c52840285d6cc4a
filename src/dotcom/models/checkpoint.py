"""A trained network from its checkpoint alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dotcom.errors import UsageError, flat
from dotcom.fingerprint import NEWER_WITHIN
from dotcom.models.classifier import Classifier
from dotcom.models.detector import Detector
from dotcom.models.dotcom import DoTCoM
from dotcom.models.edgevit import EdgeViT
from dotcom.models.fat import FAT
from dotcom.models.matching import names_of_ours
from dotcom.models.segmenter import Segmenter
from dotcom.models.timm import TimmBackbone
from dotcom.models.weights import read_weights
from dotcom.resume import at

LARGEST = 100_000  # classes, channels or pixels in the settings of a network

NETWORKS: dict[str, Callable[..., nn.Module]] = {  # a checkpoint may name these, and nothing else to be called
    f"dotcom.models.{network.__name__}": network for network in (Classifier, Detector, Segmenter)
}

BACKBONES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "dotcom.models.DoTCoM.from_variant": (DoTCoM.from_variant, ("variant", "block", "co_bias")),
    "dotcom.models.EdgeViT.from_variant": (EdgeViT.from_variant, ("variant",)),
    "dotcom.models.FAT.from_variant": (FAT.from_variant, ("variant", "two_way")),
    "dotcom.models.TimmBackbone": (TimmBackbone, ("name", "pyramid", "image_size")),
}


def from_checkpoint(path: str | Path, ema: bool = True) -> nn.Module:
    """Rebuild the network that a run saved, with its weights, in evaluation mode.

    Args:
        path: best.ckpt or last.ckpt of a run; nothing in it is executed.
        ema: Take the moving average of the weights if the run kept one.

    Raises:
        ValueError: If the file is no checkpoint of a run of ours, or its weights cannot be loaded.
    """
    saved = read_weights("CKPT", path)
    if not isinstance(saved, dict) or "config" not in saved or "state_dict" not in saved:
        raise ValueError(f"{path} is not a checkpoint of a dotcom run")
    model = at(saved["config"], "task.model")
    if not isinstance(model, Mapping):
        raise UsageError(f"{path}: its configuration lacks task.model; it is damaged, or of another program")
    network = from_config(model, str(path))
    try:
        network.load_state_dict(names_of_ours(saved, network, ema))
    except RuntimeError as error:  # of another network
        raise UsageError(f"{path}: its weights cannot be loaded; {flat(str(error))[:200]}") from None
    return network.eval()


def from_config(model: Mapping[str, Any], source: str) -> nn.Module:
    """Build the network that ``task.model`` of a resolved configuration describes, with random weights.

    Args:
        model: Plain values.
        source: What the configuration is from, for the error message.

    Raises:
        ValueError: If it names something other than our networks and backbones.
    """
    target, settings = model.get("_target_"), model.get("backbone")
    if not isinstance(target, str) or target not in NETWORKS:
        raise ValueError(f"{source} names the network {target!r}, expected one of {tuple(NETWORKS)}")
    named = settings.get("_target_") if isinstance(settings, Mapping) else None
    if not isinstance(settings, Mapping) or not isinstance(named, str) or named not in BACKBONES:
        raise ValueError(f"{source} names the backbone {named!r}, expected one of {tuple(BACKBONES)}")
    check_sizes(model, source)
    make, keys = BACKBONES[named]
    options = {key: value for key, value in model.items() if key not in ("_target_", "backbone", "weights")}
    try:
        backbone = make(**{key: settings.get(key, NEWER_WITHIN.get(f"model.{key}")) for key in keys})
        return NETWORKS[target](backbone, **options)
    except UsageError:
        raise
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, RuntimeError, MemoryError) as error:
        raise UsageError(f"{source}: its network cannot be built; {flat(str(error))[:200]}") from None


def check_sizes(node: Any, source: str) -> None:
    """Raise UsageError for a number in the settings of a network that would take the whole memory of a machine."""
    if isinstance(node, Mapping):
        for value in node.values():
            check_sizes(value, source)
    elif isinstance(node, (list, tuple)):
        for value in node:
            check_sizes(value, source)
    elif isinstance(node, (int, float)) and not -LARGEST <= node <= LARGEST:
        raise UsageError(f"{source}: its network has a size of {node}; expected up to {LARGEST:,}")
