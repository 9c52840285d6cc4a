"""A warning is one line, and said once, by whichever check of the data and however many processes."""

import os
import subprocess
import sys

from dotcom.warned import one_line
from files import make_coco, make_masks

CODE = """
import warnings
from dotcom.annotations.coco import coco_classes
from dotcom.data import coco_format, image_masks
from dotcom.annotations.masks import mask_classes
from dotcom.errors import one_line_errors

splits, files = ({split: split + end for split in ("train", "val")} for end in ("", ".json"))
with one_line_errors():
    coco_classes("coco", splits, files)
    mask_classes("flat")
    warnings.filterwarnings("ignore", "something else")  # after which Python forgets what it has said
    for _ in range(2):
        coco_format("train", "coco", None, splits, files)
        image_masks("train", "flat", None, 3)
"""


def test_warning__of_two_checks_is_said_once(tmp_path):
    make_masks(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / "flat" / kind).parent.mkdir(exist_ok=True)
        (tmp_path / "masks" / "train" / kind).rename(tmp_path / "flat" / kind)
    annotations = make_coco(tmp_path) / "train.json"
    annotations.write_text(annotations.read_text().replace("[10, 8, 30, 20]", "[10, 8, 300, 200]"))
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    crowds = [line for line in lines if " do not count, because they have iscrowd=1" in line]
    assert len(crowds) == 2  # one of each split
    boxes, split = sorted(set(lines) - set(crowds))
    assert len(lines) == 4
    assert boxes.startswith("warning: data.dataset.annotations.train=train.json: 3 boxes reach beyond their image")
    assert split.startswith("warning: data.root=flat: it has no folders train and val; 1 of 4 images")
    assert done.returncode == 0


def test_warning__about_a_setting_is_for_the_first_process_to_say(monkeypatch):
    monkeypatch.setattr("dotcom.warned.shown", set())
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert one_line(UserWarning("data.root=x: it has no folders")) == ""
    assert one_line("skipped unreadable image a=b.jpg") == "warning: skipped unreadable image a=b.jpg\n"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert one_line("data.root=x: it has no folders") == "warning: data.root=x: it has no folders\n"
    assert one_line("data.root=x: it has no folders") == ""
