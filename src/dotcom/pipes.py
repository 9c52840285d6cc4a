"""The end of a program whose output nobody reads any more, as in ``python train.py --help | head``."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Exit with 1 and without a word where the reader of stdout has gone; other broken pipes stay errors.

    Python would complain twice: where it writes, and once more at its end, when it empties its buffer.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not left_alone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def left_alone() -> bool:
    """Whether stdout is a pipe without a reader."""
    watch = select.poll()
    try:
        watch.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file behind it, or a closed one
        return False
    return any(event & select.POLLERR for _, event in watch.poll(0))
