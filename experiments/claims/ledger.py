"""The rows of claims.csv: what the original's README says, what was found, and how. Nothing here imports torch."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from dotcom.errors import UsageError
from dotcom.record import whole

REPRODUCED, CONTRADICTED, NOT_TESTABLE = VERDICTS = ("reproduced", "contradicted", "not testable here")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a computation says about a claim.

    Attributes:
        verdict: One of ``VERDICTS``.
        measured: The number found, or why there is none.
        how: The form of the network or the way of counting that fits, or what was tried.
    """

    verdict: str
    measured: str
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim(Outcome):
    """One number of the README, with the outcome that was recorded for it.

    Attributes:
        id: Unique; ``section.subject.quantity``.
        section: Table or paragraph: imagenet, blocks, co_bias, coco, voc, exynos, text, training, install, within.
        subject: Row of the table, as the README spells it.
        quantity: Column: parameters, MACs, top-1, latency, mAP, mIoU, or what the text speaks of.
        readme: The value as printed, with its unit.
        command: What measures it, here or elsewhere.
        note: Written by hand.
    """

    id: str
    section: str
    subject: str
    quantity: str
    readme: str
    command: str
    note: str = ""

    @property
    def outcome(self) -> Outcome:
        """What was recorded."""
        return Outcome(verdict=self.verdict, measured=self.measured, how=self.how)


COLUMNS = ("id", "section", "subject", "quantity", "readme", "verdict", "measured", "how", "command", "note")
assert set(COLUMNS) == {field.name for field in fields(Claim)}


def read(path: Path) -> list[Claim]:
    """The ledger, checked.

    Raises:
        UsageError: If a column is missing, a verdict unknown, or an id there twice.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for line, row in enumerate(rows, start=2):
        if set(row) != set(COLUMNS) or None in row.values():
            raise UsageError(f"{path}, row {line}: expected the columns {', '.join(COLUMNS)}")
        if row["verdict"] not in VERDICTS:
            raise UsageError(f"{path}, row {line}: verdict={row['verdict']}, expected {' | '.join(VERDICTS)}")
    claims = [Claim(**row) for row in rows]
    if twice := [name for name, count in Counter(claim.id for claim in claims).items() if count > 1]:
        raise UsageError(f"{path}: {twice[0]} is there twice")
    return claims


def write(path: Path, claims: Iterable[Claim]) -> None:
    """Write the ledger whole."""
    with whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, claims))


def updated(claims: Sequence[Claim], outcomes: Sequence[Outcome]) -> list[Claim]:
    """The ledger with what follows today in place of what was recorded."""
    return [replace(claim, **asdict(outcome)) for claim, outcome in zip(claims, outcomes, strict=True)]


def disagreements(claims: Sequence[Claim], outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each recorded outcome that no longer follows from the computation."""
    return [
        f"{claim.id}: recorded {said(claim.outcome)}; the computation says {said(outcome)}"
        for claim, outcome in zip(claims, outcomes, strict=True)
        if claim.outcome != outcome
    ]


def said(outcome: Outcome) -> str:
    """An outcome in words."""
    return ", ".join(filter(None, (outcome.verdict, outcome.measured, outcome.how)))
