"""What all processes of a training agree on, without a device that has to wait for it."""

from typing import Any

import torch
import torch.distributed as dist


class Agreement:
    """The largest of a few whole numbers over all processes, so that none of them acts alone.

    They talk through gloo, from the memory of the host, whatever the devices talk through: NCCL would queue the numbers
    behind the work of the step, and reading the result would make each GPU wait for Python. Asked for at the beginning
    of a step, the answer has arrived by its end.

    Args:
        processes: How many there are; all of them create it, and ask, in the same order.
    """

    def __init__(self, processes: int = 1) -> None:
        self.group: Any = dist.new_group(backend="gloo") if processes > 1 else None
        self.values: list[int] | torch.Tensor = []
        self.work: Any = None

    def ask(self, *values: int) -> None:
        """Begin, and return at once."""
        self.values = list(values)
        if self.group is not None:
            self.values = torch.tensor(values)
            self.work = dist.all_reduce(self.values, dist.ReduceOp.MAX, self.group, async_op=True)

    def answer(self) -> list[int]:
        """The largest of each value that was asked for; empty if nothing was."""
        if self.work is not None:
            self.work.wait()
            self.work = None
        values, self.values = self.values, []
        return list(values) if isinstance(values, list) else values.tolist()
