"""The dashboard of W&B over real runs: all that it names is in their files, and all that they should log is shown."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from experiments.dashboard import main
from experiments.formats import markdown
from experiments.study import read_study

from files import make_coco, make_masks
from wandb_jobs import finish, read
from wandb_specification import every, named

pytestmark = pytest.mark.slow


def check_dashboard(
    folder: Path, runs: list[SimpleNamespace], capsys: pytest.CaptureFixture[str], absent: tuple[str, ...] = ()
) -> set[str]:
    """Both parts name what was logged, and only ``absent`` is reported as missing; returns the names."""
    main([str(folder)])
    reported = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no run logged")]
    assert reported == [f"no run logged {name}: no panel for it" for name in absent]
    logged = {name for run in runs for row in run.rows for name in row}
    parts = [json.loads((folder / f"dashboard/{name}.json").read_text()) for name in ("workspace", "report")]
    workspace, report = map(named, parts)
    assert workspace == report <= logged
    return workspace


@pytest.mark.parametrize(
    ("data", "make", "monitor", "absent"),
    [
        ("coco_format", make_coco, "val/map", ("val/map_medium", "val/map_large")),  # there are no such objects
        ("image_masks", make_masks, "val/miou", ()),
    ],
)
def test_dashboard__names_what_the_other_tasks_log(tmp_path, capsys, data, make, monitor, absent):
    where = [f"data={data}", f"data.root={make(tmp_path)}", f"hydra.run.dir={tmp_path / 'sweep/job'}"]
    finish(tmp_path, *where, "data.batch_size=2", "epochs=1", "sweep=mini")
    runs = [read(path) for path in tmp_path.glob("sweep/job/wandb/offline-run-*/run-*.wandb")]
    shown = check_dashboard(tmp_path / "sweep", runs, capsys, absent)
    assert {monitor, "val/overlays", "val/predictions"} <= shown
    assert ("val/confusion_table" in shown) == (monitor == "val/miou")


def test_launcher__gives_each_job_its_run_and_the_dashboard_its_table(tmp_path, make_photos, capsys):
    make_photos(tmp_path)
    finish(tmp_path, "-m", "co_bias=true,false", "seed=0,1", "epochs=1", "slots=2", "hydra.sweep.dir=runs/sweep/real")
    jobs = [read(path) for path in tmp_path.glob("runs/sweep/real/*/wandb/offline-run-*/run-*.wandb")]
    assert len({job.run.run_id for job in jobs}) == len(jobs) == 4
    assert {job.run.run_group for job in jobs} == {"real"}
    assert sorted(job.config["arm"] for job in jobs) == ["co_bias=false"] * 2 + ["co_bias=true"] * 2
    for job in jobs:
        assert json.loads((job.path.parents[2] / "run.json").read_text())["fingerprint"] == job.run.run_id[:8]
    shown = check_dashboard(tmp_path / "runs/sweep/real", jobs, capsys)
    assert {"train/loss", "val/top1", "lr", "images/s", "val/predictions", "val/confusion_table"} <= shown
    assert {"grad_norm/head", "co_bias/stages.2.2/bias_in", "activations/stages.2.2/after"} <= shown
    assert "val/overlays" not in shown
    table = markdown(read_study([tmp_path / "runs/sweep/real"]))
    assert "| co_bias=false | 2 |" in table
    folder = tmp_path / "runs/sweep/real/dashboard"
    workspace, report = (json.loads((folder / f"{name}.json").read_text()) for name in ("workspace", "report"))
    assert table in every(workspace, "value")
    assert table in every(report, "content")
