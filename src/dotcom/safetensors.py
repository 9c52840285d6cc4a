"""Looking at a .safetensors file without torch: it is there, it is whole, and it can be read here."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

from dotcom.errors import UsageError
from dotcom.foreign import UNPARSABLE, open_regular

LONGEST = 100_000_000  # bytes of a header; safetensors itself takes no longer one
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
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < min(size, LONGEST) else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        whole = size == 8 + length + max(end for end in ends if type(end) is int)
    except FileNotFoundError:
        raise UsageError(f"{setting}={path}: no such file; dotcom export --to timm writes model.safetensors") from None
    except OSError as error:
        raise UsageError(f"{setting}={path}: {error.strerror or error}") from None
    except UNPARSABLE:
        whole = False
    if not whole:
        raise UsageError(f"{setting}={path}: no safetensors file, or a damaged one")
