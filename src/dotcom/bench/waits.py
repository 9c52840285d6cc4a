"""Counts what makes a device wait for Python, on any machine: every number that is read from one, or copied to it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

OPERATIONS = {  # whose result, or its size, the host has to know
    "aten::_local_scalar_dense": "item",  # also bool(), int(), float() and comparisons in an if
    "aten::equal": "equal",
    "aten::nonzero": "nonzero",
    "aten::masked_select": "masked_select",
    "aten::_unique2": "unique",
}
READS: dict[Any, str] = {Tensor.tolist: "tolist", Tensor.numpy: "numpy", Tensor.cpu: "cpu", Tensor.__array__: "numpy"}
MADE = {torch.tensor, torch.as_tensor, torch.asarray}


class Waits:
    """A context that notes each wait with the place of the step in which it happened.

    On a GPU, each of them would stop Python until all work before it is done. On a CPU they can be counted just as
    well, but for ``Tensor.to``, which does not say there which way it copies. What lies in the memory of the host
    whatever the device is, such as a loss that a GPU has copied there by itself, is read without PyTorch, and not
    counted.

    Attributes:
        step: Set by whoever runs the steps.
        seen: (step, what) of each wait.
    """

    def __init__(self) -> None:
        self.step = 0
        self.seen: list[tuple[int, str]] = []
        self.modes = (Operations(self.note), Calls(self.note))

    def note(self, what: str) -> None:
        self.seen.append((self.step, what))

    def __enter__(self) -> "Waits":
        for mode in self.modes:
            mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self.modes):
            mode.__exit__(*error)  # type: ignore[no-untyped-call]


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Those that PyTorch itself sees."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in OPERATIONS:
            self.note(OPERATIONS[name])
        if name == "aten::index" and any(index is not None and index.dtype == torch.bool for index in args[1]):
            self.note("index with a mask")
        return func(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Those of Python alone: the values of a tensor, and a tensor of values, made on a given device."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in READS:
            self.note(READS[func])
        if func in MADE and kwargs.get("device") is not None and not isinstance(args[0], Tensor):
            self.note(func.__name__)
        return func(*args, **kwargs)
