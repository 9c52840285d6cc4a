"""The sessions as a table: for people in Markdown, for programs as CSV; both say where and with what."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from dotcom.benchmark.host import host, versions
from dotcom.benchmark.measure import Session
from dotcom.benchmark.published import top1_of
from dotcom.benchmark.session import clock_of
from dotcom.benchmark.statistics import ENDS, Ratio, alike, drift, paired_ratio, percentiles
from dotcom.hardware import cores

STEADY = 0.15  # drift of the canary up to which the machine counts as steady
ABSENT = "-"


@dataclass(frozen=True)
class Line:
    """One row of the table: what was measured, against the first row of the same number of threads.

    Args:
        model: Its name; with ``runtime``, ``image_size`` and ``threads`` what was measured.
        own_size: Whether the network takes that size only, unlike what was asked for.
        clock: CPU time of the process, or time on the wall.
        calls: That the percentiles are of.
        p50_ms: Median of the calls.
        ratio: Time over that of the first row, by rounds, with its interval.
        parameters: As trained; None for files without a card.
        macs: Of one image.
        memory_bytes: That loading and running adds to a process.
        published_top1: In percent, where the README of the original has the model.
    """

    model: str
    runtime: str
    image_size: int
    own_size: bool
    threads: int
    clock: str
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    ratio: Ratio
    parameters: int | None
    deployed_parameters: int | None
    macs: int | None
    file_bytes: int
    memory_bytes: int | None
    published_top1: float | None


def turns_of(session: Session) -> dict[str, list[float]]:
    """One time per row and round: the median of its calls."""
    return {label: [median(calls) for calls in rounds] for label, rounds in session.calls.items()}


def lines(session: Session) -> list[Line]:
    """The rows in the order in which they were named."""
    turns = turns_of(session)
    found = []
    for row in session.rows:
        calls = [time for each in session.calls[row.label] for time in each]
        p50, p90, p99 = percentiles(calls)
        found.append(
            Line(
                model=row.name,
                runtime=row.runtime,
                image_size=row.image_size,
                own_size=bool(row.card.get("own_size")),
                threads=session.threads,
                clock=clock_of(session.threads)[0],
                calls=len(calls),
                p50_ms=p50,
                p90_ms=p90,
                p99_ms=p99,
                ratio=paired_ratio(turns[row.label], turns[session.rows[0].label]),
                parameters=row.card.get("parameters"),
                deployed_parameters=row.card.get("deployed_parameters"),
                macs=total(row.card.get("macs")),
                file_bytes=row.bytes,
                memory_bytes=session.memory[row.label],
                published_top1=top1_of(row.card.get("name", row.name)),
            )
        )
    return found


def total(macs: int | dict[str, int] | None) -> int | None:
    """Of a card: one number, or by kind of layer on those of ``dotcom export``."""
    return sum(macs.values()) if isinstance(macs, dict) else macs


def machine(sessions: Sequence[Session]) -> dict[str, str]:
    """What the times depend on: host, versions, load and the canary."""
    runtimes = {row.runtime for session in sessions for row in session.rows}
    used = " ".join(f"{name} {version}" for name, version in versions(runtimes).items())
    loads = [load for session in sessions for load in session.loads]
    return host() | {
        "versions": used,
        "load": f"{loads[0]:.1f} before, {loads[-1]:.1f} after",
        "canary": "; ".join(canary(session) for session in sessions),
    }


def canary(session: Session) -> str:
    """How steadily the machine did the same work."""
    return (
        f"{median(session.canary):.1f} ms of {clock_of(session.threads)[0]} time on {session.threads} "
        f"thread{'s' if session.threads > 1 else ''}, drift {drift(session.canary):.0%}"
    )


def contended(session: Session) -> bool:
    """Whether something else kept the machine busy, or its speed changed."""
    return drift(session.canary) > STEADY or max(session.loads) > cores()


def as_csv(sessions: Sequence[Session]) -> str:
    """One row each, all digits, with the machine in the last columns."""
    text = io.StringIO()
    facts = machine(sessions)
    rows = []
    for line in (line for session in sessions for line in lines(session)):
        row: dict[str, Any] = asdict(line)
        ratio = row.pop("ratio")
        rows.append(row | {"ratio": ratio["median"], "ratio_low": ratio["low"], "ratio_high": ratio["high"]} | facts)
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def cells(line: Line) -> list[str]:
    """The columns of ``HEADINGS``."""
    ratio = f"{line.ratio.median:.2f} [{line.ratio.low:.2f} to {line.ratio.high:.2f}]"
    return [
        line.model,
        line.runtime,
        f"{line.image_size}{' (own)' if line.own_size else ''}",
        str(line.threads),
        *(f"{time:.1f}" for time in (line.p50_ms, line.p90_ms, line.p99_ms)),
        ratio,
        scaled(line.parameters, 1e6, 2),
        scaled(line.macs, 1e9, 3),
        scaled(line.file_bytes, 1e6, 1),
        scaled(line.memory_bytes, 1e6, 0),
        ABSENT if line.published_top1 is None else f"{line.published_top1:.1f}",
    ]


HEADINGS = [
    *("model", "runtime", "size", "threads", "p50 ms", "p90 ms", "p99 ms", "ratio to the first"),
    *("parameters (M)", "MACs (G)", "file (MB)", "memory (MB)", "README top-1 (%)"),
]


def scaled(value: float | None, unit: float, places: int) -> str:
    """A count in a unit, or a dash."""
    return ABSENT if value is None else f"{value / unit:.{places}f}"


def notes(sessions: Sequence[Session]) -> list[str]:
    """What one has to know to read the numbers, and which rows they cannot order."""
    said = [
        f"Batch 1, networks in float32, files as they are, after warm-up, {len(sessions[0].canary)} rounds over all "
        f"rows, every second one backwards; ratios are medians of paired rounds with their {ENDS[0]:.0%} to "
        f"{ENDS[1]:.0%} quantiles. One thread is CPU time of the process, more are time on the wall.",
    ]
    if any(line.own_size for session in sessions for line in lines(session)):
        said.append("(own): the network takes this size only.")
    for session in sessions:
        on = f"{session.threads} thread{'s' if session.threads > 1 else ''}"
        if contended(session):
            advice = "read ratios only" if session.threads == 1 else "measure again on an idle machine"
            said.append(f"CONTENDED ({on}): the canary drifted or the load exceeded the cores; {advice}.")
        for one, other, ratio in alike(turns_of(session)):
            span = f"{ratio.median:.2f} [{ratio.low:.2f} to {ratio.high:.2f}]"
            said.append(f"{one} and {other} cannot be told apart ({on}): ratio {span}.")
        said += [f"{label} was not measured ({on}): {reason}" for label, reason in session.failed.items()]
    return said


def as_markdown(sessions: Sequence[Session], failed: dict[str, str]) -> str:
    """The machine, the table, the notes."""
    facts = [f"{name}: {value}" for name, value in machine(sessions).items()]
    table = [HEADINGS, ["---"] * 4 + ["---:"] * (len(HEADINGS) - 4)]
    table += [cells(line) for session in sessions for line in lines(session)]
    rest = notes(sessions) + [f"{label} was not exported: {reason}" for label, reason in failed.items()]
    return "\n".join(
        [*(f"- {fact}" for fact in facts), "", *(f"| {' | '.join(row)} |" for row in table), ""]
        + [f"- {note}" for note in rest]
        + [""]
    )
