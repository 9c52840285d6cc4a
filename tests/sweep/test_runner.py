"""What becomes of jobs that end well, fail, hang, are killed, or are stopped: real processes that train nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dotcom.errors import UsageError
from dotcom.processes import FolderLock
from dotcom.sweep.child import command_line, last_lines, verdict
from dotcom.sweep.grid import Job
from dotcom.sweep.ledger import Ledger
from dotcom.sweep.runner import Runner, slot_environments
from dotcom.sweep.session import Settings, sweep

SCRIPT = Path(__file__).with_name("job.py")
SETTINGS = Settings(slots=2, retry=None, status=False, plan=False, job_timeout=None)


def job(seed: int, fault: str = "none", **more: object) -> Job:
    overrides = (f"fault={fault}", f"seed={seed}", *(f"{key}={value}" for key, value in more.items()))
    return Job(f"{fault}-{seed}", overrides, (f"fault={fault}",), seed, str(seed))


def runner(folder: Path, *jobs: Job, slots: int = 2, timeout: float | None = None) -> Runner:
    ledger = Ledger(folder, jobs, {"seed": []}, ["test"])
    ledger.recover([each.name for each in jobs])
    places = slot_environments(slots, None)
    commands = {each.name: command_line(str(SCRIPT), each, [], folder) for each in jobs}
    return Runner(ledger, jobs, commands, places, timeout)


def states(folder: Path) -> dict[str, str]:
    return {name: entry["state"] for name, entry in json.loads((folder / "sweep.json").read_text())["jobs"].items()}


def attempts(folder: Path, name: str) -> int:
    return (folder / name / "log.txt").read_text().count("\nattempt")


def test_jobs__run_each_in_its_folder_and_leave_their_score(tmp_path):
    one = runner(tmp_path, *(job(seed) for seed in range(5)))
    assert one.run(list(one.jobs)) == 0
    entries = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert [entry["score"] for entry in entries.values()] == [0.25, 1.25, 2.25, 3.25, 4.25]
    assert {entry["state"] for entry in entries.values()} == {"done"}
    entry = entries["none-3"]
    assert (entry["exit_code"], entry["attempts"], entry["log"]) == (0, 1, "none-3/log.txt")
    assert entry["start"] <= entry["end"]
    assert f"hydra.run.dir='{tmp_path / 'none-3'}'" in entry["command"]


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        ("raise", "failed", "exit code 1"),
        ("crash", "failed", "killed by SIGSEGV"),
        ("memory", "preempted", "killed by SIGKILL; the system may have run out of memory"),
        ("silent", "failed", "ended without a result"),
    ],
)
def test_job_that_fails__leaves_the_others_alone_and_is_listed(tmp_path, capfd, fault, state, reason):
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, [job(0), job(1, fault), job(2)], {"seed": []}, SETTINGS, [str(SCRIPT)], [])
    assert stop.value.code == 1
    assert states(tmp_path) == {"none-0": "done", f"{fault}-1": state, "none-2": "done"}
    said = capfd.readouterr().err
    assert f"{state}: {fault}-1: {reason}" in said
    assert str(tmp_path / f"{fault}-1/log.txt") in said
    assert "planted" in said or fault != "raise"


def test_failed_job__runs_again_only_on_request(tmp_path):
    jobs = [job(0), job(1, "raise")]
    for retry, ran in ((None, 1), (None, 1), ("failed", 2)):
        settings = Settings(slots=1, retry=retry, status=False, plan=False, job_timeout=None)
        with pytest.raises(SystemExit):
            sweep(tmp_path, jobs, {"seed": []}, settings, [str(SCRIPT)], [])
        assert attempts(tmp_path, "raise-1") == ran
        assert attempts(tmp_path, "none-0") == 1


def test_job_that_hangs__is_stopped_after_its_time(tmp_path):
    one = runner(tmp_path, job(0, "hang"), job(1), timeout=0.02)
    one.run(list(one.jobs))
    entry = json.loads((tmp_path / "sweep.json").read_text())["jobs"]["hang-0"]
    assert (entry["state"], entry["reason"]) == ("failed", "took longer than job_timeout=0.02 minutes")
    assert states(tmp_path)["none-1"] == "done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal__stops_the_jobs_and_the_same_call_goes_on(tmp_path, number, code):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts these tests with & ignores it
    jobs = [job(seed, steps=20, pause=0.1) for seed in range(3)]
    one = runner(tmp_path, *jobs)
    threading.Timer(1.0, os.kill, (os.getpid(), number)).start()
    assert one.run(list(one.jobs)) == code
    assert sorted(states(tmp_path).values()) == ["pending", "preempted", "preempted"]
    again = runner(tmp_path, *[job(seed, steps=20, pause=0.0) for seed in range(3)], slots=3)
    assert again.run(again.ledger.to_run(list(again.jobs), retry=False)) == 0
    for each in jobs:  # every step once, although two jobs were stopped in the middle
        assert (tmp_path / each.name / "steps.txt").read_text().split() == [str(step) for step in range(20)]


def test_second_sweep_in_a_folder__is_told_who_is_there(tmp_path):
    code = f"""if True:
        import pathlib, time
        from dotcom.processes import FolderLock
        lock = FolderLock(pathlib.Path({str(tmp_path)!r}) / ".lock")
        lock.acquire()
        print("held", flush=True)
        time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(UsageError, match=f"{tmp_path}: in use by process {holder.pid} on .* since 20"):
            sweep(tmp_path, [job(0)], {"seed": []}, SETTINGS, [str(SCRIPT)], [])
        holder.kill()
        holder.wait()
    sweep(tmp_path, [job(0)], {"seed": []}, SETTINGS, [str(SCRIPT)], [])  # its owner is dead: taken over
    assert states(tmp_path) == {"none-0": "done"}


