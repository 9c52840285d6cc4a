"""The endurance test itself: a few minutes of it here, hours of it by hand."""

import json
import random
import sys

import pytest

from dotcom import endurance
from dotcom.endurance import Endurance, Trouble, compare, damage, first_difference, main, settings

pytestmark = pytest.mark.slow


def test_endurance__two_rounds_lose_nothing(tmp_path, monkeypatch):
    """One of a single run and one of a sweep, on data that are read in no time."""
    shorter = tuple("epochs=3" if word.startswith("epochs=") else word for word in endurance.SETTINGS)
    monkeypatch.setattr(endurance, "SETTINGS", shorter)
    for name, value in (("MOST_HARM", 2), ("EARLY", 0), ("MOST_ROWS", 1)):  # so that each round has a kill
        monkeypatch.setattr(endurance, name, value)
    trial = Endurance(tmp_path, seed=0)
    for number, kind in enumerate((trial.single, trial.sweep)):
        place = tmp_path / f"round-{number}"
        place.mkdir()
        kind(random.Random(number), place, "classification")
    assert endurance.kills(trial.counts) >= 2, trial.counts


def test_endurance__says_what_was_lost_and_how_to_try_it_again(tmp_path, monkeypatch, capsys):
    def lose(self: Endurance, number: int) -> str:
        if number == 0:
            self.counts["kills: single run, SIGKILL"] += 1
            return "single detection"
        raise Trouble("metrics.csv has 3 rows, expected 4, or other values")

    monkeypatch.setattr(Endurance, "round", lose)
    monkeypatch.setattr(sys, "argv", ["endurance", "--seed=7", f"--folder={tmp_path}", f"--out={tmp_path / 'o.json'}"])
    assert main() == 1
    said = capsys.readouterr().out
    assert "round 0: single detection, 1 kills so far" in said
    assert (
        "1 kills, round 1: metrics.csv has 3 rows, expected 4, or other values; again with --seed 7 --round 1" in said
    )
    assert json.loads((tmp_path / "o.json").read_text())["kills"] == 1


def test_difference__of_two_checkpoints_is_found():
    import torch

    one = {"state_dict": {"a": torch.ones(2)}, "config": {"x": 1}, "ema": [1.0, float("nan")]}
    same = {"state_dict": {"a": torch.ones(2)}, "config": {"x": 2}, "ema": [1.0, float("nan")]}
    assert first_difference(one, same) is None
    assert first_difference(one, same | {"state_dict": {"a": torch.tensor([1.0, 1.0 + 1e-7])}}) == "/state_dict/a"
    assert first_difference(one, same | {"ema": [1.0, 0.0]}) == "/ema/1"
    assert first_difference(one, same | {"more": 1}) == ""


def test_run__that_is_not_done_or_lacks_rows_is_trouble(tmp_path):
    for name, state, rows in (
        ("one", "done", "step,x\n0,1\n"),
        ("two", "done", "step,x\n0,2\n"),
        ("three", "failed", ""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"state": state}))
        (tmp_path / name / "metrics.csv").write_text(rows)
    for name, said in (
        ("two", "metrics.csv has 1 rows, expected 1, or other values"),
        ("three", "run.json says failed"),
    ):
        with pytest.raises(Trouble, match=said):
            compare(tmp_path / name, tmp_path / "one")


def test_damage__changes_a_file(tmp_path):
    path = tmp_path / "last.ckpt"
    for seed in range(20):
        path.write_bytes(bytes(1000))
        damage(path, random.Random(seed))
        assert path.read_bytes() != bytes(1000)
    assert settings("detection", "seed=3", "hardware=ddp_cpu").count("hardware=ddp_cpu") == 1
