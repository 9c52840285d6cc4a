"""How well the order of latencies here is the order of the README, and what networks of equal accuracy cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.latency.rows import Entry
from scipy import stats

EQUAL = 0.8  # points of top-1 up to which two networks count as equally accurate


@dataclass(frozen=True)
class Agreement:
    """Spearman's rho between the README's milliseconds on the phone and other numbers of the same rows.

    Args:
        what: Which rows.
        rho: From -1 to 1.
        n: Rows.
    """

    what: str
    rho: float
    n: int


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """1 for the smallest; equal values share the mean of their ranks."""
    return dict(zip(values, map(float, stats.rankdata(list(values.values()))), strict=True))


def agreements(rows: Sequence[Entry], values: Mapping[str, float]) -> list[Agreement]:
    """Rho over peers, over those of timm alone, and with DoTCoM at both sizes; of what was measured.

    Args:
        rows: All rows.
        values: By key; rows without one are left out.
    """
    peers = [row for row in rows if not row.ours]
    groups = {
        "peers": peers,
        "peers of timm": [row for row in peers if not row.key.startswith(("edgevit", "fat_"))],
        "with DoTCoM at 256": [row for row in rows if not row.extra],
        "with DoTCoM at 224": peers + [row for row in rows if row.extra],
    }
    found = []
    for what, group in groups.items():
        measured = [row for row in group if row.key in values]
        if len(measured) > 2 and any(row.ours for row in measured) == any(row.ours for row in group):
            rho = stats.spearmanr([row.said.ms for row in measured], [values[row.key] for row in measured]).statistic
            found.append(Agreement(what, float(rho), len(measured)))
    return found


def equals(rows: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Every DoTCoM with every peer that the README gives about the same top-1."""
    return [
        (ours, peer)
        for ours in rows
        for peer in rows
        if ours.ours and not peer.ours and abs(ours.said.top1 - peer.said.top1) <= EQUAL + 1e-9
    ]
