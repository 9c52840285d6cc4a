"""What the bench must find, all in one place, and whether it did."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dotcom.bench.row import Row

Verdict = Literal["holds", "missed", "not judged"]


@dataclass(frozen=True)
class Floor:
    """One limit on one number of a row.

    Args:
        what: ``ratio``, ``value``, ``difference`` or a key of the row's ``numbers``.
        limit: The number itself is allowed.
        at_least: Or else: at most.
        timed: Whether a busy machine can spoil the number. One that is counted or computed is judged on any machine.
    """

    what: str
    limit: float
    at_least: bool = True
    timed: bool = True

    def __str__(self) -> str:
        return f"{self.what} {'>=' if self.at_least else '<='} {self.limit:g}"

    def judge(self, row: Row) -> Verdict:
        """Of a row that was measured. One without the number has missed the floor."""
        number = row.number(self.what)
        if number is not None and (number >= self.limit if self.at_least else number <= self.limit):
            return "holds"
        return "not judged" if row.contended and self.timed and number is not None else "missed"


def faster(limit: float) -> Floor:
    """At least this ratio to the reference."""
    return Floor("ratio", limit)


def exactly(what: str, limit: float) -> Floor:
    """A number that no clock has a part in, and its largest value."""
    return Floor(what, limit, at_least=False, timed=False)


FLOORS: dict[tuple[str, str], tuple[Floor, ...]] = {
    ("infer", "tiny deployed"): (faster(1.4), exactly("difference", 1e-6)),
    ("infer", "small deployed"): (faster(1.35), exactly("difference", 1e-6)),
    ("infer", "base deployed"): (faster(1.15), exactly("difference", 1e-6)),
    ("infer", "large deployed"): (faster(1.15), exactly("difference", 1e-6)),
    ("infer", "tiny deployed bf16"): (faster(1.9),),
    ("infer", "small deployed bf16"): (faster(1.9),),
    ("infer", "base deployed bf16"): (faster(1.9),),
    ("infer", "large deployed bf16"): (faster(1.9),),
    ("export", "tiny onnx"): (faster(3.0), exactly("difference", 1e-6), exactly("nodes", 560), Floor("naive", 0.95)),
    ("export", "small onnx"): (faster(2.3), exactly("difference", 1e-6), Floor("naive", 0.95)),
    ("export", "base onnx"): (faster(2.3), exactly("difference", 1e-6), Floor("naive", 0.95)),
    ("export", "large onnx"): (faster(2.0), exactly("difference", 1e-6), Floor("naive", 0.95)),
    ("train", "preset"): (faster(1.3),),
    ("train", "preset bf16"): (faster(2.3),),
    ("train", "overhead"): (Floor("value", 2.0, at_least=False), exactly("waits", 0)),
    ("data", "default"): (faster(1.6),),
    ("data", "prepared"): (faster(2.3),),
    ("gpu", "tiny training"): (faster(1.25), Floor("of A", 0.45)),
    ("gpu", "small training"): (Floor("of A", 0.45),),
    ("gpu", "base training"): (Floor("of A", 0.45),),
    ("gpu", "large training"): (Floor("of A", 0.45),),
    ("gpu", "tiny inference"): (Floor("of C", 0.40),),
    ("gpu", "small inference"): (Floor("of C", 0.40),),
    ("gpu", "base inference"): (Floor("of C", 0.40),),
    ("gpu", "large inference"): (Floor("of C", 0.40),),
    ("eval", "coco"): (faster(4.0), exactly("difference", 1e-8)),
    ("eval", "ssd flat"): (faster(3.0), exactly("different", 0)),
    ("eval", "ssd usual"): (faster(3.0), exactly("different", 0)),
    ("eval", "ssd sure"): (faster(3.0), exactly("different", 0)),
}


def verdicts(row: Row) -> list[tuple[Floor, Verdict]]:
    """Of all floors of a row; none of one that was not measured."""
    return [] if row.skipped else [(floor, floor.judge(row)) for floor in FLOORS.get((row.section, row.name), ())]


def worst(rows: Iterable[Row]) -> Verdict:
    """Of all floors of all rows: missed before not judged before holds."""
    found = {verdict for row in rows for _, verdict in verdicts(row)}
    return "missed" if "missed" in found else "not judged" if "not judged" in found else "holds"
