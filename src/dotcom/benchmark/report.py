"""What a measurement leaves: the table on the screen and in three files."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from dotcom.benchmark.measure import Session
from dotcom.benchmark.plot import draw
from dotcom.benchmark.table import HEADINGS, as_csv, as_markdown, cells, lines, machine, notes
from dotcom.record import whole
from dotcom.text import make_console

WIDE = 140  # characters of a line where no terminal sets a limit
NARROW = 8  # columns on the screen, up to the ratio; the files have all


def report(sessions: Sequence[Session], failed: dict[str, str], folder: Path) -> None:
    """Print the table, and write ``latency.csv``, ``latency.md`` and, if there is a top-1 to draw, ``latency.png``."""
    console = make_console() if sys.stdout.isatty() else make_console(width=WIDE)
    for name, value in machine(sessions).items():
        console.print(f"{name}: {value}", soft_wrap=True)
    table = Table()
    for number, heading in enumerate(HEADINGS[:NARROW]):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number == 0)
    for line in (line for session in sessions for line in lines(session)):
        table.add_row(*cells(line)[:NARROW])
    console.print(table)
    for note in [*notes(sessions), *(f"{label} was not exported: {reason}" for label, reason in failed.items())]:
        console.print(f"- {note}", soft_wrap=True)
    for name, text in (("latency.csv", as_csv(sessions)), ("latency.md", as_markdown(sessions, failed))):
        with whole(folder / name) as temporary:
            temporary.write_text(text)
    drawn = draw([line for session in sessions for line in lines(session)], folder / "latency.png")
    written = ["latency.csv", "latency.md", *(["latency.png"] if drawn else [])]
    console.print(f"written to {folder}: {', '.join(written)}", soft_wrap=True)