def test_status__shows_and_starts_nothing(tmp_path, capfd):
    settings = Settings(slots=2, retry=None, status=True, plan=False, job_timeout=None)
    assert sweep(tmp_path / "new", [job(0)], {"seed": []}, settings, [str(SCRIPT)], []) == {"none-0": None}
    said = capfd.readouterr().out
    assert "nothing has run there yet" in said
    assert "pending" in said
    assert not (tmp_path / "new").exists()


def test_more_seeds__are_added_to_a_sweep_in_the_same_folder(tmp_path):
    sweep(tmp_path, [job(0)], {"seed": ["0"]}, SETTINGS, [str(SCRIPT)], [])
    sweep(tmp_path, [job(0), job(1)], {"seed": ["0", "1"]}, SETTINGS, [str(SCRIPT)], [])
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["swept"] == {"seed": ["0", "1"]}
    assert attempts(tmp_path, "none-0") == 1


def test_job_whose_folder_was_removed__runs_again(tmp_path):
    sweep(tmp_path, [job(0)], {"seed": []}, SETTINGS, [str(SCRIPT)], [])
    (tmp_path / "none-0/run.json").unlink()
    sweep(tmp_path, [job(0)], {"seed": []}, SETTINGS, [str(SCRIPT)], [])
    assert attempts(tmp_path, "none-0") == 2


