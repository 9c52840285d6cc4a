"""A relative path is relative to the folder in which the user stands, wherever Hydra has gone."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from dotcom.paths import from_folder
from test_errors import watched

GIVEN = {"data": {"root": "photos"}, "weights": "a/best.ckpt", "ckpt_path": None, "teacher": "RUN/best.ckpt"}


def moved(start: Path, **changes: object) -> dict[str, object]:
    cfg = OmegaConf.create(GIVEN | changes)
    from_folder(cfg, start)
    return {"data.root": cfg.data.root} | {key: value for key, value in cfg.items() if key != "data"}


def test_path__stays_as_it_was_written_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert moved(tmp_path) == {"data.root": "photos"} | {key: GIVEN[key] for key in ("weights", "ckpt_path", "teacher")}


def test_path__becomes_absolute_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = tmp_path / "home"
    assert moved(start) == {
        "data.root": f"{start}/photos",
        "weights": f"{start}/a/best.ckpt",
        "ckpt_path": None,
        "teacher": f"{start}/RUN/best.ckpt",
    }
    others = moved(
        start, data={"root": "s3://bucket/shards"}, weights="timm", teacher="repvit_m1_0", ckpt_path="/a.ckpt"
    )
    assert list(others.values()) == ["s3://bucket/shards", "timm", "/a.ckpt", "repvit_m1_0"]


@pytest.mark.usefixtures("photos")
def test_command__finds_its_files_from_within_the_folder_of_the_run(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "foreign.ckpt")
    done = watched(tmp_path, "hydra.job.chdir=true", "data=image_folder", "data.root=photos", "ckpt_path=foreign.ckpt")
    assert done.stderr.startswith(f"error: ckpt_path={tmp_path}/foreign.ckpt: not a checkpoint of a dotcom run")
