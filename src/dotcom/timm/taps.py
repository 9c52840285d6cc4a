"""Which stages' maps are asked for."""

from collections.abc import Sequence


def taken(indices: int | Sequence[int] | None, count: int) -> list[int]:
    """Indices from the start, of ``count`` stages, as timm lets one name them: the last n, some, or all."""
    if indices is None or isinstance(indices, int):
        indices = range(-(count if indices is None else indices), 0)
    if not len(indices) or not all(-count <= i < count for i in indices):
        raise ValueError(f"indices must name some of {count} stages, got {list(indices)}")
    return [i % count for i in indices]
