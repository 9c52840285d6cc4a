"""Rounds are kept: a killed measurement goes on, and begins anew once a file is another one."""

import os

import pytest

from dotcom.benchmark import measure
from dotcom.benchmark.rows import Row
from dotcom.errors import UsageError
from dotcom.record import read_json, write_json


@pytest.fixture
def rows(tmp_path) -> list[Row]:
    made = []
    for name in "ab":
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(b"graph")
        made.append(Row(name, "onnx", path, 64, {"memory": {"1": 5}}, own=False))
    return made


@pytest.fixture
def children(monkeypatch) -> list[int]:
    """Stands in for the process that measures; how many rounds each one took."""
    taken = []

    def run(rows, threads, rounds, results):
        content = read_json(results)
        taken.append(rounds - len(content["rounds"]))
        one = {"canary": 1.0, "load": 0.5, "calls": {row.label: [1.0, 2.0] for row in rows}}
        content["rounds"] += [one] * taken[-1]
        content["load_after"] = 0.7
        write_json(results, content)

    monkeypatch.setattr(measure, "run", run)
    return taken


def test_session__goes_on_where_it_was_killed(rows, children, tmp_path):
    measure.session(rows, 1, 3, tmp_path, resume=True)
    session = measure.session(rows, 1, 5, tmp_path, resume=True)
    assert children == [3, 2]
    assert (len(session.canary), len(session.calls["a onnx"]), session.loads[-1]) == (5, 5, 0.7)
    assert measure.session(rows, 1, 5, tmp_path, resume=True).calls == session.calls
    assert children == [3, 2]


def test_session__begins_anew_with_another_file(rows, children, tmp_path):
    measure.session(rows, 1, 3, tmp_path, resume=True)
    rows[1].path.write_bytes(b"another graph")
    measure.session(rows, 1, 3, tmp_path, resume=True)
    assert children == [3, 3]


def test_session__begins_anew_unless_asked_to_go_on(rows, children, tmp_path):
    measure.session(rows, 1, 3, tmp_path)
    measure.session(rows, 1, 3, tmp_path)
    assert children == [3, 3]


def test_session__has_an_error_if_nothing_ran(rows, monkeypatch, tmp_path):
    def run(rows, threads, rounds, results):
        failed = {row.label: "ValueError: no\ngraph" for row in rows}
        write_json(results, read_json(results) | {"failed": failed})

    monkeypatch.setattr(measure, "run", run)
    with pytest.raises(UsageError, match="a onnx: ValueError: no graph; b onnx: "):
        measure.session(rows, 1, 3, tmp_path)


def test_surroundings__hold_other_libraries_to_the_threads(monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "16")
    assert measure.surroundings(2)["OMP_NUM_THREADS"] == "2"
    assert measure.surroundings(1)["OMP_WAIT_POLICY"] == "PASSIVE"
