"""Starting from trained weights: our checkpoints, plain state dicts, and those of the original repository."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from dotcom.errors import listed
from dotcom.models.timm import TimmBackbone
from dotcom.safetensors import SUFFIX

# Left: names in github.com/EmPasLab/DoTCoM. ``conv.N`` numbers convolution, norm and activation in one row.
ORIGINAL_NAMES: list[tuple[str, str]] = [
    (r"^base\.", "backbone.stem.0."),
    (r"^IB\.", "backbone.stem.1."),
    (r"^QIB\.", "backbone.stages.0."),
    (r"^DoT\.([01])\.mechanism\.", r"backbone.stages.1.\1."),
    (r"^DoT\.2\.mechanism\.", "backbone.stages.2."),
    (r"^QG\.", "backbone.stages.3."),
    (r"^fc\.", "head."),
    (r"\.transformer\.layers\.(\d+)\.0\.norm\.", r".attention.\1.norm."),
    (r"\.transformer\.layers\.(\d+)\.0\.fn\.to_qkv\.", r".attention.\1.qkv."),
    (r"\.transformer\.layers\.(\d+)\.0\.fn\.to_out\.0\.", r".attention.\1.out."),
    (r"\.transformer\.layers\.(\d+)\.1\.norm\.", r".mlp.\1.0."),
    (r"\.transformer\.layers\.(\d+)\.1\.fn\.net\.0\.", r".mlp.\1.1."),
    (r"\.transformer\.layers\.(\d+)\.1\.fn\.net\.3\.", r".mlp.\1.3."),
    (r"\.conv1\.(\d)\.", r".local.0.\1."),
    (r"\.conv2\.(\d)\.", r".local.1.\1."),
    (r"\.conv3\.(\d)\.", r".project.\1."),
    (r"\.conv4\.(\d)\.", r".fuse.\1."),
    (r"\.move1\.", ".bias_in."),
    (r"\.move2\.", ".bias_out."),
]


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Copy what fits by name and shape into ``network``, and print loaded, skipped and missing.

    Heads of another width or another task are left as they are. If the checkpoint holds an exponential
    moving average, that is what is loaded. The file is opened with ``weights_only=True``, or is of safetensors.

    Args:
        network: Changed in place; its backbone stands under ``backbone.``.
        path: A checkpoint of ours, a saved state dict of a network or a bare backbone, or of the original; of a network
            of timm, one of timm's own names, too.

    Raises:
        ValueError: If the file holds no weights, or less than 90 % of the backbone's parameters fit.
    """
    theirs = names_of_ours(_under_timm(_read(path), network))
    ours = {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
    fits = {name: tensor for name, tensor in theirs.items() if name in ours and tensor.shape == ours[name].shape}
    skipped = [name for name in theirs if name not in fits and "num_batches_tracked" not in name]
    missing = [name for name in ours if name not in fits]
    backbone = {name: tensor.numel() for name, tensor in ours.items() if "backbone." in name}
    share = sum(size for name, size in backbone.items() if name in fits) / max(1, sum(backbone.values()))
    report = (
        f"weights={path}: {len(fits)} tensors loaded, {_counted('skipped', skipped)}, "
        f"{_counted('missing', missing)}; {share:.1%} of the backbone"
    )
    if share < 0.9:
        raise ValueError(f"{report}; at least 90 % expected. Is it of another size or block kind?")
    network.load_state_dict(fits, strict=False)
    print(report)


def _read(path: str | Path) -> Any:
    """What a file holds; nothing of it is run.

    Raises:
        ValueError: If it would have to be.
        ImportError: If it is of safetensors, and that is not installed.
    """
    if str(path).endswith(SUFFIX):
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise ImportError(f"weights={path} needs safetensors: pip install 'dotcom[timm]'") from None
        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise ValueError(f"weights={path}: it holds more than tensors and plain values, and could run code") from None


def _under_timm(loaded: Any, network: nn.Module) -> Any:
    """Names of timm get the place that timm's network has in ours; anything else is returned as it is."""
    backbone = getattr(network, "backbone", None)
    names = backbone.network.state_dict().keys() if isinstance(backbone, TimmBackbone) else set()
    if not isinstance(loaded, dict) or len(names & loaded.keys()) * 2 < len(loaded):
        return loaded
    return {f"backbone.network.{name}": value for name, value in loaded.items()}


def names_of_ours(loaded: Any, ema: bool = True) -> dict[str, Tensor]:
    """The tensors of a checkpoint or state dict under the names that our networks use.

    Args:
        loaded: What ``torch.load`` returned.
        ema: Take the moving average where there is one.
    """
    if not isinstance(loaded, dict):
        raise ValueError(f"weights: expected a file with a state dict or a checkpoint, got a {type(loaded).__name__}")
    state = next((loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), dict)), loaded)
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    for prefix in ("ema.module.",) * ema + ("model.", "module."):  # of a Lightning task, of DataParallel
        inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        tensors = inside or tensors
    if any(name.startswith("stem.") for name in tensors):
        tensors = {f"backbone.{name}": value for name, value in tensors.items()}
    if "base.0.weight" in tensors:
        tensors = {
            _from_original(name): value.squeeze() if ".move" in name else value for name, value in tensors.items()
        }
    return tensors


def _from_original(name: str) -> str:
    def block(match: re.Match[str]) -> str:
        """Conv N of a row of (convolution, norm, activation) is layer N // 3, part N % 3."""
        kind, number = match[1], int(match[2])
        layer, part = divmod(number, 3)
        return {"conv_block": f".conv{layer + 1}.{part}.", "conv": f".layers.{layer}.{part}."}[kind]

    for pattern, ours in ORIGINAL_NAMES:
        name = re.sub(pattern, ours, name)
    if re.match(r"backbone\.stages\.(0\.\d|1\.\d\.[01]|2\.[01])\.", name):  # a QIB: QG first, then MV2
        name = re.sub(r"\.(conv_block|downsample)\.", r".0.\1.", re.sub(r"\.conv\.", ".1.conv.", name))
    return re.sub(r"\.(conv_block|conv)\.(\d+)\.", block, name).replace(".downsample.", ".skip.")


def _counted(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f" ({listed(names, limit=3)})" if names else "")
