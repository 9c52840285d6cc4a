"""Warnings about the user's own files and settings: one line each, and said once. Nothing here imports torch."""

import re
import warnings
from typing import Any

from dotcom.text import visible
from dotcom.world import is_first

shown: set[str] = set()  # in this process, and before it began if it is a loader process


def warn_once() -> None:
    """From now on, show a warning as ``warning: ...``, and each text only the first time.

    Python itself shows a warning again once somebody has changed its filters, as libraries do, and the same check of
    the data is made before training starts and again by the data set.
    """
    warnings.formatwarning = one_line


def one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """A warning as it is printed; empty if it was printed before, or is for the first process to say.

    A setting, as in ``data.root=PATH: ...``, is the same in all processes that train together.
    """
    text = visible(" ".join(str(message).split("\n")))
    if text in shown or (re.match(r"[\w.]+=", text) and not is_first()):
        return ""
    shown.add(text)
    return f"warning: {text}\n"
