"""What is logged where: a Weights & Biases logger that never stands in the way of a run, and no noise."""

import logging
import netrc
import os
import socket
import threading
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import wandb
from lightning.pytorch.utilities import rank_zero_only

from dotcom.history import WandbHistory, earlier_run


def wandb_logger(project: str, name: str, save_dir: str, group: str, job_type: str, tags: list[str]) -> WandbHistory:
    """Log to W&B; offline, with one line that says so, if there is no key or the server cannot be reached.

    ``WANDB_MODE`` decides if it is set. An offline run is sent later with ``wandb sync``. A run that was begun in
    ``save_dir`` is continued.
    """
    Path(save_dir).mkdir(parents=True, exist_ok=True)  # W&B falls back to a temporary folder otherwise
    given: dict[str, Any] = {"group": group, "job_type": job_type, "tags": tags}
    if run := earlier_run(Path(save_dir)):
        given |= {"id": run, "resume": "allow"}
    if "WANDB_MODE" not in os.environ and (obstacle := _obstacle()):
        say(f"wandb: {obstacle}; logging offline, to be sent later with: wandb sync {save_dir}/wandb/offline-*")
        given |= {"mode": "offline", "settings": wandb.Settings(silent=True)}  # its own twenty lines say the same
    return WandbHistory(project=project, name=name, save_dir=save_dir, **given)


def _obstacle() -> str | None:
    """Why an online run would fail, or None; takes at most two seconds."""
    server = urlsplit(wandb.Settings().base_url)
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
    print(line, flush=True)


def quiet() -> None:
    """Drop what Lightning says twice or to advertise; warnings about the user's own run stay, one line each."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # Hydra's root handler prints the same line again
        logger.setLevel(logging.WARNING)
    for pattern in (
        ".*does not have many workers.*",  # in memory and on a CPU, fewer are faster
        ".*smaller than the logging interval.*",  # Task logs at least once per epoch
        ".*Checkpoint directory .* exists and is not empty.*",  # our run folders are new; Hydra has written to them
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*The dirpath has changed from.*",  # a resumed run has its own folder and its own best checkpoint
        ".*configured with multiple `ModelCheckpoint` callbacks.*",  # the first one, best, is what is meant
        ".*`self.log(.images/s., ..., sync_dist=True)`.*",  # it is a total already
        ".*LeafSpec.*",
        "'set_vital' is deprecated.*",  # torchdata's affair
    ):
        warnings.filterwarnings("ignore", pattern)
