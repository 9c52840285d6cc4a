"""The comparisons of a study in words that say no more than its tests do."""

from dataclasses import dataclass

from experiments.formats import number, probability
from experiments.statistics import Comparison
from experiments.study import Study


@dataclass(frozen=True)
class Verdict:
    """One comparison for people; ``kind`` is shown, none, or underpowered."""

    kind: str
    label: str
    text: str


def answer(study: Study) -> str:
    """All comparisons in one sentence."""
    rows = study.comparisons
    if not rows:
        return "One arm only: nothing to compare."
    if all(row.underpowered for row in rows):
        return "Too few seeds for a sign-flip test to show any difference."
    shown = sum(is_shown(row, study.level) for row in rows)
    count = f"{shown or 'None'} of {len(rows)} comparisons show{'s' if shown == 1 else ''}"
    return f"{count} a difference at the {study.level:g} level."


def is_shown(row: Comparison, level: float) -> bool:
    """Whether both tests, corrected for the number of rows, are below the level."""
    return row.t_holm is not None and max(row.t_holm, row.sign_flip_holm) < level


def verdict(row: Comparison, study: Study) -> Verdict:
    """What may be said of one arm against the reference."""
    unit = " points" if study.percent else ""
    ends = [number(study, end, "+") for end in (row.low, row.high) if end is not None]
    interval = f"{study.confidence} interval {' to '.join(ends)}" if ends else "no interval"
    p = f"p after Holm {probability(row.t_holm)} (t), {probability(row.sign_flip_holm)} (sign flip)"
    text = (
        f"{row.arm} against {row.reference}: {number(study, row.difference, '+')}{unit} of {study.metric}, "
        f"{interval}, {len(row.seeds)} {'pair' if len(row.seeds) == 1 else 'pairs'} of seeds, {p}"
    )
    if row.underpowered:
        return Verdict("underpowered", "underpowered", text)
    if is_shown(row, study.level):
        return Verdict("shown", "higher" if row.difference > 0 else "lower", text)
    return Verdict("none", "no difference shown", text)
