"""The process that measures takes its rows in turns, warm, by the clock that fits, and keeps every round."""

import time

import numpy as np
import pytest

from dotcom.benchmark.session import CALLS, calls_in, canary, clock_of, fixed_work, measured, turn, turns, warmed_up

IMAGES = np.zeros((1, 3, 2, 2), np.float32)


def test_turns__go_forwards_then_backwards():
    assert [turns("ABC", number) for number in range(3)] == [["A", "B", "C"], ["C", "B", "A"], ["A", "B", "C"]]


def test_turns__cancel_a_steady_drift():
    places = {row: [] for row in "ABCD"}
    clock = iter(range(100))
    for number in range(4):
        for row in turns("ABCD", number):
            places[row].append(next(clock))
    assert {sum(when) for when in places.values()} == {30}


@pytest.mark.parametrize("number", [0, 1])
def test_measured__runs_every_row_in_its_turn(number):
    called = []

    def row(name):
        return lambda images: called.append(name) or {}

    rows = {name: (row(name), IMAGES, 2) for name in "ABC"}
    result = measured(rows, number, time.process_time, lambda: called.append("canary "))
    order = "ABC" if number == 0 else "CBA"
    # two calls of each, after one that warms the caches
    assert "".join(called) == "canary " + "".join(name * 3 for name in order)
    assert {name: len(times) for name, times in result["calls"].items()} == dict.fromkeys("ABC", 2)
    assert result["canary"] >= 0


def test_turn__leaves_out_the_first_call():
    ticks = iter([1.0, 1.5, 2.0, 2.25])
    assert turn(lambda images: {}, IMAGES, 2, lambda: next(ticks)) == [500.0, 250.0]


def test_warm_up__makes_a_few_calls_even_of_a_slow_row():
    now, called = [0.0], []

    def slow(images):
        called.append(1)
        now[0] += 10
        return {}

    assert warmed_up(slow, IMAGES, lambda: now[0]) == CALLS[0]
    assert len(called) >= CALLS[0]


def test_calls__make_turns_of_alike_length():
    assert [calls_in(seconds) for seconds in (0.0, 1e-4, 0.01, 0.02, 5.0)] == [50, 50, 10, 5, 3]


def test_clock__of_one_thread_counts_cpu_time():
    name, clock = clock_of(1)
    started = clock()
    time.sleep(0.05)
    assert (name, clock() - started < 0.04) == ("CPU", True)
    assert clock_of(2)[0] == "wall"


def test_canary__is_work_for_its_clock():
    assert canary(fixed_work(), time.process_time) > 1
