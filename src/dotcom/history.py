"""Loggers that go on where a checkpoint was written, with no row repeated and none lost.

A checkpoint knows how many rows had been logged. A resumed run logs what came after it once more, the same values.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from dotcom.wandb_file import read_records


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
        self.rows = state["rows"]
        self.experiment.keep(self.rows)


class WholeRows(ExperimentWriter):
    """Lightning's writer, which would delete a file that is there, and lose one that it is killed while rewriting."""

    def _check_log_dir_exists(self) -> None:
        """Nothing: the file stays."""

    def keep(self, count: int) -> None:
        """Cut the file after ``count`` rows."""
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="") as file:
                rows = csv.DictReader(file)
                kept = [row for row, _ in zip(rows, range(count), strict=False)]
                self.metrics_keys = list(rows.fieldnames or ()) if kept else []
            if kept:
                self._write(kept)
            else:
                path.unlink()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            rows = list(csv.DictReader(file))
        self._write(rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        path = Path(self.metrics_file_path)
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(path)


class WandbHistory(WandbLogger):
    """Numbers its rows, and leaves out those that an earlier attempt wrote before it was killed.

    Log through this, not through ``experiment``, whose rows nobody would count.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.rows = self.written = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.rows += 1
        if self.rows > self.written:
            self.experiment.log(dict(metrics) | {"trainer/global_step": step}, step=self.rows - 1, commit=True)

    def state_dict(self) -> dict[str, int]:
        return {"rows": self.rows}

    @rank_zero_only
    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.rows = state["rows"]
        self.written = rows_written(Path(self.save_dir), self.experiment.id)


def rows_written(folder: Path, run: str) -> int:
    """How many rows all attempts at a W&B run have left in ``folder/wandb``."""
    files = folder.glob(f"wandb/*run-*-{run}/run-{run}.wandb")
    records = (record for path in files for record in read_records(path))
    return max((record.history.step.num + 1 for record in records if record.HasField("history")), default=0)


def earlier_run(folder: Path) -> str | None:
    """The id of the W&B run that was logged in ``folder/wandb``, if there was one."""
    found = sorted(folder.glob("wandb/*run-*/run-*.wandb"))
    return found[0].stem.removeprefix("run-") if found else None
