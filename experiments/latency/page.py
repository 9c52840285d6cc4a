"""The table as README.md and table.csv."""

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from experiments.latency.ranks import EQUAL, agreements, equals, ranks
from experiments.latency.rows import Entry

from dotcom.benchmark.measure import Session
from dotcom.benchmark.statistics import paired_ratio, percentiles
from dotcom.benchmark.table import contended, machine, turns_of

ABSENT = "-"


@dataclass(frozen=True)
class Study:
    """All that the page is made of.

    Args:
        rows: That were asked for.
        sessions: Of each runtime.
        phone: Of (device, runtime) the milliseconds of each row.
        failed: What could not be exported or run, with the reason.
    """

    rows: Sequence[Entry]
    sessions: Mapping[str, Session]
    phone: Mapping[tuple[str, str], Mapping[str, float]]
    failed: Mapping[str, str]

    @property
    def columns(self) -> dict[str, dict[str, float]]:
        """Milliseconds by key, of every runtime here and every phone."""
        here = {
            runtime: {
                row.name: percentiles([t for r in session.calls[row.label] for t in r])[0] for row in session.rows
            }
            for runtime, session in self.sessions.items()
        }
        return here | {f"{runtime} on {device}": dict(times) for (device, runtime), times in self.phone.items()}

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """What the exported files say of their networks, by key."""
        return {row.name: row.card for session in self.sessions.values() for row in session.rows}


def headline(study: Study) -> str:
    """What every reader of the numbers has to know first."""
    cpu = machine(list(study.sessions.values()))["CPU"]
    phone = f" Columns of a phone: {', '.join(device for device, _ in study.phone)}." if study.phone else ""
    return (
        f"Measured on one {platform.machine()} machine ({cpu}), one thread, not on an Exynos 2100 or any phone.{phone}"
    )


def as_csv(study: Study) -> str:
    """One line that says where, then one row each."""
    text = io.StringIO()
    text.write(f"# {headline(study)}\n")
    columns = study.columns
    places = {name: ranked(study, times) for name, times in columns.items()}
    said = ranked(study, {row.key: row.said.ms for row in study.rows})
    header = ["name", "model", "image_size", "readme_top1", "readme_ms", "readme_rank"]
    header += [f"{name} {what}" for name in columns for what in ("ms", "rank")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "readme_params_m", "parameters", "readme_flops_g", "macs"])
    for row in study.rows:
        card = study.cards.get(row.key, {})
        cells: list[Any] = [row.said.name, row.key, row.image_size, row.said.top1, row.said.ms, said.get(row.key, "")]
        for name, times in columns.items():
            cells += [times.get(row.key, ""), places[name].get(row.key, "")]
        writer.writerow([*cells, row.said.params_m, card.get("parameters"), row.said.flops_g, card.get("macs")])
    return text.getvalue()


def ranked(study: Study, times: Mapping[str, float]) -> dict[str, float]:
    """Ranks among the README's own rows; second measurements have none."""
    return ranks({row.key: times[row.key] for row in study.rows if not row.extra and row.key in times})


def as_markdown(study: Study) -> str:
    """The whole page."""
    parts = [
        "# The README's table on the phone, on this machine",
        headline(study),
        "Made by `python -m experiments.latency`; numbers: [table.csv](table.csv). How to fill a column for a phone: "
        "[RECIPES.md](RECIPES.md). Times are p50 in ms of CPU time, batch 1, float32, random weights, every network at "
        "the image size that it was published with; rank 1 is the fastest of the README's rows. DoTCoM has the form "
        "that `dotcom export` writes, spelled for each runtime; peers are re-parameterised and have their batch norms "
        "folded, and are otherwise as their authors spell them.",
        table(main_table(study)),
        "![the README's latency against ours](latency.png)",
        "## Is it the same order?",
        "Spearman's rho between the README's milliseconds on the phone and each column, number of rows in brackets.",
        table(agreement_table(study)),
        "## Networks of equal accuracy",
        f"DoTCoM over peers whose top-1 in the README is within {EQUAL} points: paired by round, median with 20 to "
        "80 % quantiles. Above 1: DoTCoM is slower.",
        table(equal_table(study)),
        "## Which network stands for a row",
        table(network_table(study)),
        "## The machine",
        "\n".join(f"- {line}" for line in machine_lines(study)),
    ]
    return "\n\n".join(parts) + "\n"


