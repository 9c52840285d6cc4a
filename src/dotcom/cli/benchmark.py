"""``dotcom benchmark``: latency of networks and exported files on this machine."""

import argparse
import time
from pathlib import Path

from dotcom.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""
    parser.epilog = "more threads than one are timed on the wall: leave the machine alone meanwhile"
    parser.add_argument(
        "targets",
        nargs="*",
        default=[],
        metavar="WHAT",
        help="checkpoints, exported files, models as in conf/model (default: the four sizes of DoTCoM); "
        "the first is what the others are compared with",
    )
    parser.add_argument(
        "--runtimes",
        default="torch,onnx",
        metavar="NAME[,NAME]",
        help="of torch, onnx, executorch, openvino, litert, for networks (default: %(default)s)",
    )
    parser.add_argument("--threads", default="1", metavar="N[,N]", help="of each row (default: %(default)s)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the image (default: 256, or a run's own)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each row (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: runs/benchmark/TIME)")


def run(arguments: argparse.Namespace) -> int:
    """Measure; returns 0, or 1 if something of what was asked could not be measured."""
    from dotcom.benchmark.targets import positive, runnable, runtimes, targets, thread_counts

    asked, threads = runtimes(arguments.runtimes), thread_counts(arguments.threads)
    rounds = positive("--rounds", arguments.rounds)
    size = None if arguments.size is None else positive("--size", arguments.size, step=32)
    wanted, usable, lacking = runnable(targets(arguments.targets), asked)
    for line in lacking:
        print(line)
    if not wanted:
        raise UsageError("nothing is left to measure")
    folder = arguments.out or Path("runs/benchmark") / time.strftime("%Y-%m-%d_%H-%M-%S")

    from dotcom.benchmark.measure import session
    from dotcom.benchmark.report import report
    from dotcom.benchmark.rows import rows

    found, failed = rows(wanted, usable, size, folder / "files")
    if not found:
        raise UsageError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
    sessions = [session(found, count, rounds, folder) for count in threads]
    report(sessions, failed, folder)
    return int(bool(lacking or failed or any(each.failed for each in sessions)))
