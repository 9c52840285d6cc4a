"""Files that other programs wrote: read whole, or refused in one line. Nothing here imports torch.

What stands in them is anything: text in another encoding, brackets that are nested a hundred thousand times, numbers of
five thousand digits. A name may lead to a folder, a pipe or a device, which is never opened.
"""

import json
import os
import reprlib
import stat
from pathlib import Path
from typing import IO, Any

from dotcom.errors import UsageError, flat

SMALL = 64 * 2**20  # bytes of a file of settings, names or numbers, which nobody writes by hand
LARGE = 16 * 2**30  # bytes of annotations: all of COCO's have 0.8 GB
SHOWN = 80  # characters of a value in a message
UNPARSABLE = (  # what parsers in Python raise for text that nobody meant for them, beside their own errors
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, LookupError, OverflowError, RecursionError),
    MemoryError,
)


class NoRegularFile(OSError):  # noqa: N818
    """A folder, a pipe or a device, where a file was expected."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read its bytes; a pipe or a device, which could block or act, is never opened.

    Raises:
        NoRegularFile: If it is no regular file.
        OSError: If it is not there, or must not be read.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:  # a name with a NUL in it
        raise FileNotFoundError(2, "No such file or directory") from None
    if not stat.S_ISREG(mode):
        raise NoRegularFile("it is a folder, a pipe or a device; expected a file")
    return path.open("rb")


def read_foreign(path: Path, where: str | None = None, most: int = SMALL) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        where: What to call it in an error; default: its path.
        most: Bytes that it may have.

    Raises:
        UsageError: If it is not there, cannot be read, is no regular file, or has more bytes.
    """
    called = where or str(path)
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size <= most and len(content := file.read(most + 1)) <= most:
                return content
    except OSError as error:
        raise UsageError(f"{called}: {error.strerror or error}") from None
    except MemoryError:
        raise UsageError(f"{called}: this machine has too little memory to read it") from None
    raise UsageError(f"{called}: more than {most / 2**20:,.0f} MB; expected a file that another program wrote for this")


def parse_json(content: bytes | str, where: str, expected: str) -> Any:
    """A value of JSON.

    Args:
        content: The text.
        where: What to call it in an error.
        expected: What should have stood there.

    Raises:
        UsageError: If it is no JSON, or too deeply nested; ``where`` begins it, ``expected`` ends it.
    """
    try:
        return json.loads(content)
    except RecursionError:
        why = "too deeply nested"
    except MemoryError:
        why = "this machine has too little memory for it"
    except ValueError as error:  # also for another encoding, and for numbers of thousands of digits
        why = flat(str(error))
    raise UsageError(f"{where}: no JSON ({why}); {expected}")


def brief(value: Any) -> str:
    """A value in a message: text as it is, anything else as Python writes it, and only the beginning of what is long.

    Values of YAML may hold the same list a million times; of these only a few are shown.
    """
    try:
        text = value if isinstance(value, str) else _brief.repr(value)
    except ValueError:  # a number of thousands of digits
        text = "a very long number"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother, _brief.maxlong = 3, SHOWN, SHOWN, SHOWN


def is_unicode(text: str) -> bool:
    """Whether text can be written in UTF-8, or holds halves of surrogate pairs, which are no characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
