"""Stands for train.py in tests of the sweep: keeps the promises of a run's folder, and does what ``fault=`` says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

given = dict(word.partition("=")[::2] for word in sys.argv[1:])
folder = Path(given["hydra.run.dir"].strip("'"))
steps = folder / "steps.txt"  # one line for each step: a checkpoint, so to say


def stop(*_: object) -> None:
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
fault = given.get("fault", "none")
print("attempt", os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if fault == "raise":
    raise RuntimeError("planted")
if fault == "memory":
    os.kill(os.getpid(), signal.SIGKILL)
if fault == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if fault == "hang":
    time.sleep(1000)
if fault == "silent":
    sys.exit(0)
total = int(given.get("steps", 3))
for step in range(len(steps.read_text().split()) if steps.exists() else 0, total):
    time.sleep(float(given.get("pause", 0.02)))
    with steps.open("a") as file:
        file.write(f"{step}\n")
    done = (step + 1) / total
    progress = {"epoch": 3 * done, "epochs": 3, "step": step, "score": 0.1, "left": 60 * (1 - done)}
    progress["updated"] = time.time()
    (folder / "progress.tmp").write_text(json.dumps(progress))
    (folder / "progress.tmp").replace(folder / "progress.json")
record = {"state": "done", "score": 0.25 + int(given["seed"]), "ended": "now", "minutes": 0.1}
(folder / "run.json").write_text(json.dumps(record))
