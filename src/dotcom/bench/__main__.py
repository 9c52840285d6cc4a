"""Measure what this project claims to be fast at, on this machine, and hold it to its floors.

    python -m dotcom.bench
    python -m dotcom.bench --quick --check
    python -m dotcom.bench --only infer,export --json bench.json

Variants take turns in this process, forwards and backwards; a ratio is the median over the rounds of the reference's
time over the variant's, with the 20 and 80 % quantiles. Beside the speed stands how far the answers differ.
"""

import argparse
import os
import sys
from pathlib import Path

ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read by libraries when they are imported


def main(words: list[str] | None = None) -> int:
    """Parse, measure, print; returns the exit code."""
    lines = str(__doc__).splitlines()
    parser = argparse.ArgumentParser(prog="python -m dotcom.bench", description=lines[0], epilog=" ".join(lines[6:]))
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", dest="effort", action="store_const", const="quick", help="below 90 seconds")
    effort.add_argument("--full", dest="effort", action="store_const", const="full", help="everything, more rounds")
    parser.add_argument("--only", metavar="NAME[,NAME]", help="of infer, export, train, data, eval, gpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a floor is missed on a quiet machine")
    parser.set_defaults(effort="normal")
    os.environ.update(dict.fromkeys(ONE, "1"))

    from dotcom.errors import one_line_errors

    with one_line_errors():
        arguments = parser.parse_args(words)
        from dotcom.bench.run import run

        return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
