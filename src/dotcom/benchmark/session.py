"""The process that measures: all rows of one number of threads, in turns, and nothing else.

    python -m dotcom.benchmark.session PLAN.json

It pins itself to as many cores as it may have threads: ExecuTorch would take all, and the kernel move it about. With
one thread it reads the CPU time of the process, which a busy machine hardly changes; with more the time on the wall.
Results stand in the plan's own file after every round, so that a killed measurement goes on.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dotcom.deploy import formats
from dotcom.deploy.formats import Array, Runner
from dotcom.record import read_json, write_json

WARM_UP = 0.3  # seconds of each row before the first round, and three calls at least
TURN = 0.1  # seconds of a row in a round
CALLS = (3, 50)  # in a turn, at least and at most
GEMM, COPY = 768, 8 * 2**20  # the canary's work: a product of square matrices, and a copy of so many float32


def turns(rows: Sequence[str], number: int) -> list[str]:
    """The order of a round: forwards, the next one backwards, so that a steady drift cancels over two."""
    return list(rows) if number % 2 == 0 else list(rows)[::-1]


def clock_of(threads: int) -> tuple[str, Callable[[], float]]:
    """Name and function of the clock that is robust for so many threads."""
    return ("CPU", time.process_time) if threads == 1 else ("wall", time.perf_counter)


def calls_in(seconds: float) -> int:
    """How many calls of such a length make one turn."""
    return int(min(max(TURN / max(seconds, 1e-9), CALLS[0]), CALLS[1]))


def warmed_up(run: Runner, images: Array, clock: Callable[[], float]) -> int:
    """Call a row until its caches and allocators have settled; returns the number of calls that make one turn."""
    began = clock()
    spent: list[float] = []
    while len(spent) < CALLS[0] or clock() - began < WARM_UP:
        started = clock()
        run(images)
        spent.append(clock() - started)
    return calls_in(min(spent))


def turn(run: Runner, images: Array, calls: int, clock: Callable[[], float]) -> list[float]:
    """Milliseconds of each call, after one that brings back what the other rows have pushed out of the caches."""
    run(images)
    times = []
    for _ in range(calls):
        started = clock()
        run(images)
        times.append((clock() - started) * 1000)
    return times


def fixed_work() -> Callable[[], None]:
    """Work that never changes, in memory that is there already."""
    matrix, vector = np.ones((GEMM, GEMM), np.float32), np.ones(COPY, np.float32)
    product, copy = np.empty_like(matrix), np.empty_like(vector)

    def work() -> None:
        np.matmul(matrix, matrix, out=product)
        np.copyto(copy, vector)

    work()
    return work


def canary(work: Callable[[], None], clock: Callable[[], float]) -> float:
    """Milliseconds of that work: if they change, the machine does."""
    started = clock()
    work()
    return (clock() - started) * 1000


def main(path: Path) -> None:
    """Measure what the plan says; one line on stdout after every round."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runtimes print belongs to their errors
    plan = json.loads(path.read_text())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan["threads"]])
    content = read_json(Path(plan["results"]))
    _, clock = clock_of(plan["threads"])
    runners: dict[str, tuple[Runner, Array, int]] = {}
    for row in plan["rows"]:
        try:
            runners[row["label"]] = prepared(row, plan["threads"], clock)
        except Exception as error:  # a runtime may raise anything about a file; the other rows go on
            content["failed"][row["label"]] = f"{type(error).__name__}: {error}"
        print(row["label"], file=said, flush=True)
    work = fixed_work()
    for number in range(len(content["rounds"]), plan["rounds"] if runners else 0):
        content["rounds"].append(measured(runners, number, clock, work))
        content["load_after"] = os.getloadavg()[0]
        write_json(Path(plan["results"]), content)
        print(number, file=said, flush=True)
    write_json(Path(plan["results"]), content)


def prepared(row: dict[str, Any], threads: int, clock: Callable[[], float]) -> tuple[Runner, Array, int]:
    """A warm row: its function, its input, and the calls of a turn."""
    size = row["image_size"]
    images = np.random.default_rng(0).standard_normal((1, 3, size, size), dtype=np.float32)
    run = formats.module(row["runtime"]).load(Path(row["path"]), threads=threads)
    return run, images, warmed_up(run, images, clock)


def measured(
    runners: dict[str, tuple[Runner, Array, int]], number: int, clock: Callable[[], float], work: Callable[[], None]
) -> dict[str, Any]:
    """One round: the canary, then every row."""
    gc.collect()
    gc.disable()
    result: dict[str, Any] = {"canary": canary(work, clock), "load": os.getloadavg()[0], "calls": {}}
    for label in turns(list(runners), number):
        result["calls"][label] = turn(*runners[label], clock)
    gc.enable()
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1]))
