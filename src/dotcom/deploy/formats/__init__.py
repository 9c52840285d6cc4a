"""The file formats of runtimes: what each is called, what it needs, and which one a file has.

Each module here has ``write(graph, path)`` and ``load(path, threads)``, and names its modules without importing them.
A graph is written, or for timm the network itself.
The input is always one tensor ``images``, float32 (1, 3, N, N), normalised; outputs are named as ``Graph.outputs``.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Any

from dotcom.errors import UsageError

Array = Any  # a NumPy array; this package is read before NumPy is
Runner = Callable[[Array], dict[str, Array]]

FORMATS = ("onnx", "executorch", "litert", "coreml", "openvino", "timm", "torch")
OUTPUTS = {1: ("logits",), 2: ("boxes", "scores")}  # by their number, for files that keep only an order


def module(name: str) -> ModuleType:
    """The module of a format."""
    return import_module(f"dotcom.deploy.formats.{name}")


def of_file(path: Path) -> str:
    """The format of a file, by its name.

    Raises:
        UsageError: If no format has this suffix.
    """
    for name in FORMATS:
        if path.name.endswith(module(name).SUFFIX):
            return name
    known = " ".join(module(name).SUFFIX for name in FORMATS)
    raise UsageError(f"{path}: no file of a runtime; expected one of {known}")


def missing(name: str) -> list[str]:
    """What of ``MODULES``, which writing takes, is not installed."""
    return absent(module(name).MODULES)


def unrunnable(name: str) -> str | None:
    """Why this machine cannot run files of a format, in a few words; None if it can."""
    if name == "coreml" and sys.platform != "darwin":
        return "Core ML runs on macOS only"
    if gone := absent(module(name).RUNTIME):
        return f"{' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} not installed"
    return None


def absent(modules: Sequence[str]) -> list[str]:
    """Those that cannot be imported, found without importing them."""
    return [name for name in modules if find_spec(name) is None]


def require(name: str, modules: Sequence[str], extra: str) -> None:
    """Raise UsageError with the command that installs what a format lacks.

    Args:
        name: Of the format.
        modules: What has to be importable.
        extra: Of this package, that brings them.
    """
    if gone := absent(modules):
        needs = ", ".join(module.replace("_", "-") for module in gone)
        raise UsageError(f"{name} needs {needs}: pip install 'dotcom[{extra}]'")


def size(path: Path) -> int:
    """Bytes of what a format leaves: a file, a folder, or a pair of files named by its ``.xml``."""
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path, *path.rglob("*")]
    return sum(part.stat().st_size for part in parts if part.is_file())


def named(outputs: Sequence[Array]) -> dict[str, Array]:
    """Outputs by name, from their order."""
    return dict(zip(OUTPUTS[len(outputs)], outputs, strict=True))


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what libraries, also those in C++, write to stdout and stderr; show it on stderr if they fail."""
    flush()
    kept = [os.dup(1), os.dup(2)]
    with TemporaryFile("w+") as held:
        for number in (1, 2):
            os.dup2(held.fileno(), number)
        try:
            with redirect_stdout(held), redirect_stderr(held):
                yield
        except BaseException:
            held.seek(0)
            os.write(kept[1], held.read().encode())
            raise
        finally:
            flush()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def flush() -> None:
    """Let what was written reach where it was meant to go, before stdout and stderr go elsewhere."""
    sys.stdout.flush()
    sys.stderr.flush()
