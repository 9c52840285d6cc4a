"""What a person sees of a running sweep: a table that moves, or lines where there is no terminal."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.live import Live
from rich.table import Table
from rich.text import Text

from dotcom.record import read_progress
from dotcom.sweep.child import last_lines
from dotcom.sweep.ledger import STATES, Ledger
from dotcom.text import make_console, say, visible

COLOURS = {"pending": "dim", "running": "cyan", "done": "green", "failed": "red", "preempted": "yellow"}
FIRST = ("running", "failed", "preempted", "pending", "done")  # what is shown if not all has a place


def table_of(ledger: Ledger, names: Sequence[str], places: int | None = None) -> Table:
    """One row per job: state, epoch, score, time left.

    Args:
        ledger: Of the sweep.
        names: Of its jobs.
        places: Most rows; None for all.
    """
    states = {name: ledger.jobs[name]["state"] for name in names}
    order = sorted(names, key=lambda name: FIRST.index(states[name]))[:places]
    counts = Counter(states.values())
    total = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    table = Table(caption=total, caption_justify="left")
    table.add_column("job", overflow="fold")
    for heading in ("state", "epoch", "score", "left"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for name in (name for name in names if name in order):
        table.add_row(visible(name.rpartition("__")[0]), *cells(ledger, name))
    return table


def cells(ledger: Ledger, name: str) -> tuple[Text, str, str, str]:
    """State, epoch, score and time left of one job, as text."""
    entry = ledger.jobs[name]
    state, score = entry["state"], entry["score"]
    seen = read_progress(ledger.folder / name) if state in ("running", "preempted") else {}
    score = seen.get("score") if score is None else score
    left = seen.get("left") if state == "running" else None
    return (
        Text(state, COLOURS[state]),
        f"{seen['epoch']:.1f}/{seen['epochs']}" if {"epoch", "epochs"} <= set(seen) else "",
        "" if score is None else f"{score:.4f}",
        "" if left is None else str(timedelta(seconds=round(left))),
    )


class Board:
    """Shows a sweep while it runs.

    Args:
        ledger: Of the sweep.
        names: Of the jobs that were asked for.
    """

    def __init__(self, ledger: Ledger, names: Sequence[str]) -> None:
        self.ledger, self.names = ledger, names
        self.console = make_console()
        self.live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the table on the screen; without a terminal, there are only lines."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.table, console=self.console, refresh_per_second=1) as self.live:
            yield
        self.live = None

    def table(self) -> Table:
        """As much of the table as the screen takes."""
        return table_of(self.ledger, self.names, max(5, self.console.height - 6))

    def changed(self, name: str) -> None:
        """A job has another state: a line for logs."""
        if self.live is None:
            entry = self.ledger.jobs[name]
            done = sum(self.ledger.jobs[each]["state"] == "done" for each in self.names)
            score = "" if entry["score"] is None else f"  {entry['score']:.4f}"
            reason = f"  {entry['reason']}" if entry["reason"] else ""
            say(f"[{done}/{len(self.names)}] {name}  {entry['state']}{score}{reason}")

    def failures(self, states: Collection[str]) -> list[str]:
        """Name, reason and the last lines of the log of each job in one of these states."""
        lines = []
        for name in self.names:
            entry = self.ledger.jobs[name]
            if entry["state"] in states:
                log = self.ledger.folder / entry["log"]
                lines += ["", f"{entry['state']}: {name}: {entry['reason']}", f"  {log}"]
                lines += [f"  | {line}" for line in last_lines(log)]
        return lines
