"""A trial of a configuration, ``smoke=true``: two batches of each phase, and all that comes after them.

Nothing here imports torch.
"""

from pathlib import Path
from typing import Any

from dotcom.errors import UsageError
from dotcom.world import is_first

BATCHES = 2  # of each phase
INSTEAD = {  # Lightning's own switches that leave out what a run of ours is, and what to use
    "fast_dev_run": "expected smoke=true instead, which also tries pictures, checkpoint and export",
    "barebones": "it forbids the logger and the callbacks that a run consists of; make bench measures the bare speed",
}


def check_switches(config: dict[str, Any]) -> None:
    """Refuse what a trainer of ours cannot be told.

    Raises:
        UsageError: One line that names the key and what to use instead.
    """
    for key, advice in INSTEAD.items():
        if config["trainer"].get(key):
            raise UsageError(f"trainer.{key}: {advice}")


def set_smoke(config: dict[str, Any]) -> None:
    """Change a checked configuration into that of a trial: one epoch of two batches, and no logger but metrics.csv.

    The settings of the recipe stay, the number of epochs among them, which decides the first learning rates.

    Raises:
        UsageError: With a setting that a trial cannot honour, or in a folder that holds a run.
    """
    for key in ("fit", "resume"):
        if config[key] != (key == "fit") and not (key == "resume" and config["sweep"]):
            raise UsageError(f"smoke=true {key}={str(config[key]).lower()}: expected one of them; a trial trains anew")
    folder = Path(config["output_dir"])
    found = [name for name in ("run.json", "last.ckpt", "best.ckpt") if (folder / name).exists()]
    if found and is_first() and not config["sweep"]:
        raise UsageError(f"smoke=true hydra.run.dir={folder}: expected a folder without a run, got one with {found[0]}")
    config["logger"] = {name: logger for name, logger in config["logger"].items() if name == "csv"}
    config["callbacks"]["smoke"] = {"_target_": "dotcom.callbacks.OneEpoch"}
    config["trainer"] |= {
        "limit_train_batches": BATCHES,
        "limit_val_batches": BATCHES,
        "check_val_every_n_epoch": 1,
        "log_every_n_steps": 1,
    }
    for key in ("max_steps", "max_time", "overfit_batches", "val_check_interval"):
        config["trainer"].pop(key, None)


def smoke_folder(smoke: Any) -> str:
    """What stands between ``runs/`` and the name of a run, so that trials are apart from results."""
    return "smoke/" if smoke is True else ""
