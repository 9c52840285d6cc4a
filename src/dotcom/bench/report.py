"""What the bench says: tables on the screen, and all of it as JSON, from which other tables are made."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from dotcom.bench.floors import verdicts
from dotcom.bench.row import Row
from dotcom.bench.watch import Watch
from dotcom.benchmark.host import host, versions
from dotcom.record import now

HEADINGS = ("section", "what", "time or rate", "x reference", "20 to 80 %", "difference", "floors", "facts")
WIDE = 180  # characters of a line where no terminal sets a limit


def machine() -> dict[str, str]:
    """What the numbers depend on besides our code, and which code that is."""
    return host() | versions({"onnx", "openvino"})


def content(rows: Sequence[Row], watch: Watch, about: Mapping[str, str], started: str) -> dict[str, Any]:
    """All that was found, as plain values.

    Args:
        rows: Of all sections.
        watch: That measured them.
        about: From ``machine``.
        started: When, in UTC.
    """
    return {
        "version": 1,
        "effort": watch.effort,
        "started": started,
        "ended": now(),
        "machine": dict(about),
        "threads": 1,
        "clock": "CPU time of the process, unless a row says otherwise",
        "canary_ms": watch.beats,
        "load": watch.loads,
        "drift": watch.drift(),
        "contended": watch.contended(0),
        "rows": [as_plain(row) for row in rows],
    }


def as_plain(row: Row) -> dict[str, Any]:
    """A row and what became of its floors."""
    judged = [{"floor": str(floor), "verdict": verdict} for floor, verdict in verdicts(row)]
    return asdict(row) | {"numbers": dict(row.numbers), "floors": judged}


def cells(row: Mapping[str, Any]) -> list[str]:
    """A line of the table, from what ``as_plain`` made of a row."""
    if row["skipped"]:
        return [row["section"], row["name"], "not measured", "", "", "", "", row["skipped"]]
    ratio, difference = row["ratio"], row["difference"]
    return [
        row["section"],
        row["name"],
        "" if row["value"] is None else f"{spelled(row['value'])} {row['unit']}",
        f"{ratio['median']:.2f}" if ratio else "",
        f"{ratio['low']:.2f} to {ratio['high']:.2f}" if ratio else "",
        f"{difference:.0e}" if isinstance(difference, float) else difference or "",
        ", ".join(f"{each['floor']} {each['verdict']}" for each in row["floors"]),
        ", ".join([*row["facts"], *(["CONTENDED"] if row["contended"] else [])]),
    ]


def spelled(value: float) -> str:
    """Three digits, but no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def console() -> Console:
    """Where tables go."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def show(rows: Sequence[Row]) -> None:
    """Print rows as one table."""
    table = Table()
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 2 <= number <= 5 else "left", overflow="fold")
    for row in rows:
        table.add_row(*cells(as_plain(row)))
    console().print(table)


def state(watch: Watch, first: int = 0) -> str:
    """What the canary said since a beat, in a line."""
    beats, loads = watch.beats[first:], watch.loads[first:]
    return (
        f"canary {min(beats):.1f} to {max(beats):.1f} ms, drift {watch.drift(first):.0%}, "
        f"load {min(loads):.1f} to {max(loads):.1f} on {watch.cores} cores: "
        + ("CONTENDED" if watch.contended(first) else "quiet")
    )


def header(watch: Watch, about: Mapping[str, str]) -> None:
    """Print what is known before anything is measured."""
    lines = [f"{name}: {value}" for name, value in about.items()]
    for line in [f"dotcom bench, {watch.effort}, one thread, CPU time", ", ".join(lines), state(watch)]:
        console().print(line, highlight=False, soft_wrap=True)
