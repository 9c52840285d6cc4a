"""What a file of ``torch.save`` holds, read without torch; nothing in it is called.

A file is checked before it is used: the sums of its parts hold, and what it holds is of a size that can be read.
"""

import io
import pickle
import pickletools
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from functools import lru_cache
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
OPCODES = {  # of pickle, those that torch.load reads without running what it finds
    *("GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS"),
    *("MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("NONE", "NEWFALSE", "NEWTRUE", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"),
    *("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
    *("BINPERSID", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "LONG1"),
    *("PROTO", "STOP"),
}
LARGEST_PICKLE = 2**26  # bytes of what is no tensor; a checkpoint of ours has some hundred thousand
MOST = 1_000_000  # opcodes, and values; each of them takes up to 100 bytes of memory
DEEPEST = 100  # levels of lists and dicts within each other
COPIES = ("last.ckpt", "best.ckpt", "average.ckpt")  # of a run; one may be whole where another is damaged
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
        check_sums(setting, path)
        content = _read(where, path, wanted)
        check_size(content)
    except FileNotFoundError:
        raise UsageError(f"{where}: no such file; a run leaves best.ckpt and last.ckpt in its folder") from None
    except IsADirectoryError:
        name = "model.safetensors" if Path(path, "model.safetensors").exists() else "last.ckpt"
        raise UsageError(f"{where}: a folder; expected a file, such as {path}/{name}") from None
    except PermissionError:
        raise UsageError(f"{where}: you may not read it; ask its owner, or copy it where you may") from None
    except UsageError:
        raise
    except DAMAGE:
        raise UsageError(f"{where}: no PyTorch checkpoint, or a damaged one{other_copy(path)}") from None
    check_wanted(where, wanted)
    return content


def check_sums(setting: str, path: str) -> None:
    """Raise UsageError if the bytes of a file are not those that were written.

    ``torch.save`` writes a sum of each part (CRC-32), which ``torch.load`` does not look at. A file is read once for
    it, at the speed of the disk; files of PyTorch before 1.6 have no sums.

    Args:
        setting: The key that named the file, for the error message.
        path: A file.

    Raises:
        UsageError: Naming the part that is damaged, and a copy beside it that is whole.
        OSError: If the file cannot be read.
    """
    file = Path(path)
    if file.exists() and not file.is_file() and not file.is_dir():
        raise UsageError(f"{setting}={path}: a pipe or a device; expected a file")
    if damage := damaged_part(file):
        raise UsageError(f"{setting}={path}: damaged, {damage}{other_copy(path)}")


def damaged_part(path: Path) -> str | None:
    """What does not hold of the sums of a file, in words; None if all do, or if it has none."""
    seen = path.stat()
    return _damaged_part(str(path), seen.st_ino, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=64)
def _damaged_part(path: str, inode: int, size: int, changed: int) -> str | None:
    """The same, remembered until the file changes."""
    if not zipfile.is_zipfile(path):
        return None  # of the old format, or refused by whoever reads it
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if any(part.filename.endswith("/constants.pkl") for part in parts):
                return None  # a program of TorchScript, whose code is compressed
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                return "or compressed by another program; torch.save compresses nothing"
            if sum(part.file_size for part in parts) > size:
                return "its parts are larger than the file"
            if not any(part.CRC for part in parts):  # torch.serialization.set_crc32_options(False)
                return None
            bad = archive.testzip()
    except DAMAGE:
        return "the list of its parts cannot be read"
    return f"the sum of {bad.partition('/')[2] or bad} does not hold" if bad else None


def other_copy(path: str) -> str:
    """For an error message about a damaged checkpoint: which copy of the run is whole, and how to go on with it."""
    damaged = Path(path)
    beside = [damaged.with_name(name) for name in COPIES if name != damaged.name]
    whole = next(
        (copy for copy in beside if copy.is_file() and zipfile.is_zipfile(copy) and not damaged_part(copy)), None
    )
    if whole is None:
        again = "; no other copy is whole: remove it, and the same command begins anew"
        return again if damaged.name == "last.ckpt" else ""
    if damaged.name == "last.ckpt" and whole.name == "best.ckpt":
        return f"; best.ckpt there is whole: to go on from its epoch, cp {whole} {path}, then the same command"
    if damaged.name == "best.ckpt" and whole.name == "last.ckpt":
        return f"; last.ckpt there is whole: to take the weights of the last epoch in its place, cp {whole} {path}"
    return f"; {whole.name} there is whole"


def check_size(content: Any) -> None:
    """Raise ValueError if plain values are too many, too deep, or contain themselves: nobody could walk over them."""
    left, nodes = MOST, [(content, 0)]
    while nodes:
        node, depth = nodes.pop()
        if isinstance(node, Mapping):
            inner: Any = [*node.values(), *(key for key in node if isinstance(key, tuple))]
        elif isinstance(node, (list, tuple, set)):
            inner = node
        else:
            continue
        left -= len(inner)
        if left < 0 or depth > DEEPEST:
            raise ValueError("too many values")
        nodes.extend((value, depth + 1) for value in inner)


def _read(where: str, path: str, wanted: set[str]) -> Any:
    with Path(path).open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if any(name.endswith("/constants.pkl") for name in names):
                    advice = "save torch.jit.load(FILE).state_dict() with torch.save"
                    raise UsageError(f"{where}: a program of TorchScript, not a file of weights; {advice}")
                name = next(name for name in names if name.endswith("/data.pkl"))
                if archive.getinfo(name).file_size > LARGEST_PICKLE:
                    raise UsageError(f"{where}: it holds too much beside tensors; save network.state_dict() alone")
                part = archive.getinfo(name)
                part.CRC = part.CRC or None  # type: ignore[assignment]  # 0 where a file has no sums
                pickled = archive.read(part)
                check_protocol(where, pickled)
                return _plain(io.BytesIO(pickled), wanted)
        file.seek(0)
        if tarfile.is_tarfile(file):
            advice = "load it with an old PyTorch, and save it anew with torch.save"
            raise UsageError(f"{where}: in the tar format of PyTorch before 0.2, which is not read; {advice}")
        file.seek(0)
        if _plain(file, wanted) != LEGACY:
            raise ValueError("some other pickle")
        for _ in ("its version", "the machine that wrote it"):
            _plain(file, wanted)
        return _plain(file, wanted)


def _plain(data: BinaryIO, wanted: set[str]) -> Any:
    """The next pickle of a file."""
    begin = data.tell()
    check_opcodes(data)
    data.seek(begin)
    return _PlainValues(data, wanted).load()


def check_protocol(where: str, pickled: bytes) -> None:
    """Raise UsageError if a pickle is of a protocol that ``torch.load`` does not read."""
    if pickled[:1] == b"\x80" and pickled[1:2] > bytes([PROTOCOL]):
        advice = "load it where you trust it, and save it anew with torch.save"
        raise UsageError(f"{where}: pickled with protocol {pickled[1]}, expected up to {PROTOCOL}; {advice}")


def check_opcodes(data: BinaryIO) -> None:
    """Look at each opcode of a pickle, before any is followed.

    A pickle of a few bytes can ask for gigabytes: for a table of memorised values of any length, for an empty array of
    bytes of any size.

    Raises:
        ValueError: If it holds an opcode that ``torch.load`` does not read, or too many.
    """
    begin = data.tell()
    for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
        beyond = opcode.name in ("BINPUT", "LONG_BINPUT") and (argument or 0) > count
        if opcode.name not in OPCODES or beyond:
            raise ValueError(f"unexpected {opcode.name}")
        if count > MOST or (position or begin) - begin > LARGEST_PICKLE:
            raise ValueError("too many opcodes")


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
