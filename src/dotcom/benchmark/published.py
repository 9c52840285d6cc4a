"""The table "Experiments on Mobile-Processor (Samsung Exynos-2100)" of the original's README, as it stands there."""

import csv
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    """One of its 29 rows.

    Args:
        name: As the README spells it.
        model: The choice of conf/model that stands for it.
        ms: Latency on the phone; runtime, precision and image size are not said.
        flops_g: In units of 10^9; the README counts multiply-accumulates.
        params_m: Parameters in units of 10^6.
        top1: On ImageNet-1k, in percent.
    """

    name: str
    model: str
    ms: float
    flops_g: float
    params_m: float
    top1: float


def published() -> list[Published]:
    """All rows, by rising top-1."""
    with FILE.open(newline="") as file:
        return [
            Published(row["name"], row["model"], *(float(row[key]) for key in ("ms", "flops_g", "params_m", "top1")))
            for row in csv.DictReader(file)
        ]


def top1_of(model: str) -> float | None:
    """The README's top-1 of a choice of conf/model, in percent; None where it has none."""
    return next((row.top1 for row in published() if row.model == model), None)
