"""Whatever stands in the files of runs and sweeps: what is only shown is left out, and the work goes on."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotcom.record import Record, known_of_run, read_progress, read_run
from dotcom.sweep.board import table_of
from dotcom.sweep.grid import Job
from dotcom.sweep.ledger import Ledger, blank
from dotcom.text import make_console
from experiments import records
from mutations import changed_json, fuzzed, new_folder, obeys_the_rule
from recorded import config_of

pytestmark = pytest.mark.usefixtures("cache")

CONFIG = json.loads(json.dumps(config_of("data=fashion", "model=dotcom_tiny", "hardware=cpu")))
JOBS = [Job(f"seed-{seed}", (f"seed={seed}",), (), seed, "0123abcd") for seed in (0, 1)]
SWEEP = {
    "version": 1,
    "name": "sweep",
    "command": ["train.py", "-m"],
    "created": "2026-01-01T00:00:00+00:00",
    "swept": {"seed": ["0", "1"]},
    "jobs": {job.name: blank(job) | {"state": "done", "score": 0.5} for job in JOBS},
}
RUN = {
    "version": 1,
    "name": "dotcom_tiny-fashion",
    "fingerprint": "0123abcd",
    "config": CONFIG,
    "choices": {"model": "dotcom_tiny"},
    "overrides": ["seed=0"],
    "arms": [],
    "seed": 0,
    "monitor": "val/top1",
    "commit": None,
    "versions": {"torch": "2"},
    "state": "running",
    "started": "2026-01-01T00:00:00+00:00",
    "attempt": 1.7e9,
    "ended": None,
    "minutes": 1.5,
    "score": 0.5,
    "scores": {"val/top1": 0.5},
    "parameters": 5,
    "macs": 5,
    "images_per_second": 2.0,
}
PROGRESS = {"epoch": 1.5, "epochs": 3, "step": 7, "score": 0.5, "left": 60.0, "updated": 1.7e9}


def result(content: object) -> object:
    """A result of a reader that must not refuse anything."""
    assert not isinstance(content, Exception), content
    return content


def use_sweep(folder: Path) -> None:
    """As a sweep that goes on, ``status=true`` and tables read it."""
    ledger = Ledger(folder, JOBS, {"seed": ["0", "1"]}, ["train.py"])
    names = [job.name for job in JOBS]
    with make_console(quiet=True) as console:
        console.print(table_of(ledger, names))
    ledger.recover(names)
    ledger.to_run(names, retry=True)
    ledger.save()
    assert json.loads(ledger.path.read_text())["jobs"].keys() >= set(names)


@fuzzed
@given(
    sweep=changed_json(SWEEP) | st.just(json.dumps(SWEEP).encode()), run=changed_json(RUN), shown=changed_json(PROGRESS)
)
def test_records(sweep, run, shown):
    with new_folder() as folder:
        (folder / "sweep.json").write_bytes(sweep)
        job = folder / JOBS[0].name
        job.mkdir()
        (job / "run.json").write_bytes(run)
        (job / "progress.json").write_bytes(shown)
        obeys_the_rule(lambda: read_run(job))
        result(obeys_the_rule(lambda: known_of_run(job)))
        result(obeys_the_rule(lambda: read_progress(job)))
        obeys_the_rule(lambda: records.load([folder]))
        obeys_the_rule(lambda: records.read_run(job))
        result(obeys_the_rule(lambda: use_sweep(folder)))
        record = result(obeys_the_rule(lambda: Record(str(job), CONFIG, {}, [])))
        record.update(state="running")
        assert json.loads((job / "run.json").read_text())["state"] == "running"
