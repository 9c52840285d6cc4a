"""Looking at a .safetensors file without torch: it is there, it is whole, and it can be read here."""

import json
from importlib.util import find_spec
from pathlib import Path

from dotcom.errors import UsageError

SUFFIX = ".safetensors"


def check_safetensors(setting: str, path: Path) -> None:
    """Raise UsageError if the file cannot be loaded.

    Source: the format is the length of a header (8 bytes, little endian), the header in JSON, and the tensors' bytes.

    Args:
        setting: The key that named the file, for the error message.
        path: The file.
    """
    if find_spec("safetensors") is None:
        raise UsageError(f"{setting}={path} needs safetensors: pip install 'dotcom[timm]'")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except FileNotFoundError:
        raise UsageError(f"{setting}={path}: no such file; dotcom export --to timm writes model.safetensors") from None
    except IsADirectoryError:
        raise UsageError(f"{setting}={path}: a folder; expected a file") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        ends = []
    if not ends or size != 8 + length + max(ends):
        raise UsageError(f"{setting}={path}: no safetensors file, or a damaged one")
