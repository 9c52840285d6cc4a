"""Tiny real jobs that log to W&B without a key, and what their files say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from conftest import REPO
from dotcom.wandb_file import read_records

TINY = ["image_size=64", "hardware=cpu", "logger=wandb"]
IMAGES = ["data=image_folder", "data.root=photos", "data.batch_size=4"]


def start(root: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start ``python train.py`` in ``root``, which holds ``photos`` unless other data are chosen."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")} | {
        "NETRC": str(root / "netrc"),
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    images = [] if any(override.startswith("data=") for override in overrides) else IMAGES
    command = [sys.executable, str(REPO / "train.py"), *overrides, *TINY, *images]
    return subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(root: Path, *overrides: str) -> None:
    """Run ``python train.py`` to a good end."""
    process = start(root, *overrides)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said


def read(path: Path) -> SimpleNamespace:
    """One file: its run record, logged rows and exit codes."""
    records = read_records(path)
    run = next(record.run for record in records if record.HasField("run"))
    history = [record.history for record in records if record.HasField("history")]
    rows = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in row.item} for row in history]
    exits = [record.exit.exit_code for record in records if record.HasField("exit")]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    return SimpleNamespace(path=path, run=run, rows=rows, exits=exits, config=config)
