"""One run of the bench: sections one after the other, a second try where the machine was busy, and the exit code."""

import argparse
from collections.abc import Sequence

from dotcom.bench.floors import FLOORS, worst
from dotcom.bench.peers import peers
from dotcom.bench.report import console, content, header, machine, show, state
from dotcom.bench.row import Row
from dotcom.bench.sections import chosen, measured, unjudged
from dotcom.bench.watch import Watch
from dotcom.errors import UsageError
from dotcom.hardware import keep_memory
from dotcom.record import now, write_json

FIRST = 5  # canaries before anything is measured


def run(arguments: argparse.Namespace, watch: Watch | None = None) -> int:
    """Measure and report; returns 0, or with ``--check`` 1 if a floor is missed.

    Args:
        arguments: From the command line.
        watch: None: one of this machine.

    Raises:
        UsageError: If a section is not known, or the file cannot be written.
    """
    names = chosen(arguments.only)
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        raise UsageError(f"--json {arguments.json}: there is no folder {arguments.json.absolute().parent}")
    keep_memory()  # as in a run; what gives it back does so in its turns
    about, started, watch = machine(), now(), watch or Watch(arguments.effort)
    for _ in range(FIRST):
        watch.beat()
    header(watch, about)
    rows = section_by_section(names, watch)
    if arguments.check and (again := unjudged(rows)):
        console().print(f"the machine was busy: once more {', '.join(again)}")
        second = section_by_section(again, watch)
        rows = [row for row in rows if row.section not in again] + second
    watch.beat()
    if arguments.json:
        write_json(arguments.json, content(rows, watch, about, started))
    for line in (state(watch), peers()):
        console().print(line, highlight=False, soft_wrap=True)
    return conclude(rows, names, arguments.check)


def section_by_section(names: Sequence[str], watch: Watch) -> list[Row]:
    """The rows of all sections, each section shown when it is done."""
    rows: list[Row] = []
    for name in names:
        found = list(measured([name], watch))
        show(found)
        rows += found
    return rows


def conclude(rows: Sequence[Row], names: Sequence[str], check: bool) -> int:
    """Say which floors hold; returns the exit code."""
    had = {(row.section, row.name) for row in rows if not row.skipped}
    absent = [f"{section} {name}" for section, name in FLOORS if section in names and (section, name) not in had]
    if absent:
        console().print(f"floors without a measurement in this run: {', '.join(absent)}", highlight=False)
    verdict = worst(rows)
    said = {
        "holds": "every floor that was measured holds",
        "missed": "a floor is missed",
        "not judged": "not judged: the machine was too busy to say of every floor whether it holds",
    }
    console().print(said[verdict], highlight=False)
    return int(check and verdict == "missed")