def test_plan__times_each_arm_and_loses_nothing(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("dotcom.sweep.session.TIMED", 0.5)
    jobs = [job(seed, steps=40, pause=0.05) for seed in (0, 1)]
    settings = Settings(slots=2, retry=None, status=False, plan=True, job_timeout=None)
    sweep(tmp_path, jobs, {"seed": []}, settings, [str(SCRIPT)], [])
    assert "fault=none: 1.0 minutes a job" in capfd.readouterr().out  # a minute left, as the job says
    assert states(tmp_path) == {"none-0": "preempted", "none-1": "pending"}
    sweep(tmp_path, jobs, {"seed": []}, SETTINGS, [str(SCRIPT)], [])
    assert (tmp_path / "none-0/steps.txt").read_text().split() == [str(step) for step in range(40)]


def test_environment__is_free_of_other_launchers_and_shares_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr("dotcom.sweep.runner.cores", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    one = runner(tmp_path, job(0))
    seen = {}
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: seen.update(env) or Ended())
    one.run(["none-0"])
    assert not {"LOCAL_RANK", "WORLD_SIZE"} & set(seen)
    assert seen["OMP_NUM_THREADS"] == "2"
    assert seen["DOTCOM_PARENT"] == str(os.getpid())


class Ended:
    """A process that has ended."""

    pid = 2**22 + 1

    def poll(self) -> int:
        return 0


def test_slots__count_the_visible_devices():
    assert slot_environments(2, None) == [{}, {}]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slot_environments(["cuda:0", "cuda:1", "cpu"], "4,6")] == [
        "4",
        "6",
        "",
    ]


@pytest.mark.parametrize("slots", [0, -1, True, [], ["gpu"], ["cuda"], "2"])
def test_slots__of_another_kind_are_refused(slots):
    with pytest.raises(UsageError, match=r"slots=.*expected a number from 1 on, or devices"):
        Settings(slots=slots, retry=None, status=False, plan=False, job_timeout=None)


def test_verdict__tells_stopped_from_failed():
    assert [verdict(code)["state"] for code in (0, 130, 143, -9, -15, 1, 2, -11)] == [
        "done",
        *["preempted"] * 4,
        *["failed"] * 3,
    ]


def test_lock__is_let_go_when_its_process_ends(tmp_path):
    lock = FolderLock(tmp_path / ".lock")
    lock.acquire()
    start = time.monotonic()
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        FolderLock(tmp_path / ".lock").acquire(patience=0.3)
    assert time.monotonic() - start >= 0.3
    lock.file.close()
    FolderLock(tmp_path / ".lock").acquire()


def test_last_lines__come_from_the_end_of_a_long_log(tmp_path):
    (tmp_path / "log").write_text("\n".join(map(str, range(100_000))) + "\n\n")
    assert last_lines(tmp_path / "log", 2) == ["99998", "99999"]
    assert last_lines(tmp_path / "none") == []


def test_sweep_under_nohup__outlives_its_terminal(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        one = runner(tmp_path, job(0, steps=10, pause=0.1))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGHUP)).start()
        assert one.run(["none-0"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert states(tmp_path) == {"none-0": "done"}


def test_signal_while_a_job_is_started__reaches_it(tmp_path, monkeypatch):
    one = runner(tmp_path, job(0, steps=100, pause=0.1))
    start = one._start

    def interrupted(name: str) -> None:
        start(name)
        one.stopped_by = signal.SIGTERM  # too late for the job to be among those that were told

    monkeypatch.setattr(one, "_start", interrupted)
    assert one.run(["none-0"]) == 143
    assert states(tmp_path) == {"none-0": "preempted"}


def test_status_of_a_killed_sweep__says_that_nothing_runs(tmp_path, capfd):
    one = runner(tmp_path, job(0))
    one.ledger.set("none-0", state="running")
    settings = Settings(slots=1, retry=None, status=True, plan=False, job_timeout=None)
    sweep(tmp_path, [job(0)], {"seed": []}, settings, [str(SCRIPT)], [])
    said = capfd.readouterr().out
    assert "no sweep is running there now" in said
    assert "preempted" in said
    assert states(tmp_path) == {"none-0": "running"}  # it only looks


def test_results_of_other_data__are_named(tmp_path, capfd):
    (tmp_path / "none-0").mkdir()
    record = {"state": "done", "score": 1.0, "ended": "now", "config": {"data": {"root": "/a"}}}
    (tmp_path / "none-0/run.json").write_text(json.dumps(record))
    sweep(tmp_path, [replace(job(0), root="/b")], {"seed": []}, SETTINGS, [str(SCRIPT)], [])
    assert "warning: jobs there ran with data.root=/a, not /b" in capfd.readouterr().out
