"""What is logged where: a Weights & Biases logger that never stands in the way of a run, and no noise."""

import logging
import netrc
import os
import socket
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import wandb
from lightning.pytorch.utilities import rank_zero_only

from dotcom import text
from dotcom.fingerprint import digest, fingerprint
from dotcom.history import WandbHistory, earlier_run, rows_written
from dotcom.warned import warn_once
from dotcom.world import is_first

LONGEST_TAG = 64  # characters; W&B refuses more


def wandb_logger(
    project: str,
    name: str,
    save_dir: str,
    group: str | None,
    job_type: str,
    tags: Sequence[str],
    id: str | None = None,
    sweep: str | None = None,
    arms: Sequence[str] = (),
) -> WandbHistory:
    """Log to W&B; offline, with one line that says so, if there is no key or the server cannot be reached.

    ``WANDB_MODE`` decides if it is set. An offline run is sent later with ``wandb sync``. A run that was begun in
    ``save_dir`` is continued.

    Args:
        project: Where the run is listed.
        name: How it is listed there.
        save_dir: Folder of the run; its files go to ``wandb`` in it.
        group: What it belongs to, without a sweep.
        job_type: The task.
        tags: What it can be found by, besides its arms.
        id: Of a new run, as ``run_id`` gives it; None for a random one.
        sweep: Name of the sweep; it is the group then.
        arms: What the sweep set in this job, as in ``co_bias=false``; joined, the ``arm`` that a dashboard groups by.
    """
    folder = Path(save_dir)
    folder.mkdir(parents=True, exist_ok=True)  # W&B falls back to a temporary folder otherwise
    unique = dict.fromkeys(tag[:LONGEST_TAG] for tag in [*arms, *tags])
    given: dict[str, Any] = {"group": sweep or group, "job_type": job_type, "tags": list(unique)}
    given |= {"config": {"arm": " ".join(arms)}} if arms else {}
    if "WANDB_MODE" not in os.environ and (why := obstacle()):
        say(f"wandb: {why}; logging offline, to be sent later with: wandb sync {save_dir}/wandb/offline-*")
        given |= {"mode": "offline", "settings": wandb.Settings(silent=True)}  # its own twenty lines say the same
    earlier = earlier_run(folder)
    logger = WandbHistory(project=project, name=name, save_dir=save_dir, id=earlier or id, resume="allow", **given)
    if earlier:  # also if it was killed before its first checkpoint, and begins again
        logger.written = rows_written(folder, earlier)
    return logger


def identify(config: dict[str, Any]) -> None:
    """Give the W&B logger of ``config``, if it has one, the id of this job's run."""
    if settings := config["logger"].get("wandb"):
        settings["id"] = run_id(fingerprint(config), config["output_dir"])


def run_id(computes: str, folder: str) -> str:
    """The id of the W&B run of a job, the same whenever the job is started in the same folder.

    Args:
        computes: Fingerprint of the job; alone it would merge jobs that differ in hardware only, and two sweeps.
        folder: Where the job runs.
    """
    return f"{computes}-{digest(str(Path(folder).resolve()))}"


def obstacle() -> str | None:
    """Why an online run would fail, or None; takes at most two seconds."""
    server = urlsplit(wandb.setup().settings.base_url)
    host = server.hostname or ""
    if not (os.environ.get("WANDB_API_KEY") or _has_login(host)):
        return "no API key (WANDB_API_KEY or wandb login)"
    port = server.port or (80 if server.scheme == "http" else 443)
    direct = server.scheme not in getproxies()  # a proxy is W&B's own business
    return f"{host} cannot be reached" if direct and not _reachable(host, port) else None


def _has_login(host: str) -> bool:
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _reachable(host: str, port: int, seconds: float = 2.0) -> bool:
    """Whether a connection opens in time; in a thread, because a name look-up knows no time limit."""
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            opened.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return opened.is_set()


def close_runs(exit_code: int) -> None:
    """Finish the open W&B run, if any, so that the next job of a sweep does not continue it."""
    if wandb.run is not None:
        wandb.finish(exit_code=exit_code)


@rank_zero_only
def say(line: str) -> None:
    """Print once, not once per process."""
    text.say(line)


def quiet() -> None:
    """Drop what Lightning says twice or to advertise; warnings about the user's own run stay, one line each."""
    # until there is a trainer, which knows better: Lightning would count a first process for each node
    rank_zero_only.rank = 0 if is_first() else 1  # type: ignore[attr-defined]
    warn_once()
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # Hydra's root handler prints the same line again
        logger.setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # a report that trainer.profiler= asks for
    for pattern in (
        ".*does not have many workers.*",  # in memory and on a CPU, fewer are faster
        ".*smaller than the logging interval.*",  # Task logs at least once per epoch
        ".*Checkpoint directory .* exists and is not empty.*",  # our run folders are new; Hydra has written to them
        ".*The dirpath has changed from.*",  # a resumed run has its own folder and its own best checkpoint
        ".*configured with multiple `ModelCheckpoint` callbacks.*",  # the first one, best, is what is meant
        r".*`self.log\(.images/s., ..., sync_dist=True\)`.*",  # it is a total already
        ".*`srun` command is available.*",  # on a login node nobody wants it; dotcom.world says where it is needed
        r".*ModelCheckpoint\(.*could not find the monitored key.*",  # without a validation; the closing lines say so
        ".*requested to overfit but enabled .* shuffling.*",  # of the training data, which is what was asked for
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", pattern)
