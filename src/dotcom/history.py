"""Loggers that go on where a checkpoint was written, with no row repeated and none lost.

A checkpoint knows how many rows had been logged. A resumed run logs what came after it once more, the same values.
"""

import csv
import io
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from dotcom.record import whole
from dotcom.text import say
from dotcom.wandb_file import WandbFile, read_records
from dotcom.world import is_first

FLUSH = 0.05  # seconds between two times that W&B writes to its file
PATIENCE = 10.0  # seconds that a checkpoint waits for it
LARGEST_COPY = 2**27  # bytes of a metrics.csv that a checkpoint may hold


class CsvHistory(CSVLogger):
    """Writes ``metrics.csv``; of a file that is there already, the rows of the checkpoint stay.

    A checkpoint holds a compressed copy of the file, from which rows come back that were lost since.

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

    def state_dict(self) -> dict[str, Any]:
        path = Path(self.log_dir) / "metrics.csv"
        text = path.read_bytes() if is_first() and path.exists() else b""
        return {"rows": self.rows, "copy": torch.frombuffer(bytearray(zlib.compress(text)), dtype=torch.uint8)}

    @rank_zero_only
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows = self.experiment.keep(state["rows"], copied_rows(state.get("copy")))


class WholeRows(ExperimentWriter):
    """Lightning's writer, which would delete a file that is there, and lose one that it is killed while rewriting."""

    def _check_log_dir_exists(self) -> None:
        """Nothing: the file stays."""

    def keep(self, count: int, copied: Sequence[dict[str, Any]] = ()) -> int:
        """Cut the file after ``count`` rows; returns how many it has then.

        Args:
            count: How many rows the checkpoint knows of; 0 for a new run.
            copied: The rows of its own copy; none if it has none, or if the file is that of another run.
        """
        path = Path(self.metrics_file_path)
        found = read_rows(path.read_text(errors="replace"))[:count] if path.exists() else []
        kept = list(copied[:count]) if len(copied) >= count else found
        there = {filled_cells(row) for row in found}
        if different := sum(filled_cells(row) not in there for row in kept):
            say(f"{path}: {different} of {count} rows were lost or changed; they are back, from the checkpoint")
        if len(kept) < count and path.exists():
            lost = f"{count - len(kept)} of the {count} rows that the checkpoint knows are lost"
            say(f"warning: {path}: {lost}; nothing else is")
        if kept:
            self.metrics_keys = list(dict.fromkeys(key for row in kept for key in row))
            self._write(kept)
        else:
            path.unlink(missing_ok=True)
        return len(kept)

    def save(self) -> None:
        try:
            super().save()
        except OSError as error:  # a full disk: say which file it is about
            raise OSError(error.errno, error.strerror, self.metrics_file_path) from error

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(read_rows(Path(self.metrics_file_path).read_text(errors="replace")))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with whole(Path(self.metrics_file_path)) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


def read_rows(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV file, each with all the names of its head; cells beyond them are left out."""
    rows = csv.DictReader(io.StringIO(text.replace("\0", ""), newline=""))
    return [{name: value for name, value in row.items() if name is not None} for row in rows]


def filled_cells(row: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """What a row says, whatever other columns its file has."""
    return frozenset((name, value) for name, value in row.items() if value)


def copied_rows(copy: torch.Tensor | None) -> list[dict[str, Any]]:
    """The rows of the copy that a checkpoint holds; none if it holds none, or what is not one."""
    if copy is None:
        return []
    try:
        text = zlib.decompressobj().decompress(copy.numpy().tobytes(), LARGEST_COPY)
        return read_rows(text.decode(errors="replace"))
    except (zlib.error, csv.Error):
        return []


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
