"""Signals that ask a program to stop, and the death of the process that it belongs to. Nothing here imports torch."""

import ctypes
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Ctrl-C; a system, a scheduler; a closed terminal; Slurm's warning
STOP = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows knows two of them
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
LOOK = 1.0  # seconds between two looks at the parent process, where the system does not tell of its death


def is_ignored(number: int) -> bool:
    """Whether whoever started this program wants it to survive a signal, as ``nohup`` does for SIGHUP."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


def listen(handler: Callable[[int, Any], None]) -> None:
    """Call ``handler`` for each signal that asks this program to stop; in the main thread."""
    for number in STOP:
        if not is_ignored(number):
            signal.signal(number, handler)


@contextmanager
def tidy_stops() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end this program as an exception does: what it has half-written is removed."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        usual = [number for number in STOP if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_DFL]
        before = {number: signal.signal(number, _exit) for number in usual}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _exit:
                signal.signal(number, handler)


def _exit(number: int, frame: Any) -> None:
    leave_lost_terminal()
    sys.exit(128 + number)


def leave_lost_terminal() -> None:
    """Write to nowhere from now on, if the terminal is gone: each line would be an error, and end what is to be saved.

    A terminal is gone once its window is closed or the connection to it is lost.
    """
    for stream in (0, 1, 2):
        if termios is None:
            return
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def follow(parent: int, number: signal.Signals) -> None:
    """Get a signal when the process ``parent``, which started this one, dies, however it dies.

    Linux sends it at once; elsewhere a thread looks once a second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, number)
    else:
        threading.Thread(target=_look, args=(parent, number), daemon=True).start()
    if os.getppid() != parent:  # it died before that
        os.kill(os.getpid(), number)


def _look(parent: int, number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), number)
