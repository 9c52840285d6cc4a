"""Processes that share a machine: one at a time writes to a folder, and jobs stop with their sweep."""

import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO

from dotcom.errors import UsageError
from dotcom.world import is_first

try:
    import fcntl
except ImportError:  # Windows: no lock is taken there
    fcntl = None  # type: ignore[assignment]

PARENT = "DOTCOM_PARENT"  # environment variable of a job: the process of its sweep
PATIENCE = 90.0  # seconds that a run waits for an earlier one to leave its folder
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


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
        self.file = self.path.open("a+")
        deadline, told = time.monotonic() + patience, False
        while not self._taken():
            self.file.seek(0)
            holder = self.file.read().strip() or "another process"
            if time.monotonic() > deadline:
                raise UsageError(f"{self.path.parent}: in use by {holder}; wait for it, or stop it")
            if not told:
                print(f"waiting for {holder} to leave {self.path.parent}", flush=True)
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


def stop_with_parent() -> None:
    """In a job of a sweep: be told to stop, as by SIGTERM, when the sweep dies, however it dies (Linux)."""
    parent = os.environ.get(PARENT)
    if parent is None or not is_first() or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before that call
        sys.exit(143)
