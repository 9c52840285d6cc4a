"""What a file of ``torch.save`` holds besides its tensors, read without torch; nothing in it is called."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from dotcom.errors import UsageError


class _Blank:
    """Stands for every object that is not a plain container: tensors, storages, data types."""

    def __init__(self, *args: Any) -> None:
        pass

    def __call__(self, *args: Any) -> "_Blank":
        return self

    def __setstate__(self, state: Any) -> None:
        pass


class _Dict(dict[Any, Any]):
    """Stands for OrderedDict, whose attributes (the versions of a state dict) are of no use here."""

    def __setstate__(self, state: Any) -> None:
        pass


class _PlainValues(pickle.Unpickler):
    """Reads dicts, lists and scalars; imports and calls nothing."""

    def find_class(self, module: str, name: str) -> Any:
        return _Dict if (module, name) == ("collections", "OrderedDict") else _Blank

    def persistent_load(self, pid: Any) -> Any:
        return _Blank()


def read_plain(setting: str, path: str) -> Any:
    """What a checkpoint holds besides its tensors, in a few milliseconds.

    Args:
        setting: The key that named the file, for the error message.
        path: A file written by ``torch.save``.

    Raises:
        UsageError: If there is no such file, or it is no checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                return _PlainValues(file).load()
    except FileNotFoundError:
        raise UsageError(
            f"{setting}={path}: no such file; a run leaves best.ckpt and last.ckpt in its folder"
        ) from None
    except IsADirectoryError:
        name = "model.safetensors" if Path(path, "model.safetensors").exists() else "last.ckpt"
        raise UsageError(f"{setting}={path}: a folder; expected a file, such as {path}/{name}") from None
    except (zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, EOFError, OSError):
        raise UsageError(f"{setting}={path}: no PyTorch checkpoint (1.6 or newer), or a damaged one") from None
