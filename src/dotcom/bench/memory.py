"""Memory as a program has it that does not ask for anything else; that of this project is ``dotcom.hardware``'s."""

import ctypes

from dotcom.hardware import MMAP_MAX, TRIM_THRESHOLD, keep_memory

MMAP_THRESHOLD = -3  # a parameter of mallopt
LARGEST = 32 * 2**20  # bytes: up to here glibc raises that threshold by itself, and the other one to twice as much


def give_back_memory() -> None:
    """Let the C library give back what is freed, as late as glibc does by itself at most, and now all that is free."""
    if keep_memory():  # it can be told
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_MAX, 65536)
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)
        libc.malloc_trim(0)