def main_table(study: Study) -> list[list[str]]:
    """README, then every runtime, with ranks in brackets."""
    columns = study.columns
    places = {name: ranked(study, times) for name, times in columns.items()}
    said = ranked(study, {row.key: row.said.ms for row in study.rows})
    cells = [["row", "network", "size", "top-1 (README)", "phone (README)", *columns]]
    for row in study.rows:
        found = [spelled(times.get(row.key), places[name].get(row.key)) for name, times in columns.items()]
        phone = spelled(row.said.ms, said.get(row.key), 0)
        cells.append([row.said.name, row.key, str(row.image_size), f"{row.said.top1:.1f}", phone, *found])
    return cells


def spelled(ms: float | None, rank: float | None, places: int = 1) -> str:
    """``12.3 (4)``."""
    return ABSENT if ms is None else f"{ms:.{places}f}" + (f" ({rank:g})" if rank else "")


def agreement_table(study: Study) -> list[list[str]]:
    """One row per column of times, and one for MACs."""
    macs = {key: card["macs"] for key, card in study.cards.items()}
    found = {name: agreements(study.rows, times) for name, times in (study.columns | {"MACs, counted": macs}).items()}
    heads = list(dict.fromkeys(each.what for group in found.values() for each in group))
    rows = []
    for name, group in found.items():
        cells = {each.what: f"{each.rho:.2f} ({each.n})" for each in group}
        rows.append([name, *(cells.get(head, ABSENT) for head in heads)])
    return [["", *heads], *rows]


def equal_table(study: Study) -> list[list[str]]:
    """One row per pair, one column per runtime here."""
    rows = []
    for ours, peer in equals(study.rows):
        found = []
        for session in study.sessions.values():
            turns = {row.name: turns_of(session)[row.label] for row in session.rows}
            both = ours.key in turns and peer.key in turns
            ratio = paired_ratio(turns[ours.key], turns[peer.key]) if both else None
            found.append(f"{ratio.median:.2f} [{ratio.low:.2f} to {ratio.high:.2f}]" if ratio else ABSENT)
        tops = f"{ours.said.top1:.1f} / {peer.said.top1:.1f}"
        rows.append([ours.key, peer.said.name, tops, f"{ours.said.ms / peer.said.ms:.2f}", *found])
    return [["DoTCoM", "peer", "top-1", "README's ratio", *study.sessions], *rows]


def network_table(study: Study) -> list[list[str]]:
    """Counts beside the README's."""
    rows = []
    for row in study.rows:
        card = study.cards.get(row.key, {})
        counts = [ABSENT if card.get(key) is None else f"{card[key] / unit:.2f}" for key, unit in COUNTS]
        rows.append(
            [row.said.name, row.key, f"{row.said.params_m:g}", counts[0], f"{row.said.flops_g:g}", counts[1], row.note]
        )
    return [["row", "network", "parameters (M), README", "ours", "FLOPs (G), README", "MACs (G), ours", "note"], *rows]


COUNTS = (("parameters", 1e6), ("macs", 1e9))


def machine_lines(study: Study) -> list[str]:
    """Host, versions, how steady it was, which commit wrote the files, and what failed."""
    lines = [f"{name}: {value}" for name, value in machine(list(study.sessions.values())).items()]
    for runtime, session in study.sessions.items():
        busy = ", CONTENDED: read ranks and ratios, not milliseconds" if contended(session) else ""
        commits = sorted({str(row.card.get("commit")) for row in session.rows})
        load = f"load {median(session.loads):.1f}"
        lines.append(f"{runtime}: {len(session.canary)} rounds, {load}{busy}; files written at {', '.join(commits)}")
    return lines + [f"{label} is missing: {reason}" for label, reason in study.failed.items()]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
