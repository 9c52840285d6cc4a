"""What a section of the bench yields. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dotcom.benchmark.statistics import Ratio

Effort = Literal["quick", "normal", "full"]


@dataclass(frozen=True)
class Row:
    """One thing that was measured.

    Args:
        section: As on the command line.
        name: Unique in its section, the same in every effort; floors are found by it.
        value: How long it took, or how much it did, as ``unit`` says.
        unit: Of ``value``, such as ms, images/s or ms/step.
        ratio: Time of the section's reference over this one's, paired by round; None for the reference itself.
        difference: From the reference's answer: the largest absolute one, or a word.
        numbers: What a floor may ask for besides ``value``, ``ratio`` and ``difference``, by name.
        facts: What only a reader wants to know.
        skipped: Why nothing was measured.
        contended: Whether something else used the machine meanwhile. Set by the bench, not by a section.
    """

    section: str
    name: str
    value: float | None = None
    unit: str = "ms"
    ratio: Ratio | None = None
    difference: float | str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    skipped: str | None = None
    contended: bool = False

    def number(self, name: str) -> float | None:
        """What a floor asks for: ``ratio`` (its median), ``value``, ``difference`` or one of ``numbers``."""
        if name == "ratio":
            return self.ratio.median if self.ratio else None
        if name == "value":
            return self.value
        if name == "difference":
            return self.difference if isinstance(self.difference, float) else None
        return self.numbers.get(name)


def skipped(section: str, name: str, reason: str) -> Row:
    """A row that says why there is none."""
    return Row(section, name, skipped=reason)
