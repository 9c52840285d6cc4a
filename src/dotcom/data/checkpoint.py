"""The data of a run, from the configuration that its checkpoint carries."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import dotcom.data
from dotcom.data.module import DataModule

PARTS = {f"dotcom.data.{name}": getattr(dotcom.data, name) for name in dotcom.data.__all__}  # nothing else is called


def data_of(config: Mapping[str, Any], **changes: Any) -> DataModule:
    """Build the DataModule that a run was trained with.

    Args:
        config: The configuration of the run, as plain values; ``config["data"]`` is read.
        changes: Arguments of the DataModule to replace.

    Raises:
        ValueError: If the configuration names something other than the parts of ``dotcom.data``.
    """
    data = built({**config["data"], **changes})
    if not isinstance(data, DataModule):
        raise ValueError(f"data._target_: expected 'dotcom.data.DataModule', got {config['data'].get('_target_')!r}")
    return data


def built(node: Any) -> Any:
    """A value, or the call that ``_target_`` and ``_partial_`` describe; unlike Hydra's, of our own parts alone."""
    if isinstance(node, list):
        return [built(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    values = {key: built(value) for key, value in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return values
    if node["_target_"] not in PARTS:
        raise ValueError(f"data: {node['_target_']!r} is not a part of dotcom.data, and will not be called")
    part = PARTS[node["_target_"]]
    return partial(part, **values) if node.get("_partial_") else part(**values)
