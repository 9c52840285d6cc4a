"""Starting from trained weights: our checkpoints, those of other programs, and those of the original repository."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from dotcom.errors import UsageError, flat, listed
from dotcom.foreign import UNPARSABLE
from dotcom.models import edgevit, fat
from dotcom.models.dotcom import VARIANTS, DoTCoM
from dotcom.models.matching import LEAST, Found, find_weights, is_tensor, readings, share
from dotcom.plain_pickle import HARMLESS, Blank, read_plain
from dotcom.safetensors import SUFFIX, check_safetensors
from dotcom.state_dicts import StateDict, contents, state_dicts
from dotcom.world import is_first

COUNTERS = "num_batches_tracked"  # of batch norms, which may be missing


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Copy what fits by name and shape into ``network``, and print what was taken, loaded, skipped and missing.

    Heads of another width or another task are left as they are. If the file holds a moving average, that is what is
    loaded. Nothing in the file is executed.

    Args:
        network: Changed in place; its backbone stands under ``backbone.``.
        path: A checkpoint of ours; one of another program, with the state dict under a usual key (``state_dict``,
            ``model``, ``model_ema`` ...) and usual prefixes (``module.``, ``_orig_mod.`` ...); a state dict of a whole
            network or a bare backbone, also of safetensors; of the original; of a network of timm, of timm itself.

    Raises:
        ValueError: If the file cannot be read, or less than 90 % of the backbone's parameters fit. The message says
            what was found.
    """
    loaded = read_weights("weights", path)
    ours = {name: tensor for name, tensor in network.state_dict().items() if COUNTERS not in name}
    found = find_weights(f"weights={path}", loaded, ours)
    skipped = [name for name in found.tensors if name not in found.fits and COUNTERS not in name]
    missing = [name for name in ours if name not in found.fits]
    fraction = share(found, ours)
    report = (
        f"weights={path}: {_taken(found, loaded)}{len(found.fits)} tensors loaded, {_counted('skipped', skipped)}, "
        f"{_counted('missing', missing)}; {fraction:.1%} of the backbone"
    )
    if fraction < LEAST:
        raise UsageError(f"{report}; at least 90 % expected. {_why(found, loaded, ours)}")
    network.load_state_dict(found.fits, strict=False)
    if is_first():
        print(report)


def read_weights(setting: str, path: str | Path) -> Any:
    """What a file holds, tensors on the CPU; nothing of it is run.

    Args:
        setting: The key that named the file, for the error message.
        path: Of ``torch.save``, or of safetensors.

    Raises:
        UsageError: If it is no such file, is damaged, or would have to be run.
    """
    if str(path).endswith(SUFFIX):
        check_safetensors(setting, Path(path))
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, *UNPARSABLE) as error:
            raise UsageError(f"{setting}={path}: its tensors cannot be read; {flat(str(error))[:200]}") from None
    read_plain(setting, str(path))  # whose errors say what was expected
    try:
        with harmless():
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = flat(str(error)).partition("WeightsUnpickler error: ")[2] or "it is damaged"
        raise UsageError(f"{setting}={path}: its tensors cannot be read; {reason[:200]}") from None


def harmless() -> Any:
    """Within it, ``torch.load`` reads files with what training scripts put beside tensors, and makes nothing of that.

    A ``Blank``, which does nothing, stands for each such object: not even ``argparse.Namespace`` itself is made.
    """
    return torch.serialization.safe_globals([(Blank, name) for name in HARMLESS])


def _taken(found: Found, loaded: Any) -> str:
    """Which of the state dicts of a file was taken, and what its names began with, where that is worth a word."""
    others = [other.place for other in state_dicts(loaded, is_tensor) if other.keys and other.keys != found.source.keys]
    words = f"{found.source.place} taken" if found.source.keys else ""
    words += f" (also there: {listed(others)})" if others else ""
    if found.prefix:
        words += f"{', ' if words else ''}{found.prefix[:-1]} of its names taken"
    return f"{words}; " if words else ""


def _why(found: Found, loaded: Any, ours: Mapping[str, Tensor]) -> str:
    """What a file that does not fit looks like."""
    differing = {name: value for name, value in found.tensors.items() if name in ours and name not in found.fits}
    words = [f"It holds {contents(found.source.tensors, is_tensor)}"]
    if differing:
        name = max(differing, key=lambda name: differing[name].numel())
        words.append(f"{name} is {_by(differing[name])} in the file, {_by(ours[name])} in the network")
    elif not found.fits:
        words.append(f"the network's names are such as {listed(list(ours), limit=2)}")
    architecture = loaded.get("arch") if isinstance(loaded, Mapping) else None
    if guess := _guess(found.source):
        words.append(f"it looks like {guess}")
    elif isinstance(architecture, str):
        words.append(f"it says that it is of {architecture}")
    return "; ".join(words)


def _by(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _guess(source: StateDict) -> str | None:
    """The network of ours that a state dict fits, as one writes it on the command line."""
    with torch.device("meta"):
        for name, backbone in _own_networks():
            ours = {f"backbone.{key}": value for key, value in backbone.state_dict().items() if COUNTERS not in key}
            if any(share(reading, ours) >= LEAST for reading in readings(source, ours, ema=True)):
                return name
    return None


def _own_networks() -> Iterator[tuple[str, nn.Module]]:
    for block in ("qib", "basic", "mv2", "qg"):
        for variant in VARIANTS:
            extra = "" if block == "qib" else f" block={block}"
            yield f"model=dotcom_{variant}{extra}", DoTCoM.from_variant(variant, block=block)
    for kind in edgevit.VARIANTS:
        yield f"model=edgevit_{kind}", edgevit.EdgeViT.from_variant(kind)
    for size in fat.VARIANTS:
        yield f"model=fat_{size}", fat.FAT.from_variant(size)


def _counted(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f" ({listed(names, limit=3)})" if names else "")
