"""Fields of JSON entries, as other programs write them: one rule for each type, or None for what does not fit."""

import math
from typing import Any

from dotcom.foreign import is_unicode

LARGEST = 2**63  # ids are stored as 64-bit numbers
FLAGS = {"0": False, "1": True, "false": False, "true": True, "": False}


def as_number(value: Any) -> float | None:
    """A finite number, also one that is written as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def as_whole(value: Any) -> int | None:
    """A whole number of at most 64 bits, also as ``7.0`` or ``"7"``; None for anything else."""
    if type(value) is int:  # nearly always
        return value if -LARGEST <= value < LARGEST else None
    if isinstance(value, str):
        try:
            return as_whole(int(value))
        except ValueError:
            pass
    found = as_number(value)
    return int(found) if found is not None and found.is_integer() and abs(found) < 2**53 else None


def as_flag(value: Any) -> bool | None:
    """0 or 1, also as text, as true or false, or as null for no; None for anything else."""
    if value is None:
        return False
    if isinstance(value, str):
        return FLAGS.get(value.strip().lower())
    return bool(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def as_text(value: Any) -> str | None:
    """Text that is not empty, or a number as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        text = str(value).strip()
    except ValueError:  # a number of thousands of digits
        return None
    return text if text and is_unicode(text) else None
