"""Processes that share a machine: one at a time writes to a folder, and none is left behind."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import IO

from dotcom.errors import UsageError
from dotcom.signals import follow
from dotcom.text import say
from dotcom.world import launcher, local_rank

try:
    import fcntl
except ImportError:  # Windows: no lock is taken there
    fcntl = None  # type: ignore[assignment]

PARENT = "DOTCOM_PARENT"  # environment variable of a job: the process of its sweep
FIRST = "DOTCOM_FIRST"  # environment variable: the first of the processes that train together on a machine
PATIENCE = 90.0  # seconds that a run waits for an earlier one to leave its folder


class FolderLock:
    """Only one process at a time writes to a folder; the system lets go of the lock when that process dies.

    Args:
        path: The lock file; it says who holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    def acquire(self, patience: float = 0.0) -> None:
        """Take the lock, or raise UsageError that names its holder, after ``patience`` seconds of trying."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("a+", errors="replace")
        deadline, told = time.monotonic() + patience, False
        while not self._taken():
            self.file.seek(0)
            holder = self.file.read(200).strip() or "another process"
            if time.monotonic() > deadline:
                raise UsageError(f"{self.path.parent}: in use by {holder}; wait for it, or stop it")
            if not told:
                say(f"waiting for {holder} to leave {self.path.parent}")
                told = True
            time.sleep(0.2)
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        self.file.flush()

    def is_free(self) -> bool:
        """Whether nobody holds it now."""
        if not self.path.exists():
            return True
        with self.path.open("a+") as self.file:
            return self._taken()

    def _taken(self) -> bool:
        if fcntl is None or self.file is None:
            return True
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True


def stop_with_others() -> None:
    """Leave no process behind: end when the one dies that started this one, however it dies.

    The job of a sweep is told to stop, as by SIGTERM, when its sweep dies, and so is what torchrun started. A process
    that the first one of its machine started to train with has nothing to save; it ends at once, also where it waits
    for others and hears no signal.
    """
    if local_rank() == 0:
        parent = os.environ.get(PARENT)
        os.environ[FIRST] = str(os.getpid())  # for those that Lightning starts beside this one
    else:
        parent = os.environ.get(FIRST)
    started_by = launcher()
    if started_by == "torchrun":
        follow(os.getppid(), signal.SIGTERM)
    elif started_by is None and parent is not None and parent.isdecimal():
        follow(int(parent), signal.SIGTERM if local_rank() == 0 else signal.SIGKILL)
