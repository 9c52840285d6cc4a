"""Names of classes: read from a text file, and told apart where several classes share one."""

import codecs
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from dotcom.errors import UsageError
from dotcom.foreign import read_foreign

BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-32 begins as that of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def read_class_names(file: Path) -> list[str]:
    """Read one name from each line: the name of class 0 from the first line, and so on.

    Args:
        file: Text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Empty lines at the end do not count.

    Raises:
        UsageError: If the file has another encoding, or an empty line before the last name.
    """
    lines = [line.strip() for line in read_text(file).rstrip().splitlines()]
    if "" in lines:
        number = lines.index("") + 1
        raise UsageError(f"{file}: line {number} is empty; expected the name of class {number - 1}, one on each line")
    return list(tell_apart(dict(enumerate(lines))).values())


def read_text(file: Path) -> str:
    """Read a text file that another program wrote.

    Raises:
        UsageError: If it cannot be read, or is neither UTF-8 nor begins with the byte order mark of another Unicode
            encoding.
    """
    content = read_foreign(file)
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        said = f"line {line} holds the byte 0x{content[error.start]:02x}, which is not {encoding.upper()}"
        raise UsageError(f"{file}: {said}; save the file in the encoding UTF-8") from None
    if "\0" in text:
        raise UsageError(f"{file}: it looks like UTF-16 without a byte order mark; save it in the encoding UTF-8")
    return text


def tell_apart(names: Mapping[int, str]) -> dict[int, str]:
    """Names by number; a name that several numbers share gets its number: ``cat (3)``."""
    bearers = Counter(names.values())
    return {number: name if bearers[name] == 1 else f"{name} ({number})" for number, name in sorted(names.items())}
