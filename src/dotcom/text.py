"""User text as output: names of classes, files and runs stand literally wherever they are shown. No torch here.

Names come from data sets, checkpoints and folders that other people made. What shows them must neither take them for
its own markup nor let their control characters reach a terminal.
"""

import sys
import unicodedata
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

FORMULA = ("=", "+", "-", "@")  # with these a spreadsheet takes a cell for a formula
HIDDEN_KINDS = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (of direction, too), surrogates, line separators
JOINERS = "\u200c\u200d"  # which scripts and emoji need
MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*|[]"}}


def visible(text: object) -> str:
    r"""Text on one line, with control characters as escapes: ``\x1b`` for ESC, ``\n`` for a line break.

    Bytes of a file name that are no text are shown likewise.
    """
    shown = str(text)
    if shown.isprintable():  # nearly always
        return shown
    return "".join(_escaped(character) for character in shown)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN_KINDS or character in JOINERS:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def say(line: object, file: IO[str] | None = None) -> None:
    """Print one line of a message that may hold user text, at once; tabs stay."""
    print("\t".join(map(visible, str(line).split("\t"))), file=file or sys.stdout, flush=True)


def make_console(**options: Any) -> "Console":
    """A console of rich that prints text as it is: no markup such as ``[red]``, no emoji codes such as ``:smile:``."""
    from rich.console import Console  # which takes a while: an error line needs none

    return Console(markup=False, emoji=False, highlight=False, **options)


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file: text that a spreadsheet would take for a formula is quoted with an apostrophe.

    Source: OWASP, CSV injection.

    Args:
        value: Text is guarded, and made ``visible``; a number stays one.
    """
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def markdown_cell(text: object) -> str:
    """Text in a table of Markdown, where ``|`` would end the cell and ``<`` could begin HTML."""
    return "".join(MARKDOWN.get(character, character) for character in visible(text))
