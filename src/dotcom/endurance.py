"""Kill runs and sweeps at random, for hours, and see whether anything is lost: ``python -m dotcom.endurance``.

Each round starts real processes in a folder of its own and harms them: signals to one process or to all of them, files
that are damaged between two attempts, a disk that fills up, a second launcher. The same command then goes on, as a user
would let it, until all is done. What is left must equal what a run leaves that nobody harmed: weights, optimizer,
moving average, random numbers and metrics to the last bit, and every state as it should be.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dotcom.errors import CONF, UsageError, one_line_errors
from dotcom.record import now, write_json

SCRIPT = CONF.parent / "train.py"
TASKS = {"classification": "fashion", "detection": "fashion_boxes", "segmentation": "fashion_masks"}
SETTINGS = (
    *("image_size=64", "data.batch_size=4", "epochs=6", "ema=0.9", "save_every_steps=2", "hardware=cpu"),
    *("trainer.log_every_n_steps=1", "+trainer.limit_train_batches=5", "+trainer.limit_val_batches=3"),
)
TWO = ("hardware=ddp_cpu", "data.batch_size=2")
SEEDS = (0, 1)  # of the jobs of a sweep
CLOCK = "images/s"  # a column that differs between equal runs
EARLY = 0.25  # of the moments are taken from the clock, the others from what is logged
MOST_ROWS = 5  # that are logged between a start and a kill
KINDS = ("single", "single", "single", "sweep", "sweep", "two_processes", "two_processes", "full_disk")  # as often
MOST_HARM = 20  # times that one round is harmed, before it may end
WENT_BACK = "went-back"  # a file in the folder of a run that went on from best.ckpt
LEFT = 60.0  # seconds within which all processes must have ended
LONGEST = 600.0  # seconds that one attempt may take
ROOM = 3.2  # checkpoints that fit on the small disk
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # equal bits need equally many threads
HEAVY = (  # what each training imports
    *("torch", "lightning.pytorch", "wandb", "matplotlib.figure", "torchmetrics", "torchvision", "dotcom.callbacks"),
    *("dotcom.tasks", "dotcom.data", "dotcom.report", "dotcom.inference.saved_run"),
)
START = multiprocessing.get_context("forkserver")
HARMS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)  # as often as they stand here


class Trouble(Exception):  # noqa: N818
    """Something was lost; it says what."""


class Attempt:
    """One start of ``python train.py``, in a session of its own, as from a terminal.

    Args:
        words: Of the command line.
        log: A file that takes all that it prints.
        alone: It starts no other training. Then it is forked from a process that has imported everything, which takes
            a fifth of the time; all else is as in a process that the shell starts.
    """

    def __init__(self, words: Sequence[str], log: Path, alone: bool = False) -> None:
        self.log, self.code = log, None
        self.process: Any
        log.touch()
        if alone:
            self.process = START.Process(target=become_training, args=(list(words), str(log)))
            self.process.start()
        else:
            with log.open("a") as file:
                self.process = subprocess.Popen(
                    [sys.executable, str(SCRIPT), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | ENVIRONMENT,
                    start_new_session=True,
                    preexec_fn=hear_hangups,
                )
        self.started = time.monotonic()
        self.seen = {self.process.pid}

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def descendants(self) -> list[int]:
        """Processes that this one has started, and those that these have; the eldest first."""
        found, look = [], [self.process.pid]
        while look:
            pid = look.pop(0)
            with suppress(OSError):
                children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                found += children
                look += children
        self.seen.update(found)
        return found

    def trainers(self) -> list[int]:
        """Those that run ``train.py`` and were started by this one."""
        return [pid for pid in self.descendants() if is_training(pid)]

    def wait_until(self, moment: float) -> bool:
        """Wait for a second of its life; false if it ended before."""
        while time.monotonic() - self.started < moment:
            if self.ended() is not None:
                return False
            self.descendants()
            time.sleep(0.02)
        return self.ended() is None

    def wait_for_rows(self, folder: Path, more: int, then: float) -> bool:
        """Wait for so many more rows in the runs of a folder, and some seconds; false if it ended before."""
        at_first = logged_rows(folder)
        while self.ended() is None:
            self.descendants()
            if logged_rows(folder) > at_first + more:
                return self.wait_until(time.monotonic() - self.started + then)
            time.sleep(0.02)
        return False

    def end(self, within: float = LONGEST) -> int:
        """Its exit code; all that it has started has to end soon after.

        Raises:
            Trouble: If one of these processes stays.
        """
        deadline = time.monotonic() + within
        while self.ended() is None and time.monotonic() < deadline:
            self.descendants()
            time.sleep(0.05)
        if self.ended() is None:
            self.kill_all()
            raise Trouble(f"it did not end within {within:g} s")
        deadline = time.monotonic() + LEFT
        while left := [pid for pid in self.seen if is_alive(pid)]:
            if time.monotonic() > deadline:
                self.kill_all()
                raise Trouble(f"{len(left)} of its processes stayed for {LEFT:g} s")
            time.sleep(0.05)
        code = self.ended()
        assert code is not None
        return code

    def kill_all(self) -> None:
        """End every process of it at once."""
        for pid in self.seen | set(self.descendants()):
            send(pid, signal.SIGKILL)

    def last_line(self) -> str:
        """What it said last."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def hear_hangups() -> None:
    """Let a training hear SIGHUP, also where this program was started with nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def become_training(words: list[str], log: str) -> None:
    """Become the process that ``python train.py WORDS`` is."""
    import torch

    os.setsid()
    hear_hangups()
    for stream, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull if stream == 0 else log, mode | os.O_APPEND), stream)
    torch.set_num_threads(1)
    sys.argv = [str(SCRIPT), *words]
    runpy.run_path(str(SCRIPT), run_name="__main__")


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def is_training(pid: int) -> bool:
    """Whether a process runs ``train.py``."""
    try:
        return str(SCRIPT).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def logged_rows(folder: Path) -> int:
    """How many lines the runs in a folder have in their metrics.csv."""
    lines = 0
    for path in folder.rglob("metrics.csv"):
        with suppress(OSError):
            lines += path.read_bytes().count(b"\n")
    return lines


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Endurance:
    """The rounds, what was done in them, and the unharmed runs that they are compared with.

    Args:
        folder: For everything; old rounds in it are removed.
        seed: With the number of a round, it decides what happens in it.
        kind: Of all rounds, one of ``KINDS``; None for all of them in turns.
    """

    def __init__(self, folder: Path, seed: int, kind: str | None = None) -> None:
        self.folder, self.seed, self.kind = folder, seed, kind
        self.counts: Counter[str] = Counter()
        self.seconds: dict[Path, float] = {}  # that an unharmed run takes
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(ENVIRONMENT)  # of the process from which trainings are forked, too
        START.set_forkserver_preload(list(HEAVY))

    def round(self, number: int) -> str:
        """One round; returns what kind it was.

        Raises:
            Trouble: If something was lost.
        """
        draw = random.Random(f"{self.seed}/{number}")
        name = self.kind or draw.choice(KINDS)
        kind: Callable[[random.Random, Path, str], None] = getattr(self, name)
        task = draw.choice(list(TASKS))
        place = self.folder / f"round-{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        kind(draw, place, task)
        shutil.rmtree(place, ignore_errors=True)
        self.counts[f"rounds: {name} {task}"] += 1
        return f"{name} {task}"

    def unharmed(self, task: str, *more: str) -> Path:
        """The folder of a run that nobody harmed."""
        path = self.folder / "unharmed" / "-".join([task, *more]).replace("=", "-")
        if not (path / "done").exists():
            shutil.rmtree(path, ignore_errors=True)
            path.parent.mkdir(exist_ok=True)
            words = [*settings(task, *more), f"hydra.run.dir={path}"]
            attempt = Attempt(words, path.with_suffix(".txt"), is_alone(words))
            if attempt.end() != 0:
                raise Trouble(f"unharmed: {attempt.last_line()}")
            (path / "done").write_text(str(time.monotonic() - attempt.started))
        self.seconds[path] = float((path / "done").read_text())
        return path

    def single(self, draw: random.Random, place: Path, task: str) -> None:
        """One run, of one process."""
        reference = self.unharmed(task)
        words = [*settings(task), f"hydra.run.dir={place / 'run'}", "resume=true"]
        self._survive(draw, place, words, reference)
        compare(place / "run", reference)

    def two_processes(self, draw: random.Random, place: Path, task: str) -> None:
        """One run, of two processes."""
        reference = self.unharmed(task, *TWO)
        words = [*settings(task, *TWO), f"hydra.run.dir={place / 'run'}", "resume=true"]
        self._survive(draw, place, words, reference, "two processes")
        compare(place / "run", reference)

    def full_disk(self, draw: random.Random, place: Path, task: str) -> None:
        """One run on a disk that fills up, and has room again for the next attempt."""
        reference = self.unharmed(task)
        size = int((reference / "last.ckpt").stat().st_size * ROOM)
        with small_disk(place / "disk", size) as allowed:
            if not allowed:
                self.counts["full disks: not allowed here"] += 1
                return
            words = [*settings(task), f"hydra.run.dir={place / 'disk' / 'run'}", "resume=true"]
            for _ in range(2):
                attempt = Attempt(words, place / "log.txt", alone=True)
                if attempt.wait_until(draw.uniform(0.3, 1.0) * self.seconds[reference]):
                    fill(place / "disk" / "filler")
                    self.counts["full disks"] += 1
                code = attempt.end()
                if code not in (0, 2):
                    raise Trouble(f"a full disk ended it with {code}: {attempt.last_line()}")
                (place / "disk" / "filler").unlink(missing_ok=True)
            self._survive(draw, place, words, reference)
            compare(place / "disk" / "run", reference)

    def sweep(self, draw: random.Random, place: Path, task: str) -> None:
        """Two jobs, side by side; a job, the sweep or both are killed, and a second launcher comes in between."""
        references = {seed: self.unharmed(task, f"seed={seed}") for seed in SEEDS}
        folder = place / "sweep"
        swept = f"seed={','.join(map(str, SEEDS))}"
        words = ["-m", *settings(task, swept), "slots=2", "retry=failed", f"hydra.sweep.dir={folder}"]
        longest = max(self.seconds[path] for path in references.values())
        for _ in range(draw.randint(1, MOST_HARM)):
            attempt = Attempt(words, place / "log.txt")
            if not self._wait(draw, attempt, folder, longest):
                break
            if draw.random() < 0.25:
                self._second_launcher(words, place)
            self._harm_sweep(draw, attempt)
            attempt.end()
            if draw.random() < 0.3 and (folder / "sweep.json").exists():
                damage(folder / "sweep.json", draw)
                self.counts["damage: sweep.json"] += 1
        for _ in range(2):  # a job that was killed last is run again by the same command
            attempt = Attempt(words, place / "log.txt")
            if (code := attempt.end()) == 0:
                break
        if code != 0:
            raise Trouble(f"the sweep ended with {code}: {attempt.last_line()}")
        jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
        if [job["state"] for job in jobs.values()] != ["done"] * len(SEEDS):
            raise Trouble(f"states of the jobs: {[job['state'] for job in jobs.values()]}")
        for name, job in jobs.items():
            compare(folder / name, references[job["seed"]])

    def _harm_sweep(self, draw: random.Random, attempt: Attempt) -> None:
        jobs = attempt.trainers()
        victim = draw.choice(["a job", "the sweep", "both"] if jobs else ["the sweep"])
        number = draw.choice(HARMS)
        victims = {"a job": jobs[:1], "the sweep": [], "both": jobs}[victim]
        for pid in [*victims, *([] if victim == "a job" else [attempt.process.pid])]:
            send(pid, number)
        self.counts[f"kills: sweep, {victim}, {number.name}"] += 1

    def _second_launcher(self, words: Sequence[str], place: Path) -> None:
        second = Attempt(words, place / "second.txt")
        if second.end() != 2 or "in use by" not in second.last_line():
            if "jobs done" in second.last_line() or second.ended() == 0:
                return  # the first one had not begun, or had ended
            raise Trouble(f"a second launcher: {second.ended()}, {second.last_line()}")
        self.counts["second launchers refused"] += 1

    def _survive(
        self, draw: random.Random, place: Path, words: Sequence[str], reference: Path, of: str = "single run"
    ) -> None:
        """Harm a run some times, then let it end."""
        folder = Path(next(word for word in words if word.startswith("hydra.run.dir=")).partition("=")[2])
        for _ in range(draw.randint(1, MOST_HARM)):
            attempt = Attempt(words, place / "log.txt", is_alone(words))
            if not self._wait(draw, attempt, folder, self.seconds[reference]):
                break
            self._harm_run(draw, attempt, of)
            attempt.end()
            self._damage_run(draw, folder, words, place)
        attempt = Attempt(words, place / "log.txt", is_alone(words))
        if (code := attempt.end()) != 0:
            raise Trouble(f"it ended with {code}: {attempt.last_line()}")

    def _wait(self, draw: random.Random, attempt: Attempt, folder: Path, longest: float) -> bool:
        """Wait for any moment of the start, or of what follows; false if it ended before."""
        if draw.random() < EARLY:
            return attempt.wait_until(draw.uniform(0, longest))
        return attempt.wait_for_rows(folder, draw.randint(0, MOST_ROWS), draw.uniform(0, 0.5))

    def _harm_run(self, draw: random.Random, attempt: Attempt, of: str) -> None:
        beside, number = attempt.trainers(), draw.choice(HARMS)
        everyone = {"the first process": [attempt.process.pid]}
        if beside and of == "two processes":
            everyone |= {"the second process": beside[:1], "both": [attempt.process.pid, *beside[:1]]}
        victim = draw.choice(list(everyone))
        for pid in everyone[victim]:
            send(pid, number)
        which = f", {victim}" if of == "two processes" else ""
        self.counts[f"kills: {of}{which}, {number.name}"] += 1

    def _damage_run(self, draw: random.Random, folder: Path, words: Sequence[str], place: Path) -> None:
        if draw.random() > 0.4:
            return
        name = draw.choice(["metrics.csv", "run.json", "progress.json", "last.ckpt"])
        if not (folder / name).exists() or (name == "metrics.csv" and not (folder / "last.ckpt").exists()):
            return
        damage(folder / name, draw)
        self.counts[f"damage: {name}"] += 1
        if name != "last.ckpt":
            return
        attempt = Attempt(words, place / "log.txt", is_alone(words))
        if (code := attempt.end()) == 0:  # what was hit means nothing
            return
        if code != 2 or "last.ckpt: " not in (said := attempt.last_line()) or not said.startswith("error: "):
            raise Trouble(f"a damaged last.ckpt ended it with {code}: {attempt.last_line()}")
        if f"cp {folder / 'best.ckpt'}" in said:  # what it advises
            shutil.copy(folder / "best.ckpt", folder / "last.ckpt")
            (folder / WENT_BACK).touch()
        else:
            (folder / "last.ckpt").unlink()


def is_alone(words: Sequence[str]) -> bool:
    """Whether a command trains with one process."""
    return not set(TWO) & set(words)


def settings(task: str, *more: str) -> list[str]:
    """What the command line of a run says; a key in ``more`` replaces the usual one."""
    given = {word.partition("=")[0]: word for word in [f"data={TASKS[task]}", *SETTINGS, *more]}
    return list(given.values())


def damage(path: Path, draw: random.Random) -> None:
    """Shorten a file, overwrite 100 bytes of it, or leave something else in its place."""
    content = bytearray(path.read_bytes())
    kind = draw.choice(["shortened", "overwritten", "empty", "other"])
    if path.suffix == ".ckpt":
        kind = draw.choice(["shortened", "overwritten"])
    at = draw.randrange(max(1, len(content)))
    if kind == "shortened":
        content = content[:at]
    elif kind == "overwritten":
        content[at : at + 100] = draw.randbytes(100)
    else:
        content = bytearray(b"" if kind == "empty" else b"[1, 2]")
    path.write_bytes(content)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A disk in memory of so many bytes at a folder; false where this user may not have one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        allowed = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def compare(folder: Path, reference: Path) -> None:
    """Raise Trouble unless a run has left what an unharmed one leaves."""
    import torch

    state = json.loads((folder / "run.json").read_text())["state"]
    if state != "done":
        raise Trouble(f"run.json says {state}")
    if (found := metric_rows(folder)) != (expected := metric_rows(reference)):
        raise Trouble(f"metrics.csv has {len(found)} rows, expected {len(expected)}, or other values")
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(path / name, weights_only=True) for path in (folder, reference))
        for content in (one, other):
            forget_place(content, (folder / WENT_BACK).exists())
        if difference := first_difference(one, other):
            raise Trouble(f"{name} differs in {difference}")


def forget_place(content: dict[str, Any], went_back: bool) -> None:
    """Take out of a checkpoint of the end of an epoch what counts batches and epochs differently without a meaning.

    A process that began with the validation of that epoch has not read a batch; and where a run went on from best.ckpt,
    since last.ckpt was damaged, that one stands for the end of its epoch.
    """
    content["loops"]["fit_loop"].pop("state_dict")
    if went_back:
        content.pop("loops")
        content.pop("between_epochs")


def metric_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, but for what a clock says."""
    import csv

    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if value and name != CLOCK} for row in csv.DictReader(file)]
    return [row for row in rows if set(row) - {"epoch", "step"}]


