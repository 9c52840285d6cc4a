"""Where the weights are in what people save: under which keys, behind which prefixes. Nothing here imports torch."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dotcom.errors import counted, listed

AVERAGES = (  # keys of moving averages; these are taken before the network itself
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "ema"),
)
NETWORKS = (  # keys of the network itself
    *("state_dict", "model_state_dict", "model", "net", "network", "net_state_dict", "model_state", "params"),
    *("weights", "module", "backbone"),
)
AVERAGED = ("ema.module.", "model_ema.module.", "ema_model.module.", "model_ema.", "ema_model.", "ema.")
# of Lightning tasks, of DataParallel, of lightly wrapped networks
WRAPPERS = ("module.", "model.", "network.", "net.", "backbone.")
INNER = re.compile(r"(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # at any place
DEPTH = 4  # of keys, and of prefixes


@dataclass(frozen=True)
class StateDict:
    """Tensors of one network.

    Attributes:
        keys: Under which they stand in the file, the outermost first.
        tensors: By name.
    """

    keys: tuple[str, ...]
    tensors: dict[str, Any]

    @property
    def place(self) -> str:
        """Where they stand, in words."""
        return ".".join(self.keys) or "the file itself"


def state_dicts(content: Any, is_tensor: Callable[[Any], bool], ema: bool = True) -> list[StateDict]:
    """All state dicts under known keys, the one to take first: moving averages before networks, inner before outer.

    Args:
        content: What a file holds.
        is_tensor: Tells tensors from other values.
        ema: Whether moving averages count.
    """
    return list(_found(content, is_tensor, AVERAGES if ema else (), ()))


def _found(
    node: Any, is_tensor: Callable[[Any], bool], averages: tuple[str, ...], keys: tuple[str, ...]
) -> Iterator[StateDict]:
    if not isinstance(node, Mapping):
        return
    if len(keys) < DEPTH:
        for key in (*averages, *NETWORKS):
            yield from _found(node.get(key), is_tensor, averages, (*keys, key))
    if tensors := {str(name): value for name, value in node.items() if is_tensor(value)}:
        yield StateDict(keys, tensors)


def prefixes(names: Iterable[str], ema: bool = True) -> list[str]:
    """All that may stand in front of the names that the network itself gives, the shortest first: ``""`` is one."""
    names = list(names)
    found, begun = [""], [""]
    for _ in range(DEPTH):
        known = (*AVERAGED, *WRAPPERS) if ema else WRAPPERS
        longer = [before + wrapper for before in begun for wrapper in known]
        begun = [prefix for prefix in longer if any(name.startswith(prefix) for name in names)]
        found += [prefix for prefix in begun if prefix not in found]
    return found


def is_average(prefix: str) -> bool:
    """Whether a prefix is that of a moving average."""
    return any(wrapper in prefix for wrapper in AVERAGED)


def without_inner(name: str) -> str:
    """A name without what ``torch.compile`` and other wrappers of single layers put into it."""
    return INNER.sub(r"\1", name)


def contents(content: Any, is_tensor: Callable[[Any], bool]) -> str:
    """What a file holds, in words: its keys, and how many tensors stand under each."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "nothing"
    if names := [str(name) for name, value in content.items() if is_tensor(value)]:
        return f"{counted(len(names), 'tensor')} ({listed(names, limit=3)})"
    return listed([_described(key, value, is_tensor) for key, value in content.items()], limit=8)


def _described(key: Any, value: Any, is_tensor: Callable[[Any], bool]) -> str:
    tensors = [name for name, inner in value.items() if is_tensor(inner)] if isinstance(value, Mapping) else []
    return f"{key} ({counted(len(tensors), 'tensor')} such as {tensors[0]})" if tensors else str(key)
