"""The tensors of a file under the names of our networks, whoever wrote it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dotcom.errors import UsageError
from dotcom.state_dicts import StateDict, contents, is_average, prefixes, state_dicts, without_inner

LEAST = 0.9  # of the backbone's parameters has to fit
PLACES = ("", "backbone.", "backbone.network.")  # where a network of ours has what a file calls by its bare name

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


@dataclass(frozen=True)
class Found:
    """The tensors of a file under the names that a network gives them.

    Attributes:
        source: Where in the file they stand.
        prefix: What stood in front of their names.
        tensors: By our names.
        fits: Those whose name and shape the network has.
    """

    source: StateDict
    prefix: str
    tensors: dict[str, Tensor]
    fits: dict[str, Tensor]


def find_weights(where: str, loaded: Any, ours: Mapping[str, Tensor], ema: bool = True) -> Found:
    """The state dict of a file, and the prefix of its names, that fit a network best.

    The moving average is taken where it fits.

    Args:
        where: What to call the file in an error.
        loaded: What it holds.
        ours: The state dict of the network.
        ema: Take the moving average where there is one.

    Raises:
        UsageError: If the file has no tensors under a known key.
    """
    sources = state_dicts(loaded, is_tensor, ema)
    if not sources:
        raise UsageError(f"{where}: no weights under a known key; it holds {contents(loaded, is_tensor)}")
    best = [max(readings(source, ours, ema), key=_rank) for source in sources]
    fitting = [found for found in best if share(found, ours) >= LEAST]
    return fitting[0] if fitting else max(best, key=lambda found: len(found.fits))


def readings(source: StateDict, ours: Mapping[str, Tensor], ema: bool) -> Iterator[Found]:
    """The tensors of one state dict under the names that each prefix and each place in our network give them."""
    bare = {without_inner(name): value for name, value in source.tensors.items()}
    for prefix in prefixes(bare, ema):
        inside = {name.removeprefix(prefix): value for name, value in bare.items() if name.startswith(prefix)}
        if "base.0.weight" in inside and "IB.conv.0.weight" in inside:
            inside = {
                _from_original(name): value.squeeze() if ".move" in name else value for name, value in inside.items()
            }
        for place in PLACES:
            tensors = {f"{place}{name}": value for name, value in inside.items()}
            fits = {name: value for name, value in tensors.items() if name in ours and value.shape == ours[name].shape}
            yield Found(source, prefix, tensors, fits)


def _rank(found: Found) -> tuple[int, bool]:
    return len(found.fits), is_average(found.prefix)


def share(found: Found, ours: Mapping[str, Tensor]) -> float:
    """How much of the numbers of the backbone fit, from 0 to 1."""
    sizes = {name: tensor.numel() for name, tensor in ours.items() if "backbone." in name}
    return sum(size for name, size in sizes.items() if name in found.fits) / max(1, sum(sizes.values()))


def is_tensor(value: Any) -> bool:
    """Tell tensors from other values."""
    return isinstance(value, Tensor)


def names_of_ours(loaded: Any, network: nn.Module, ema: bool = True) -> dict[str, Tensor]:
    """The tensors of a checkpoint or state dict under the names that a network of ours gives them.

    Args:
        loaded: What ``torch.load`` returned.
        network: The one that the names are for.
        ema: Take the moving average where there is one.
    """
    return find_weights("weights", loaded, network.state_dict(), ema).tensors


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
