"""What asks a program to stop, and who is left behind: nobody, and nothing that is half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WRITES = """
import sys, time
from pathlib import Path
from dotcom.errors import one_line_errors
{imports}
with one_line_errors():
    with {writer} as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
"""
WHOLE = {"imports": "from dotcom.record import whole", "writer": "whole(Path('file.json'))"}
EXPORT = {"imports": "from dotcom.deploy.export import unseen", "writer": "unseen(Path(), 'file.onnx')"}
PARENT = """
import os, subprocess, sys, time
os.environ["{name}"] = str(os.getpid())
os.environ["LOCAL_RANK"] = "{rank}"
child = subprocess.Popen([sys.executable, "-c", '''{child}'''])
print(child.pid, flush=True)
child.wait()
"""
CHILD = """
import ctypes, time
from dotcom.processes import stop_with_others
stop_with_others()
print("ready", flush=True)
time.sleep(60) if {awake} else ctypes.PyDLL(None).sleep(60)
"""


def usual_signals() -> None:
    """As in a terminal, also where the tests were started with nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def started(code: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    return process


@pytest.mark.parametrize("writes", [WHOLE, EXPORT], ids=["records", "export"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_command_that_is_stopped__leaves_nothing_half_written(writes, number, code, tmp_path):
    process = started(WRITES.format(**writes), tmp_path, preexec_fn=usual_signals)
    assert process.stdout.readline() == "ready\n"
    assert list(tmp_path.iterdir()) != []
    process.send_signal(number)
    assert process.wait(60) == code
    assert list(tmp_path.iterdir()) == []


def test_nohup__keeps_its_meaning(tmp_path):
    process = started(WRITES.format(**WHOLE), tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 143


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread looks once a second, which needs Python")
@pytest.mark.parametrize(
    ("name", "rank", "awake"),
    [("DOTCOM_FIRST", 1, True), ("DOTCOM_FIRST", 1, False), ("DOTCOM_PARENT", 0, True)],
    ids=["beside the first one", "in a call that hears no signal", "job of a sweep"],
)
def test_process__does_not_outlive_the_one_that_started_it(name, rank, awake, tmp_path):
    parent = started(PARENT.format(name=name, rank=rank, child=CHILD.format(awake=awake)), tmp_path)
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == "ready\n"
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_orphan__that_was_late_ends_at_once(tmp_path):
    environment = os.environ | {"DOTCOM_FIRST": "1", "LOCAL_RANK": "1"}  # process 1 is not its parent
    process = started(CHILD.format(awake=True), tmp_path, env=environment)
    assert process.wait(60) == -signal.SIGKILL
