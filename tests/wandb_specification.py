"""What a specification of a W&B workspace or report shows."""

from collections.abc import Iterator
from typing import Any


def every(node: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth."""
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from every(inner, key)
    if isinstance(node, dict) and key in node:
        yield node[key]


def named(part: Any) -> set[str]:
    """Every name of something logged that a specification shows."""
    lists = [*every(part, "metrics"), *every(part, "mediaKeys")]
    tables = [field["value"] for fields in every(part, "args") for field in fields if field["name"] == "tableKey"]
    return {name for names in lists for name in names} | set(tables)
