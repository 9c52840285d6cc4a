"""One job as an operating-system process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dotcom.processes import PARENT
from dotcom.record import now
from dotcom.sweep.grid import Job

FOREIGN = re.compile(
    r"LOCAL_RANK|NODE_RANK|RANK|GROUP_RANK|WORLD_SIZE|MASTER_\w+|TORCHELASTIC_\w+|PL_\w+|WANDB_RUN_\w+|WANDB_SERVICE|"
    r"DOTCOM_\w+"
)
GRACE = 60.0  # seconds from the request to stop to the end
OUTSIDE = {
    signal.SIGKILL: "the system may have run out of memory",
    signal.SIGTERM: "",
    signal.SIGINT: "",
    signal.SIGHUP: "",
}
STOPPED = (130, 143)  # exit codes of a run that stopped when it was told to


class Child:
    """A started job.

    Args:
        command: What to run.
        folder: Of the job; ``log.txt`` there takes all that it prints.
        environment: Added to that of this process, from which everything is removed that would make the job a part of
            another one.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not FOREIGN.fullmatch(key)}
        with (folder / "log.txt").open("a") as log:
            log.write(f"--- {now()} {' '.join(command)}\n")
            log.flush()
            self.process = subprocess.Popen(
                command,
                env=inherited | dict(environment) | {PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches the sweep alone, which tells its jobs
            )
        self.started = time.monotonic()
        self.since = time.time()
        self.asked: float | None = None
        self.killed = False  # because it did not stop

    def stop(self) -> None:
        """Ask it to keep what it has and end."""
        if self.asked is None and self.process.poll() is None:
            self.asked = time.monotonic()
            self.process.terminate()

    def poll(self) -> int | None:
        """Its exit code, or None while it runs; one that does not stop when asked is killed."""
        code = self.process.poll()
        if code is None and self.asked is not None and time.monotonic() - self.asked > GRACE:
            self.killed = True
            self.kill()
            return None
        if code is not None:
            self.kill()  # processes of its own that it left behind
        return code

    def kill(self) -> None:
        """End it and every process that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def minutes(self) -> float:
        """How long it has been running."""
        return (time.monotonic() - self.started) / 60


def verdict(code: int, killed: bool = False) -> dict[str, Any]:
    """State and reason of a job by its exit code: ended, failed by itself, or stopped from outside.

    Args:
        code: As ``subprocess`` gives it; negative for a signal.
        killed: Whether that was our own doing.
    """
    if code == 0:
        return {"state": "done", "reason": None}
    if code in STOPPED:
        return {"state": "preempted", "reason": "stopped"}
    if code < 0:
        number = signal.Signals(-code)
        if killed:
            return {"state": "preempted", "reason": f"did not stop within {GRACE:g} s and was killed"}
        hint = f"; {OUTSIDE[number]}" if OUTSIDE.get(number) else ""
        state = "preempted" if number in OUTSIDE else "failed"
        return {"state": state, "reason": f"killed by {number.name}{hint}"}
    return {"state": "failed", "reason": f"exit code {code}"}


def last_lines(path: Path, count: int = 6) -> list[str]:
    """The end of a log, without its empty lines."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.replace("\r", "\n").splitlines() if line.strip()][-count:]


def quoted(value: str) -> str:
    """A value as Hydra's grammar takes it whatever it holds."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def command_line(script: str, job: Job, hydra: Sequence[str], sweep: Path) -> list[str]:
    """``python train.py ...`` for a job in the folder of its sweep, which goes on where an earlier attempt stopped."""
    arms = "[" + ",".join(map(quoted, job.arms)) + "]"
    own = [f"hydra.run.dir={quoted(str(sweep / job.name))}", "hydra.mode=RUN", "resume=true"]
    return [sys.executable, script, *job.overrides, *hydra, f"sweep={quoted(sweep.name)}", f"arms={arms}", *own]
