"""Real processes, really killed: ``python train.py`` goes on in its folder, in metrics.csv and in W&B."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from conftest import REPO
from dotcom.wandb_file import read_records
from test_resume import assert_same_run, rows

pytestmark = pytest.mark.slow

SETTINGS = "data=image_folder image_size=64 hardware=cpu data.batch_size=2 epochs=3 ema=0.9 logger=wandb"
SETTINGS = f"{SETTINGS} trainer.log_every_n_steps=1".split()
OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1"}


class Training:
    """``python train.py`` in a process group of its own."""

    def __init__(self, photos: Path, folder: Path, *more: str) -> None:
        command = [sys.executable, str(REPO / "train.py"), *SETTINGS, f"data.root={photos}", *more]
        self.folder = folder
        self.process = subprocess.Popen(
            [*command, f"hydra.run.dir={folder}"],
            env={key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"} | OFFLINE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, reached: Callable[[], bool]) -> None:
        while not reached() and self.process.poll() is None:
            time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        stdout, stderr = self.process.communicate(timeout=120)
        return self.process.returncode, stdout + stderr


def history(folder: Path) -> list[tuple[int, int, tuple[str, ...]]]:
    """Number, step and names of each row in all files of the W&B run."""
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in read_records(path):
            if record.HasField("history"):
                values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                names = sorted(name for name in values if not name.startswith("_"))
                found.append((record.history.step.num, int(values["trainer/global_step"]), tuple(names)))
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory, make_photos) -> tuple[Path, Path]:
    """Photos, and the folder of a run that nobody stopped."""
    parent = tmp_path_factory.mktemp("kill")
    photos = make_photos(parent)
    code, said = Training(photos, parent / "run").end()
    assert code == 0, said
    return photos, parent / "run"


@pytest.mark.parametrize(("workers", "count"), [(0, 9), (2, 17)])
def test_kill_9__loses_no_step_and_repeats_none(workers, count, reference, tmp_path):
    photos, unharmed = reference
    folder = tmp_path / "run"
    more = [f"data.num_workers={workers}", "save_every_steps=1"]
    killed = Training(photos, folder, *more)
    killed.wait_for(lambda: (folder / "metrics.csv").exists() and len(rows(folder)) >= count)
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.end()
    begun = history(folder)
    assert 0 < len(begun) < len(history(unharmed))
    code, said = Training(photos, folder, *more, "resume=true").end()
    assert code == 0, said
    assert_same_run(folder, unharmed)
    assert history(folder) == history(unharmed)
    assert history(folder)[: len(begun)] == begun
    assert len({path.name for path in folder.glob("wandb/offline-run-*/run-*.wandb")}) == 1


def test_lost_terminal__saves_and_stops_the_run(reference, tmp_path):
    """The window is closed, or the connection is lost: whatever is printed from then on is an error."""
    photos, unharmed = reference
    folder = tmp_path / "run"
    command = [sys.executable, str(REPO / "train.py"), *SETTINGS, f"data.root={photos}", f"hydra.run.dir={folder}"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(OFFLINE)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, also where the tests run with nohup
        os.execv(sys.executable, command)
    reader = threading.Thread(target=drain, args=(terminal,), daemon=True)
    reader.start()
    deadline = time.monotonic() + 120
    while not (folder / "metrics.csv").exists() or len(rows(folder)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGSTOP)  # so that the terminal is gone before the process notices
    os.close(terminal)
    os.kill(pid, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    assert json.loads((folder / "run.json").read_text())["state"] == "preempted"
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] >= 3
    code, said = Training(photos, folder, "resume=true").end()
    assert code == 0, said
    assert_same_run(folder, unharmed)


def drain(terminal: int) -> None:
    """Read what is printed, or the process would wait."""
    with suppress(OSError):
        while os.read(terminal, 65536):
            pass


def test_two_processes__stop_together_and_go_on_exactly(photos, tmp_path):
    """Whichever of them is told to stop; here the second one."""
    more = ["hardware=ddp_cpu", "data.batch_size=1", "data.mixup=0.2", "logger=csv"]
    code, said = Training(photos, tmp_path / "unharmed", *more).end()
    assert code == 0, said
    folder = tmp_path / "run"
    stopped = Training(photos, folder, *more)
    stopped.wait_for(lambda: (folder / "metrics.csv").exists() and len(rows(folder)) >= 3)
    first = stopped.process.pid
    os.kill(int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0]), signal.SIGTERM)
    code, said = stopped.end()
    assert code == 143, said
    assert said.count("stopped; go on with the same command") == 1
    code, said = Training(photos, folder, *more, "resume=true").end()
    assert code == 0, said
    assert "4 validation images" in said  # over both processes
    assert_same_run(folder, tmp_path / "unharmed")


@pytest.mark.parametrize(("victim", "code"), [("first", -signal.SIGKILL), ("second", 2)])
def test_one_of_two_processes_that_is_killed__does_not_leave_the_other_behind(victim, code, photos, tmp_path):
    """Before they have met, where nobody waits for anybody yet."""
    killed = Training(photos, tmp_path / "run", "hardware=ddp_cpu", "logger=csv")
    first = killed.process.pid
    children = Path(f"/proc/{first}/task/{first}/children")
    beside: list[int] = []
    killed.wait_for(lambda: bool(beside.extend(trainers(children)) or beside))
    time.sleep(1)
    os.kill(first if victim == "first" else beside[0], signal.SIGKILL)
    assert killed.process.wait(60) == code
    deadline = time.monotonic() + 30
    while trainers_among(beside):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    said = killed.process.communicate()[1]
    if victim == "second":
        assert "error: lost contact with another process of this run (process 1 of this machine was killed by" in said
        assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


def trainers(children: Path) -> list[int]:
    """Processes that run train.py, of those that another one has started."""
    try:
        return trainers_among(map(int, children.read_text().split()))
    except OSError:
        return []


def trainers_among(processes: Iterable[int]) -> list[int]:
    found = []
    for pid in processes:
        with suppress(OSError):
            if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
