"""Start the processes that measure, and read what they leave."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from dotcom.benchmark.host import packages
from dotcom.benchmark.rows import Row
from dotcom.benchmark.targets import card_path
from dotcom.deploy import formats
from dotcom.errors import UsageError, flat
from dotcom.fingerprint import digest
from dotcom.record import read_json, write_json

STILL = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # of libraries that nobody asks for threads


@dataclass(frozen=True)
class Session:
    """All rounds of one number of threads.

    Args:
        threads: Of each row.
        rows: That were measured.
        calls: Milliseconds of every call, by row, then by round.
        canary: Milliseconds of the same work before each round.
        loads: Load average before each round, and after the last.
        failed: Rows that their runtime could not run, with the reason.
        memory: Bytes of each row; None where the system does not tell.
    """

    threads: int
    rows: list[Row]
    calls: dict[str, list[list[float]]]
    canary: list[float]
    loads: list[float]
    failed: dict[str, str]
    memory: dict[str, int | None]


def session(
    rows: Sequence[Row], threads: int, rounds: int, folder: Path, resume: bool = False, memory: bool = True
) -> Session:
    """Measure rows in turns.

    Args:
        rows: Their labels differ.
        threads: That each may take.
        rounds: Turns of each row.
        folder: Where the rounds are kept.
        resume: Go on with rounds that stand there, if they are of the same files and versions.
        memory: Start a process for each row, too, that tells how much it takes.

    Raises:
        UsageError: If no runtime could run its file.
    """
    results = folder / f"rounds-{threads}.json"
    key = digest(
        [[row.label, row.image_size, *stamp(row.path)] for row in rows] + [packages({row.runtime for row in rows})]
    )
    before = read_json(results) if resume else {}
    if before.get("key") != key:
        before = {"key": key, "rounds": [], "failed": {}, "load_after": None}
        write_json(results, before)
    taken_up = {row.label: memory_of(row, threads) if memory else None for row in rows}
    if len(before["rounds"]) < rounds:
        run(rows, threads, rounds, results)
    content = read_json(results)
    kept = [row for row in rows if row.label not in content["failed"]]
    if not kept:
        raise UsageError("; ".join(f"{label}: {flat(reason)}" for label, reason in content["failed"].items()))
    taken = content["rounds"][:rounds]
    calls = {row.label: [each["calls"][row.label] for each in taken] for row in kept}
    loads = [*(each["load"] for each in taken), content["load_after"]]
    return Session(threads, kept, calls, [each["canary"] for each in taken], loads, content["failed"], taken_up)


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def run(rows: Sequence[Row], threads: int, rounds: int, results: Path) -> None:
    """Let a process of its own measure, and show how far it is."""
    entries = [
        {"label": row.label, "runtime": row.runtime, "path": str(row.path), "image_size": row.image_size}
        for row in rows
    ]
    plan = {"threads": threads, "rounds": rounds, "results": str(results), "rows": entries}
    steps = len(rows) + rounds - len(read_json(results)["rounds"])
    with tempfile.TemporaryDirectory() as place, Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        path = Path(place) / "plan.json"
        write_json(path, plan)
        bar = progress.add_task(f"measuring, {threads} thread{'s' if threads > 1 else ''}", total=steps)
        with (Path(place) / "stderr").open("w+") as said:
            command = [sys.executable, "-m", "dotcom.benchmark.session", str(path)]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=said, text=True, env=surroundings(threads)
            ) as child:
                assert child.stdout is not None
                for _ in child.stdout:
                    progress.advance(bar)
            if child.returncode:
                said.seek(0)
                raise RuntimeError(f"the process that measures ended with {child.returncode}: {said.read()[-2000:]}")


def surroundings(threads: int) -> dict[str, str]:
    """The environment of a process that measures: no threads beyond those asked for, none spins while it waits."""
    return os.environ | dict.fromkeys(STILL, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


def memory_of(row: Row, threads: int) -> int | None:
    """Bytes that a process takes to load and run a row; kept on the card of a file of ours."""
    known: dict[str, Any] = row.card.setdefault("memory", {})
    if str(threads) not in known and formats.unrunnable(row.runtime) is None:
        command = [sys.executable, "-m", "dotcom.benchmark.memory", row.runtime, str(row.path)]
        command += [str(row.image_size), str(threads)]
        asked = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings(threads))
        if asked.returncode or not asked.stdout:
            return None
        known[str(threads)] = json.loads(asked.stdout)
        if row.own:
            write_json(card_path(row.path), row.card)
    value: int | None = known.get(str(threads))
    return value
