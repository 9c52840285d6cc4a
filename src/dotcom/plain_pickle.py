"""What a file of ``torch.save`` holds, read without torch; nothing in it is called."""

import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from dotcom.errors import UsageError, listed

# Modules of torch that the pickled tensors themselves ask for. torch.load(weights_only=True) reads these and no more.
TORCH = (
    *("torch", "torch._utils", "torch._tensor", "torch.nn.parameter", "torch.serialization", "torch.storage"),
    *("torch.cuda", "torch.sparse", "torch.cuda.sparse"),
)
PLAIN = ("collections.OrderedDict", "collections.Counter", "_codecs.encode")
PLAIN_BUILTINS = tuple(f"builtins.{name}" for name in ("bytearray", "complex", "set"))
# What training scripts put beside their tensors. A ``Blank`` stands for each of them, so none of them is made.
HARMLESS = (
    *("argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "timedelta", "timezone")),
)
LEGACY = 0x1950A86A20F9469CFC6C  # the first value of a file that PyTorch before 1.6 wrote
PROTOCOL = 3  # of pickle, the newest that torch.load reads without running what it finds
DAMAGE = (  # how unpickling answers what is no pickle, or a damaged one
    *(pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(ImportError, MemoryError, OverflowError, RecursionError, struct.error, zipfile.BadZipFile, StopIteration),
)


class Blank:
    """Stands for every object that is not a plain container: storages, data types, the harmless ones above."""

    def __init__(self, *args: Any) -> None:
        pass

    def __call__(self, *args: Any) -> "Blank":
        return self

    def __setstate__(self, state: Any) -> None:
        pass


class PlainTensor(Blank):
    """Stands for a tensor.

    Args:
        shape: Of the tensor; None if the file does not say it plainly.
    """

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        self.shape = shape


def is_plain_tensor(value: Any) -> bool:
    """Whether a value that ``read_plain`` gave stands for a tensor."""
    return isinstance(value, PlainTensor)


class _Dict(dict[Any, Any]):
    """Stands for OrderedDict, whose attributes (the versions of a state dict) are of no use here."""

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(*args: Any) -> PlainTensor:
    """In place of ``torch._utils._rebuild_tensor_v2`` and its kin: storage, offset, size, stride, ..."""
    size = args[2] if len(args) > 2 else None
    return PlainTensor(size if isinstance(size, tuple) else None)


def _first(*args: Any) -> Any:
    """In place of what wraps a tensor in a parameter."""
    return args[0]


def _of_type(rebuild: Any, kind: Any, args: Any, state: Any) -> Any:
    """In place of what makes a tensor of a subclass; ``rebuild`` is one of those above."""
    return rebuild(*args)


STANDINS: dict[str, Any] = {
    "collections.OrderedDict": _Dict,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
}


class _PlainValues(pickle.Unpickler):
    """Reads dicts, lists and scalars; imports and calls nothing but what stands above.

    Attributes:
        wanted: Names of all that the file asks for.
    """

    def __init__(self, file: BinaryIO, wanted: set[str]) -> None:
        super().__init__(file)
        self.wanted = wanted

    def find_class(self, module: str, name: str) -> Any:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"  # Python 2 gave it the other name
        self.wanted.add(full)
        usual = _tensor if full.startswith("torch._utils._rebuild_") else Blank
        return STANDINS.get(full, usual)

    def persistent_load(self, pid: Any) -> Any:
        return Blank()


def read_plain(setting: str, path: str) -> Any:
    """What a checkpoint holds, in a few milliseconds: plain values, and a ``PlainTensor`` for each tensor.

    Args:
        setting: The key that named the file, for the error message.
        path: A file written by ``torch.save``, in its format of today or in that before PyTorch 1.6.

    Raises:
        UsageError: If there is no such file, it is no checkpoint, or it asks for anything but tensors, plain values
            and what is ``HARMLESS``; the message says for what.
    """
    where, wanted = f"{setting}={path}", set[str]()
    try:
        content = _read(where, path, wanted)
    except FileNotFoundError:
        raise UsageError(f"{where}: no such file; a run leaves best.ckpt and last.ckpt in its folder") from None
    except IsADirectoryError:
        name = "model.safetensors" if Path(path, "model.safetensors").exists() else "last.ckpt"
        raise UsageError(f"{where}: a folder; expected a file, such as {path}/{name}") from None
    except UsageError:
        raise
    except DAMAGE:
        raise UsageError(f"{where}: no PyTorch checkpoint, or a damaged one") from None
    check_wanted(where, wanted)
    return content


def _read(where: str, path: str, wanted: set[str]) -> Any:
    with Path(path).open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if any(name.endswith("/constants.pkl") for name in names):
                    advice = "save torch.jit.load(FILE).state_dict() with torch.save"
                    raise UsageError(f"{where}: a program of TorchScript, not a file of weights; {advice}")
                with archive.open(next(name for name in names if name.endswith("/data.pkl"))) as data:
                    return _plain(where, data, wanted)
        file.seek(0)
        if tarfile.is_tarfile(file):
            advice = "load it with an old PyTorch, and save it anew with torch.save"
            raise UsageError(f"{where}: in the tar format of PyTorch before 0.2, which is not read; {advice}")
        file.seek(0)
        if _PlainValues(file, wanted).load() != LEGACY:
            raise ValueError("some other pickle")
        for _ in ("its version", "the machine that wrote it"):
            _PlainValues(file, wanted).load()
        return _PlainValues(file, wanted).load()


def _plain(where: str, data: Any, wanted: set[str]) -> Any:
    protocol = data.peek(2)[1]
    if protocol > PROTOCOL:
        advice = "load it where you trust it, and save it anew with torch.save"
        raise UsageError(f"{where}: pickled with protocol {protocol}, expected up to {PROTOCOL}; {advice}")
    return _PlainValues(data, wanted).load()


def check_wanted(where: str, wanted: set[str]) -> None:
    """Raise UsageError, naming what is too much, unless a file asks for nothing but what is read here."""
    expected = (*PLAIN, *PLAIN_BUILTINS, *HARMLESS)
    others = sorted(name for name in wanted if name not in expected and name.rpartition(".")[0] not in TORCH)
    if not others:
        return
    if modules := [name for name in others if ".nn.modules." in name or name.startswith("torchvision.models.")]:
        raise UsageError(
            f"{where}: it holds a whole network ({listed(modules, limit=2)}), which would have to be run, "
            "not its weights; save network.state_dict() with torch.save"
        )
    raise UsageError(
        f"{where}: it asks for {listed(others)}, which could run code and is not read; expected tensors and plain "
        "values, also argparse.Namespace and NumPy's; save network.state_dict() with torch.save"
    )
