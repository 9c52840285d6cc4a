"""How images have to be prepared for the weights that a run starts from. Torch is imported only to ask timm.

Weights work on images that are normalised as in their training. Most expect ImageNet's mean and deviation; timm says of
each set of its weights what it expects (MobileViT's: values in [0, 1] as they are), and a run of ours what it used.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotcom.errors import UsageError
from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.plain_pickle import read_plain

USUAL: dict[str, Any] = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "interpolation": "bilinear"}
ENLARGED = 1.125  # shorter side over the crop of a validation image: 288 for 256


def expected_by_weights(fact: str, weights: Any, model: Mapping[str, Any]) -> Any:
    """What the weights expect of images.

    Args:
        fact: ``"mean"`` or ``"std"``, per channel of values in [0, 1]; or ``"interpolation"``, ``"bilinear"`` or
            ``"bicubic"``.
        weights: As in the configuration: None, ``"timm"``, or a file.
        model: The network, with its ``name`` if it is one of timm.
    """
    if published := _of_timm(weights, model):
        found = getattr(published, fact)
        if fact == "interpolation":
            return found if found == "bilinear" else "bicubic"  # the nearest to Lanczos that tensors have
        return [float(value) for value in found]
    if isinstance(weights, str) and fact in ("mean", "std"):
        return _of_run(weights).get(fact) or USUAL[fact]
    return USUAL[fact]


def val_resize(image_size: int, weights: Any, model: Mapping[str, Any]) -> int:
    """The shorter side, in pixels, that a validation image gets before its centre is cut.

    Args:
        image_size: Side of the crop.
        weights: As in ``expected_by_weights``; those of timm say which share the crop has.
        model: As in ``expected_by_weights``.
    """
    if published := _of_timm(weights, model):
        return math.floor(image_size / published.crop_pct)
    return round(image_size * ENLARGED)


def _of_timm(weights: Any, model: Mapping[str, Any]) -> Any:
    """What timm says of its weights; None if they are others, or if it knows none, which is refused later."""
    name = model.get("name") if weights == "timm" else None
    if not name:
        return None
    try:
        from timm import get_pretrained_cfg

        return get_pretrained_cfg(str(name))
    except (ImportError, RuntimeError, ValueError, KeyError):
        return None


def _of_run(path: str) -> dict[str, Any]:
    """The ``data`` of the run that a checkpoint is of; empty for any other file, and for one that is refused later."""
    try:
        content = read_plain("weights", str(Path(path).expanduser()))
    except UsageError:
        return {}
    config = content.get("config") if isinstance(content, dict) else None
    data = config.get("data") if isinstance(config, dict) else None
    return data if isinstance(data, dict) else {}
