"""One call of ``python train.py -m``: says what it will do, then runs, goes on, estimates or only shows."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dotcom.errors import UsageError, counted, spelled
from dotcom.processes import FolderLock
from dotcom.record import known_of_run
from dotcom.sweep.board import table_of
from dotcom.sweep.child import command_line
from dotcom.sweep.grid import Job, describe
from dotcom.sweep.ledger import Ledger
from dotcom.sweep.runner import Runner, report, slot_environments
from dotcom.text import make_console, say, visible

TIMED = 30.0  # seconds of each arm that plan=true runs


@dataclass(frozen=True)
class Settings:
    """The keys of the configuration that are the sweep's own.

    Attributes:
        slots: Jobs at a time, or one device for each place.
        retry: ``"failed"`` to run failed jobs again.
        status: Only show.
        plan: Only estimate.
        job_timeout: Minutes that a job may take.
    """

    slots: int | list[str]
    retry: str | None
    status: bool
    plan: bool
    job_timeout: float | None

    def __post_init__(self) -> None:
        devices = self.slots if isinstance(self.slots, list) else []
        number = isinstance(self.slots, int) and not isinstance(self.slots, bool) and self.slots > 0
        known = all(device == "cpu" or device.removeprefix("cuda:").isdigit() for device in map(str, devices))
        if not (number or (devices and known)):
            raise UsageError(f"slots={spelled(self.slots)}: expected a number from 1 on, or devices: [cuda:0,cuda:1]")


def sweep(
    folder: Path,
    jobs: Sequence[Job],
    swept: dict[str, list[str]],
    settings: Settings,
    typed: Sequence[str],
    hydra: Sequence[str],
) -> dict[str, float | None]:
    """Do what was asked for, and return the score of each job that has one, by the job's name.

    Args:
        folder: Of the sweep.
        jobs: Of its grid.
        swept: Keys and values of the grid.
        settings: How to run it.
        typed: The command line, of which the first word is the script that each job runs.
        hydra: Overrides of Hydra's own settings, for each job.

    Raises:
        UsageError: If another process runs a sweep in this folder.
        SystemExit: With 1 if a job has failed; with 130 or 143 after Ctrl-C or SIGTERM.
    """
    say(f"{describe(jobs)}, in {folder}")
    names = [job.name for job in jobs]
    lock = FolderLock(folder / ".lock")
    if not settings.status:
        lock.acquire()
    ledger = Ledger(folder, jobs, swept, list(typed))
    warn_of_other_data(folder, jobs)
    if settings.status:
        show(ledger, names, lock)
    else:
        ledger.recover(names)
        ledger.save()
        slots = slot_environments(settings.slots, os.environ.get("CUDA_VISIBLE_DEVICES"))
        commands = {job.name: command_line(typed[0], job, hydra, folder) for job in jobs}
        runner = Runner(ledger, jobs, commands, slots, settings.job_timeout)
        todo = ledger.to_run(names, retry=settings.retry == "failed")
        if code := plan(runner, todo, len(slots)) if settings.plan else run(runner, todo):
            sys.exit(code)
    return {name: ledger.jobs[name]["score"] for name in names}


def show(ledger: Ledger, names: Sequence[str], lock: FolderLock) -> None:
    """The table, as it would be found by a sweep that goes on, if none is running here."""
    if not ledger.path.exists():
        print("nothing has run there yet")
    elif lock.is_free():
        ledger.recover(names)
        print("no sweep is running there now; the same command without status=true goes on")
    make_console().print(table_of(ledger, names))


def warn_of_other_data(folder: Path, jobs: Sequence[Job]) -> None:
    """Say if jobs have results of data in another folder, which no name tells."""
    configs = {job: known_of_run(folder / job.name).get("config") for job in jobs}
    moved = {(config.get("data", {}).get("root"), job.root) for job, config in configs.items() if config}
    for before, root in moved:
        if before != root:
            advice = "choose another hydra.sweep.dir= if these are other data"
            say(f"warning: jobs there ran with data.root={before}, not {root}; {advice}")


def run(runner: Runner, todo: Sequence[str]) -> int:
    """Run what is left, and say how it ended; returns the exit code."""
    done = len(runner.jobs) - len(todo)
    if done:
        print(f"{len(todo)} to run; the others are done, or failed before", flush=True)
    code = runner.run(todo)
    states = {runner.ledger.jobs[name]["state"] for name in runner.jobs}
    failed = states != {"done"}
    stream = sys.stderr if failed else sys.stdout
    print(*map(visible, report(runner)), sep="\n", file=stream, flush=True)
    return code or int(failed)


def plan(runner: Runner, todo: Sequence[str], places: int) -> int:
    """Time one job of each arm and say how long all will take; returns the exit code."""
    estimates = runner.time_arms(todo, TIMED)
    for arm, minutes in estimates.items():
        print(f"{' '.join(arm) or 'one arm'}: {minutes:.1f} minutes a job")
    untimed = {runner.jobs[name].arms for name in todo} - set(estimates)
    if untimed:
        print(*map(visible, report(runner)), sep="\n", file=sys.stderr, flush=True)
        return 128 + runner.stopped_by if runner.stopped_by else 1
    total = sum(estimates[runner.jobs[name].arms] for name in todo)
    print(f"{counted(len(todo), 'job')}, {places} at a time: about {total / places / 60:.1f} hours")
    print("nothing is lost: the same command without plan=true goes on from here")
    return 0
