"""metrics.csv and W&B's file of a run that goes on: cut where the checkpoint was, and read though cut off by a kill."""

import csv
import time
from pathlib import Path

import pytest
import torch

from dotcom.history import CsvHistory
from dotcom.wandb_file import WandbFile, read_records


def logged(logger: CsvHistory, steps: range, name: str = "loss") -> None:
    for step in steps:
        logger.log_metrics({name: step / 10}, step)
        logger.save()


def read(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_metrics_csv__goes_on_after_the_rows_of_the_checkpoint(tmp_path):
    killed = CsvHistory(str(tmp_path))
    logged(killed, range(3))
    state = killed.state_dict()
    logged(killed, range(3, 5), "late")
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.")  # a kill in the middle of a row
    resumed = CsvHistory(str(tmp_path))
    resumed.load_state_dict(state)
    assert [row["step"] for row in read(tmp_path)] == ["0", "1", "2"]
    logged(resumed, range(3, 6), "late")
    unharmed = CsvHistory(str(tmp_path / "unharmed"))
    logged(unharmed, range(3))
    logged(unharmed, range(3, 6), "late")
    assert (tmp_path / "metrics.csv").read_text() == (tmp_path / "unharmed" / "metrics.csv").read_text()
    assert resumed.state_dict()["rows"] == unharmed.state_dict()["rows"] == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:2])),
        lambda path: path.write_bytes(path.read_bytes()[:20] + b"\xff\x00\x1b[31m\n" + path.read_bytes()[24:]),
        lambda path: path.write_text(""),
        lambda path: path.unlink(),
        lambda path: path.write_text("a,b\n1,2\n3,4\n5,6\n7,8\n"),
    ],
    ids=["shortened", "overwritten", "empty", "gone", "another"],
)
def test_metrics_csv__that_lost_rows_gets_them_back_from_the_checkpoint(damage, tmp_path, capsys):
    killed = CsvHistory(str(tmp_path))
    logged(killed, range(4))
    state, path = killed.state_dict(), tmp_path / "metrics.csv"
    whole = path.read_text()
    damage(path)
    CsvHistory(str(tmp_path)).load_state_dict(state)
    assert path.read_text() == whole
    said = capsys.readouterr().out
    assert "of 4 rows were lost or changed; they are back, from the checkpoint" in said
    CsvHistory(str(tmp_path)).load_state_dict(state)
    assert capsys.readouterr().out == ""  # all was there


def test_metrics_csv__that_lost_rows_for_good_is_said(tmp_path, capsys):
    logged(CsvHistory(str(tmp_path)), range(2))
    resumed = CsvHistory(str(tmp_path))
    resumed.load_state_dict({"rows": 5})  # of a checkpoint without a copy, as older versions wrote them
    assert "warning: " in (said := capsys.readouterr().out)
    assert "3 of the 5 rows that the checkpoint knows are lost" in said
    assert resumed.state_dict()["rows"] == 2


def test_metrics_csv__without_a_copy_in_the_checkpoint(tmp_path):
    logged(CsvHistory(str(tmp_path)), range(2))
    bomb = torch.frombuffer(bytearray(b"no zlib"), dtype=torch.uint8)
    resumed = CsvHistory(str(tmp_path))
    resumed.load_state_dict({"rows": 2, "copy": bomb})
    assert resumed.state_dict()["rows"] == 2


def test_metrics_csv__of_a_run_without_a_checkpoint_begins_anew(tmp_path):
    logged(CsvHistory(str(tmp_path)), range(3))
    again = CsvHistory(str(tmp_path))
    again.load_state_dict({"rows": 0})
    logged(again, range(1))
    assert [row["step"] for row in read(tmp_path)] == ["0"]


def test_metrics_csv__of_a_run_begun_from_another_ones_checkpoint_counts_its_own_rows(tmp_path):
    logger = CsvHistory(str(tmp_path))
    logger.load_state_dict({"rows": 8})  # of that other run
    logged(logger, range(3))
    assert logger.state_dict()["rows"] == 3


def test_metrics_csv__survives_a_crash_while_its_header_grows(tmp_path, monkeypatch):
    logger = CsvHistory(str(tmp_path))
    logged(logger, range(3))
    before = (tmp_path / "metrics.csv").read_text()

    class Crash(BaseException):
        pass

    def crash(self, target):
        raise Crash

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(Crash):
        logged(logger, range(3, 4), "late")
    assert (tmp_path / "metrics.csv").read_text() == before


def test_wandb_file__is_read_while_it_grows_and_where_a_kill_has_cut_it(tmp_path):
    import wandb

    with wandb.init(dir=tmp_path, mode="offline", settings=wandb.Settings(silent=True)) as run:
        for step in range(300):
            run.log({"value": "x" * 300}, step=step, commit=True)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    while not any(record.HasField("exit") for record in read_records(path)):
        time.sleep(0.1)  # W&B may write the end a moment after it said that it had finished
    content, steps = path.read_bytes(), []
    assert len(content) > 3 * 32768  # some records lie over the edge of a block
    growing = WandbFile(tmp_path / "growing.wandb")
    for end in [*range(7, len(content), 5000), len(content)]:
        growing.path.write_bytes(content[:end])
        steps += [record.history.step.num for record in growing.new() if record.HasField("history")]
    assert steps == list(range(300))
    assert steps == [record.history.step.num for record in read_records(path) if record.HasField("history")]
