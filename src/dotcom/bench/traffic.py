"""Bytes that a network has to move through the memory of a device, counted operation by operation on paper.

These networks compute little per byte, so a GPU waits for its memory: bytes over bandwidth is a limit on their speed.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PRODUCTS = (  # what no fusion can save: products of matrices, convolutions, attention; forward and backward
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::convolution",
    "aten::convolution_backward",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_backward",
)
NOTHING = ("aten::empty", "aten::new_empty", "aten::detach", "aten::_unsafe_view", "aten::alias", "aten::lift_fresh")


@dataclass(frozen=True)
class Traffic:
    """Bytes read and written, each operation by itself, nothing kept in a cache.

    Args:
        eager: Of all operations as they are written: A.
        products: Of the inputs and outputs of products alone, as if all else were fused into them: C.
        operations: How many there are that move something.
    """

    eager: int
    products: int
    operations: int

    def per_second(self, images: int, bandwidth: float, fused: bool = False) -> float:
        """Images per second at most.

        Args:
            images: That were counted.
            bandwidth: Bytes per second.
            fused: Limit C instead of A.
        """
        return images * bandwidth / (self.products if fused else self.eager)


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while operations run; on the meta device they take no time and no memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.eager = self.products = self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        if not func.is_view and not name.startswith(NOTHING):
            moved = moved_by(tree_leaves((args, kwargs))) + moved_by(tree_leaves(result))
            self.eager += moved
            self.products += moved if name in PRODUCTS else 0
            self.operations += 1
        return result


def moved_by(values: Iterable[Any]) -> int:
    """Bytes of all tensors; what is only repeated by a stride of 0 is there once."""
    total = 0
    for value in values:
        if isinstance(value, Tensor) and value.numel():
            sizes = (size for size, stride in zip(value.shape, value.stride(), strict=True) if stride)
            total += value.element_size() * int(torch.Size(sizes).numel())
    return total


class Flash(TorchFunctionMode):
    """Attention as one operation, as a GPU has it; the meta device would spell it out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args)[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def counting() -> Iterator[Count]:
    """Count what runs inside."""
    with Flash(), Count() as count:
        yield count


def traffic(network: nn.Module, batch: int, size: int, training: bool) -> Traffic:
    """Of one pass over a batch in bfloat16: forward, and with ``training`` backward.

    The optimiser is left out: its share is below 1 %.

    Args:
        network: On the meta device; it is changed to bfloat16.
        batch: Images.
        size: Their side in pixels.
        training: With gradients, and batch norm over the batch.
    """
    network = network.bfloat16().to(memory_format=torch.channels_last).train(training)
    images = torch.empty(batch, 3, size, size, dtype=torch.bfloat16, device="meta")
    images = images.to(memory_format=torch.channels_last)
    with torch.set_grad_enabled(training), counting() as count:
        logits = network(images)
        if training:
            labels = torch.empty(batch, dtype=torch.long, device="meta")
            F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    return Traffic(count.eager, count.products, count.operations)
