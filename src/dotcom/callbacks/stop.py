"""Being asked to stop, by one of ``dotcom.signals.STOP``."""

import signal
from typing import Any

from dotcom.signals import leave_lost_terminal, listen


class Stopped(SystemExit):
    """Ends a run that was asked to: exit code 130 after Ctrl-C, else 143, as a shell would report SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(130 if number == signal.SIGINT else 143)


def stop_at_once(number: int, frame: Any = None) -> None:
    """A handler for the time in which there is nothing to save."""
    leave_lost_terminal()
    raise Stopped(number)


class StopRequest:
    """Remembers the first signal, so that training can end a step; Ctrl-C once more stops at once.

    Attributes:
        number: The signal, or 0.
    """

    def __init__(self) -> None:
        self.number = 0

    def listen(self) -> None:
        """From now on; in the main thread."""
        listen(self._hear)

    def _hear(self, number: int, frame: Any) -> None:
        leave_lost_terminal()
        if number == signal.SIGINT and self.number:
            raise KeyboardInterrupt
        self.number = number
