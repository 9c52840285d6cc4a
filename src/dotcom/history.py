"""Loggers that go on where a checkpoint was written, with no row repeated and none lost.

A checkpoint knows how many rows had been logged. A resumed run logs what came after it once more, the same values.
"""

import csv
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from dotcom.record import whole
from dotcom.wandb_file import WandbFile, read_records

FLUSH = 0.05  # seconds between two times that W&B writes to its file
PATIENCE = 10.0  # seconds that a checkpoint waits for it


class CsvHistory(CSVLogger):
    """Writes ``metrics.csv``; of a file that is there already, the rows of the checkpoint stay.

    Args:
        folder: Where the file goes.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")
        self.rows = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = WholeRows(self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows += 1
        super().log_metrics(metrics, step)

    def state_dict(self) -> dict[str, int]:
        return {"rows": self.rows}

    @rank_zero_only
    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.rows = self.experiment.keep(state["rows"])


class WholeRows(ExperimentWriter):
    """Lightning's writer, which would delete a file that is there, and lose one that it is killed while rewriting."""

    def _check_log_dir_exists(self) -> None:
        """Nothing: the file stays."""

    def keep(self, count: int) -> int:
        """Cut the file after ``count`` rows; returns how many it has then: none in the folder of a new run."""
        path, kept = Path(self.metrics_file_path), []
        if path.exists():
            with path.open(newline="") as file:
                rows = csv.DictReader(file)
                kept = [row for row, _ in zip(rows, range(count), strict=False)]
                self.metrics_keys = list(rows.fieldnames or ()) if kept else []
            if kept:
                self._write(kept)
            else:
                path.unlink()
        return len(kept)

    def save(self) -> None:
        try:
            super().save()
        except OSError as error:  # a full disk: say which file it is about
            raise OSError(error.errno, error.strerror, self.metrics_file_path) from error

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            rows = list(csv.DictReader(file))
        self._write(rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with whole(Path(self.metrics_file_path)) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


class WandbHistory(WandbLogger):
    """Numbers its rows, and leaves out those that an earlier attempt wrote before it was killed.

    Log through this, not through ``experiment``, whose rows nobody would count.
    """

    def __init__(self, **settings: Any) -> None:
        given = settings.pop("settings", None) or wandb.Settings()
        given.x_transaction_log_flush_interval = FLUSH  # of W&B's own, 15 s, a kill would leave nothing
        super().__init__(**settings, settings=given)
        self.rows = self.written = 0
        self.file: WandbFile | None = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.rows += 1
        if self.rows > self.written:
            self.experiment.log(dict(metrics) | {"trainer/global_step": step}, step=self.rows - 1, commit=True)

    def state_dict(self) -> dict[str, int]:
        self._wait()
        return {"rows": self.rows}

    @rank_zero_only
    def _wait(self) -> None:
        """Until all rows are in the file: those before a checkpoint will not be logged again."""
        self.file = self.file or WandbFile(Path(self.experiment.settings.sync_file))
        deadline = time.monotonic() + PATIENCE
        while self.written < self.rows and self.file.path.exists() and time.monotonic() < deadline:
            self.written = max(self.written, last_row(self.file.new()))
            time.sleep(FLUSH / 4)

    @rank_zero_only
    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.rows = state["rows"]


def last_row(records: Iterable[Any]) -> int:
    """The number of rows up to the last one among the records of a W&B file."""
    return max((record.history.step.num + 1 for record in records if record.HasField("history")), default=0)


def rows_written(folder: Path, run: str) -> int:
    """How many rows all attempts at a W&B run have left in ``folder/wandb``."""
    return max((last_row(read_records(path)) for path in folder.glob(f"wandb/*run-*-{run}/run-{run}.wandb")), default=0)


def earlier_run(folder: Path) -> str | None:
    """The id of the W&B run that was logged in ``folder/wandb``, if there was one."""
    found = sorted(folder.glob("wandb/*run-*/run-*.wandb"))
    return found[0].stem.removeprefix("run-") if found else None
