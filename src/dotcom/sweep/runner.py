"""Runs the jobs of a sweep, some at a time, each in a process of its own."""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from dotcom.hardware import cores
from dotcom.record import known_of_run, now, read_progress
from dotcom.signals import STOP, is_ignored, leave_lost_terminal
from dotcom.sweep.board import Board
from dotcom.sweep.child import Child, verdict
from dotcom.sweep.grid import Job
from dotcom.sweep.ledger import Ledger

PAUSE = 0.2  # seconds between two looks at the jobs


class Runner:
    """Starts jobs as places become free, notes what becomes of them, and stops them all when it is told to.

    Args:
        ledger: Where states are written.
        jobs: Of the grid.
        commands: The command line of each job, by its name.
        slots: One environment for each place: what a job that runs there has to know.
        timeout: Minutes after which a job is stopped and counts as failed; None for no limit.
    """

    def __init__(
        self,
        ledger: Ledger,
        jobs: Sequence[Job],
        commands: Mapping[str, list[str]],
        slots: Sequence[dict[str, str]],
        timeout: float | None = None,
    ) -> None:
        self.ledger, self.commands, self.timeout = ledger, commands, timeout
        self.jobs = {job.name: job for job in jobs}
        self.board = Board(ledger, list(self.jobs))
        self.free = list(slots)
        self.threads = max(1, cores() // len(slots))
        self.running: dict[str, tuple[Child, dict[str, str]]] = {}
        self.late: set[str] = set()
        self.stopped_by: signal.Signals | None = None

    def run(self, names: Sequence[str]) -> int:
        """Run these jobs; returns 0, or the exit code that tells which signal stopped them."""
        waiting = list(names)
        with self._signals(), self.board.shown():
            while self.running or (waiting and self.stopped_by is None):
                while waiting and self.free and self.stopped_by is None:
                    self._start(waiting.pop(0))
                self._look()
                time.sleep(PAUSE)
        return 0 if self.stopped_by is None else 128 + self.stopped_by

    def time_arms(self, names: Sequence[str], seconds: float) -> dict[tuple[str, ...], float]:
        """Run one job of each arm for a while and stop it; returns the minutes that each arm's jobs will take.

        Nothing is thrown away: a timed job goes on from there when the sweep runs.
        """
        estimates: dict[tuple[str, ...], float] = {}
        first: dict[tuple[str, ...], str] = {}
        for name in names:
            first.setdefault(self.jobs[name].arms, name)
        with self._signals(), self.board.shown():
            for name in first.values():
                if self.stopped_by is None:
                    self._start(name)
                while self.running:
                    seen = read_progress(self.ledger.folder / name)
                    child = self.running[name][0]
                    begun = seen.get("updated", 0) > child.since and seen.get("left") is not None
                    if begun and child.minutes * 60 > seconds:
                        share = 1 - seen.get("epoch", 0) / seen.get("epochs", 1)  # of the job that is left
                        estimates[self.jobs[name].arms] = seen["left"] / share / 60 if share else 0.0
                        child.stop()
                    self._look()
                    time.sleep(PAUSE)
                if self.jobs[name].arms not in estimates and self.ledger.jobs[name]["state"] == "done":
                    estimates[self.jobs[name].arms] = known_of_run(self.ledger.folder / name).get("minutes", 0.0)
        return estimates

    def _start(self, name: str) -> None:
        job, slot = self.jobs[name], self.free.pop(0)
        command = self.commands[name]
        threads = {"OMP_NUM_THREADS": str(max(1, self.threads // job.cpus))} if job.cpus else {}
        child = Child(command, self.ledger.folder / name, threads | slot)
        self.running[name] = child, slot
        attempts = self.ledger.jobs[name]["attempts"] + 1
        began = {"state": "running", "start": now(), "end": None, "exit_code": None, "reason": None}
        self.ledger.set(name, command=command, attempts=attempts, **began)
        self.board.changed(name)

    def _look(self) -> None:
        """Stop what takes too long; note what has ended."""
        for name, (child, slot) in list(self.running.items()):
            if self.timeout is not None and child.minutes > self.timeout and self.stopped_by is None:
                self.late.add(name)
                child.stop()
            if self.stopped_by is not None:
                child.stop()  # also one that was being started when the signal came
            if (code := child.poll()) is not None:
                self._note(name, code)
                del self.running[name]
                self.free.append(slot)

    def _note(self, name: str, code: int) -> None:
        facts = verdict(code, self.running[name][0].killed)
        if name in self.late and facts["state"] != "done":
            facts = {"state": "failed", "reason": f"took longer than job_timeout={self.timeout:g} minutes"}
        record = known_of_run(self.ledger.folder / name)
        if facts["state"] == "done" and record.get("state") != "done":
            facts = {"state": "failed", "reason": "ended without a result"}
        self.ledger.set(name, end=now(), exit_code=code, score=record.get("score"), **facts)
        self.board.changed(name)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """While jobs run, the first signal asks them to keep what they have and stop; a second one kills them."""

        def stop(number: int, frame: FrameType | None) -> None:
            leave_lost_terminal()
            for child, _ in self.running.values():
                child.kill() if self.stopped_by else child.stop()
            self.stopped_by = self.stopped_by or signal.Signals(number)

        heard = [number for number in STOP if not is_ignored(number)]
        before = {number: signal.signal(number, stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def slot_environments(slots: int | Sequence[str], visible: str | None) -> list[dict[str, str]]:
    """One environment per place.

    Args:
        slots: How many places, or their devices: ``cuda:0``, ``cpu``.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process, whose entries the devices count, or None.
    """
    if isinstance(slots, int):
        return [{} for _ in range(slots)]
    numbers = visible.split(",") if visible else None
    chosen = [int(device.partition(":")[2]) for device in slots if device.startswith("cuda")]
    names = iter([numbers[number] if numbers else str(number) for number in chosen])
    return [{"CUDA_VISIBLE_DEVICES": next(names) if device.startswith("cuda") else ""} for device in slots]


def report(runner: Runner) -> list[str]:
    """What is to be said at the end."""
    states = [runner.ledger.jobs[name]["state"] for name in runner.jobs]
    left = len(states) - states.count("done")
    expected = runner.stopped_by is not None  # that jobs were stopped
    lines = runner.board.failures(("failed",) if expected else ("failed", "preempted"))
    lines.append(f"{states.count('done')} of {len(states)} jobs done, {runner.ledger.path}")
    if left:
        failed = f"; failed ones ({states.count('failed')}) with retry=failed" if "failed" in states else ""
        lines.append(f"the same command goes on{failed}")
    return lines