def first_difference(one: Any, other: Any, where: str = "") -> str | None:
    """Where two checkpoints differ, if they do; folders, clocks and what a sweep adds left out.

    So is ``current_score``, which Lightning does not restore and nobody reads.
    """
    import torch

    if where in ("/config", "/logged", "/callbacks/Throughput") or where.endswith(
        ("path", "best_k_models", "current_score")
    ):
        return None
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return None if torch.equal(one, other) else where
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return where
        return next(filter(None, (first_difference(one[key], other[key], f"{where}/{key}") for key in one)), None)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (first_difference(*pair, f"{where}/{number}") for number, pair in pairs)), None)
    return None if one == other or (one != one and other != other) else where


def kills(counts: Counter[str]) -> int:
    """How many times a process was killed or told to stop."""
    return sum(count for what, count in counts.items() if what.startswith("kills"))


def main() -> int:
    """Run rounds until the time is over; returns 0, or 1 if something was lost."""
    parser = argparse.ArgumentParser(prog="python -m dotcom.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; the last round may take longer")
    parser.add_argument("--seed", type=int, default=0, help="decides what happens in each round")
    parser.add_argument("--kind", choices=sorted(set(KINDS)), help="of all rounds; default: all kinds")
    parser.add_argument("--round", type=int, help="this one alone, such as one that has failed")
    parser.add_argument("--folder", type=Path, default=Path("runs/endurance"), help="for all that it writes")
    parser.add_argument("--out", type=Path, help="a JSON file for the counts")
    options = parser.parse_args()
    if not SCRIPT.exists():
        raise UsageError(f"{SCRIPT}: no such file; endurance runs in a checkout of dotcom")
    if not Path("/proc/self/task").exists():
        raise UsageError("endurance: expected Linux, whose /proc tells which processes are left")
    endurance, began = Endurance(options.folder.absolute(), options.seed, options.kind), time.monotonic()
    number = options.round or 0
    failed, only = None, f" --kind {options.kind}" if options.kind else ""
    while failed is None and (time.monotonic() - began < options.minutes * 60):
        try:
            name = endurance.round(number)
        except (KeyboardInterrupt, SystemExit):  # by whoever has seen enough
            break
        except Trouble as trouble:
            failed = f"round {number}: {trouble}; again with --seed {options.seed} --round {number}{only}"
            break
        minutes = (time.monotonic() - began) / 60
        print(f"[{minutes:.1f} min] round {number}: {name}, {kills(endurance.counts)} kills so far", flush=True)
        if options.round is not None:
            break
        number += 1
    for what, count in sorted(endurance.counts.items()):
        print(f"{count:6} {what}")
    verdict = failed or "nothing was lost"
    print(f"{kills(endurance.counts)} kills, {verdict}")
    if options.out:
        facts = {"command": " ".join(sys.argv[1:]), "seed": options.seed, "ended": now(), "rounds": number}
        facts |= {"minutes": (time.monotonic() - began) / 60, "kills": kills(endurance.counts)}
        write_json(options.out, facts | {"counts": dict(sorted(endurance.counts.items())), "verdict": verdict})
    return int(failed is not None)


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
