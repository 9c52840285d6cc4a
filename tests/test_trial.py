"""A trial tries all that a run does and is no result; a run cut short by its trainer's settings says what it lacks."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from experiments.records import load

from dotcom.config import checked
from dotcom.errors import UsageError
from dotcom.fingerprint import fingerprint
from dotcom.models import from_checkpoint
from dotcom.trial import check_saved
from files import make_coco, make_masks
from test_checked import asked
from test_conf import composed
from test_resume import run, settings

LINES = ("all was well", "trained ", "validated ", "pictures ", "checkpoint  best.ckpt read back", "export ")


def record(folder: Path) -> dict[str, Any]:
    """Of ``run.json``, which has to be JSON in the strict sense: no NaN."""
    return json.loads((folder / "run.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_trial__tries_all_phases_and_is_no_result(task, tmp_path, make_photos, capsys):
    make = {"classification": make_photos, "detection": make_coco, "segmentation": make_masks}[task]
    folder, root = tmp_path / "run", make(tmp_path)
    config = settings(task, root, folder, "smoke=true", "epochs=9")
    run(config)
    said = capsys.readouterr().out
    assert [line for line in LINES if line not in said] == []
    assert "epoch 2/" not in said
    assert {"best.ckpt", "last.ckpt", "predictions.png", "curves.png", "metrics.csv"} <= {
        f.name for f in folder.iterdir()
    }
    assert list(folder.glob("export/*.pt2"))
    facts = record(folder)
    assert (facts["state"], facts["smoke"]) == ("done", True)
    with pytest.raises(UsageError, match=r"a trial \(smoke=true\), no result; leave it out"):
        load([folder])
    with pytest.raises(UsageError, match=r"smoke=true hydra\.run\.dir=.*: expected a folder without a run"):
        settings(task, root, tmp_path / "again", "smoke=true", f"output_dir={folder}")

    read = from_checkpoint(folder / "best.ckpt", ema=False)
    check_saved(folder / "best.ckpt", SimpleNamespace(model=read))
    saved = torch.load(folder / "best.ckpt", weights_only=True)
    name = next(name for name in saved["state_dict"] if name.startswith("model.") and name.endswith(".weight"))
    saved["state_dict"][name][0] += 1
    torch.save(saved, folder / "other.ckpt")
    with pytest.raises(UsageError, match=f"it holds other values of {name.removeprefix('model.')}"):
        check_saved(folder / "other.ckpt", SimpleNamespace(model=read))


def test_trial__has_a_fingerprint_of_its_own_and_old_runs_keep_theirs():
    plain, trial = checked(composed(), composed()), asked("smoke=true logger=tensorboard")
    assert list(trial["logger"]) == ["csv"]  # W&B and its like are for results
    assert fingerprint(plain) != fingerprint(trial)
    assert fingerprint(plain) == fingerprint({key: value for key, value in plain.items() if key != "smoke"})


@pytest.mark.parametrize(
    ("task", "switch", "said", "best"),
    [
        ("classification", "+trainer.limit_val_batches=0", "no score was measured, and there is no best.ckpt (", False),
        ("classification", "+trainer.max_steps=1", "no best.ckpt: training ended before its first validation (", False),
        ("classification", "+trainer.limit_train_batches=0", "these scores are of the last weights", False),
        ("classification", "+trainer.overfit_batches=1", "2 validation images", True),
        ("detection", "+trainer.max_steps=1", "no best.ckpt: training ended before its first validation (", False),
        ("segmentation", "+trainer.limit_val_batches=0", "no score was measured", False),
    ],
)
def test_switch_of_the_trainer__ends_well(task, switch, said, best, tmp_path, make_photos, capsys):
    make = {"classification": make_photos, "detection": make_coco, "segmentation": make_masks}[task]
    folder, root = tmp_path / "run", make(tmp_path)
    run(settings(task, root, folder, switch))
    out, facts = capsys.readouterr(), record(folder)
    assert said in out.out
    assert "monitored key" not in out.err
    assert (folder / "best.ckpt").exists() == best
    assert facts["state"] == "done"
    assert (facts["score"] is None) == (facts["scores"] == {}) == ("limit_val" in switch)
    if "max_steps" in switch:
        run(settings(task, root, folder, "resume=true"))
        assert (folder / "best.ckpt").exists()
        assert record(folder)["score"] is not None
