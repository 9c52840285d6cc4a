"""Preparing makes images small once, says what it did, and goes on after whatever stopped it."""

import errno
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from conftest import REPO
from dotcom.annotations.coco import read_coco
from dotcom.data import preparation
from dotcom.data.coco_scaled import annotation_scaled
from dotcom.data.preparation import prepare
from dotcom.data.prepare import checked, options_of
from dotcom.data.verification import verify
from dotcom.errors import UsageError, explain
from dotcom.fingerprint import fingerprint
from dotcom.prepared import read_prepared
from dotcom.resume import own_settings
from files import make_coco, make_masks
from test_checked import asked
from test_conf import composed


def prepared(choice: str, root: Path, out: Path, *more: str) -> Path:
    """What the command makes, in this process."""
    options = options_of([f"data={choice}", f"data.root={root}", "--out", str(out), *more])
    prepare(checked(options), options)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """All files by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def originals(tmp_path) -> Path:
    """2 classes; in each a photo of 120x90, a small one, a large PNG and a small one."""
    root = tmp_path / "originals"
    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            photo = Image.fromarray(np.arange(120, dtype=np.uint8)[None, :, None].repeat(90, 0).repeat(3, 2))
            photo.save(folder / "large.jpg")
            photo.crop((0, 0, 60, 50)).save(folder / "small.JPEG")
            photo.save(folder / "large.png")
            Image.new("RGB", (40, 50), (1, 2, 3)).save(folder / "tiny.png")
    return root


def test_images__become_small_jpegs_and_small_ones_keep_every_byte(originals, tmp_path):
    out = prepared("image_folder", originals, tmp_path / "out", "--side=64")
    sizes = {}
    for path in sorted((out / "train/a").iterdir()):
        with Image.open(path) as image:
            sizes[path.name] = (image.format, image.size)
    assert sizes == {
        "large.jpg": ("JPEG", (85, 64)),
        "large.png.jpg": ("JPEG", (85, 64)),  # large.jpg is another image
        "small.JPEG": ("JPEG", (60, 50)),
        "tiny.png": ("PNG", (40, 50)),
    }
    for name in ("small.JPEG", "tiny.png"):
        assert (out / "train/a" / name).read_bytes() == (originals / "train/a" / name).read_bytes()
    pixels = np.asarray(Image.open(out / "train/a/large.jpg")).astype(int)
    assert abs(pixels[32, :, 0] - np.linspace(0, 119, 85)).max() < 4


def test_preparation__is_recorded_and_part_of_the_fingerprint(originals, tmp_path):
    out = prepared("image_folder", originals, tmp_path / "out", "--side=64", "--quality=90")
    facts = json.loads((out / "prepared.json").read_text())
    assert (facts["side"], facts["quality"], facts["images"]) == (64, 90, {"train": 8, "val": 8})
    plain, noted = (asked(f"data=image_folder data.root={root}") for root in (originals, out))
    assert "prepared" not in plain["data"]
    assert noted["data"]["prepared"]["side"] == 64
    other = asked(f"data=image_folder data.root={prepared('image_folder', originals, tmp_path / 'b', '--side=80')}")
    assert len({fingerprint(config) for config in (plain, noted, other)}) == 3
    again = asked(f"data=image_folder data.root={out.rename(tmp_path / 'moved')}")
    assert fingerprint(again) == fingerprint(noted)
    assert "data.prepared.digest" in own_settings(plain)  # a run on prepared data does not go on with the originals


def test_unreadable_images__are_left_out_by_name_or_stop_it(originals, tmp_path):
    (originals / "train/a/large.jpg").write_text("no image")
    (originals / "train/b/tiny.png").write_bytes(b"")
    options = options_of(["data=image_folder", f"data.root={originals}", "--out", str(tmp_path / "out"), "--side=64"])
    said = prepare(checked(options), options)
    assert "6 + 8 images" in said
    assert "2 could not be read and are left out: train/a/large.jpg (" in said
    left = json.loads((tmp_path / "out/prepared.json").read_text())["left_out"]
    assert [name for name, _ in left] == ["train/a/large.jpg", "train/b/tiny.png"]
    with pytest.raises(UsageError, match=r"train/a/large.jpg: .*; without --strict it would be left out"):
        prepared("image_folder", originals, tmp_path / "strict", "--strict")


def test_boxes__follow_their_photos(tmp_path):
    root = make_coco(tmp_path)
    out = prepared("coco_format", root, tmp_path / "out", "--side=50")
    before, after = (json.loads((folder / "train.json").read_text()) for folder in (root, out))
    assert [(image["width"], image["height"]) for image in after["images"]] == [(64, 50), (50, 66), (64, 50), (50, 50)]
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        image = {entry["id"]: entry for entry in before["images"]}[old["image_id"]]
        small = {entry["id"]: entry for entry in after["images"]}[old["image_id"]]
        across, down = small["width"] / image["width"], small["height"] / image["height"]
        assert new["bbox"] == pytest.approx(np.array(old["bbox"]) * [across, down, across, down], abs=1e-3)
        assert new["area"] == pytest.approx(old["area"] * across * down, abs=1e-3)
    names = [name for name in contents(root) if name.startswith("val")]
    assert all((out / name).read_bytes() == (root / name).read_bytes() for name in names)  # measured in its own size
    assert asked(f"data=coco_format data.root={out}")["data"]["num_classes"] == 2


def test_exports__are_prepared_as_they_are(tmp_path):
    plain = make_coco(tmp_path)
    roboflow, single = tmp_path / "roboflow", tmp_path / "single"
    for split, folder in (("train", "train"), ("val", "valid")):
        shutil.copytree(plain / split, roboflow / folder)
        shutil.copy(plain / f"{split}.json", roboflow / folder / "_annotations.coco.json")
    shutil.copytree(plain / "train", single / "images")
    shutil.copy(plain / "train.json", single / "result.json")
    for root in (roboflow, single):
        out = prepared("coco_format", root, tmp_path / f"{root.name}_out", "--side=50")
        images = {"train": "train", "val": "val"}
        files = {split: f"{split}.json" for split in images}
        before, after = ([read_coco(str(place), images, files, split) for split in images] for place in (root, out))
        for old, new in zip(before, after, strict=True):
            assert [len(photo.boxes) for photo in old.photos] == [len(photo.boxes) for photo in new.photos]
            assert [photo.path.name for photo in old.photos] == [photo.path.name for photo in new.photos]
        assert min(after[0].photos[0].size) == 50
        shards = prepared("coco_format", root, tmp_path / f"{root.name}_shards", "--side=50", "--shards")
        assert read_prepared(str(shards))["images"] == {
            split: len(photos.photos) for split, photos in zip(images, before, strict=True)
        }


def test_ids_and_boxes__that_are_text_follow_their_photos(tmp_path):
    root = make_coco(tmp_path)
    content = json.loads((root / "train.json").read_text())
    for entry in content["images"]:
        entry["id"] = str(entry["id"])
    for entry in content["annotations"]:
        entry |= {"image_id": str(entry["image_id"]), "bbox": [str(side) for side in entry["bbox"]]}
    (root / "train.json").write_text(json.dumps(content))
    out = prepared("coco_format", root, tmp_path / "out", "--side=50")
    after = json.loads((out / "train.json").read_text())
    assert len(after["annotations"]) == len(content["annotations"])
    assert after["annotations"][0]["bbox"] == pytest.approx(
        [10 * 64 / 90, 8 * 50 / 70, 30 * 64 / 90, 20 * 50 / 70], abs=1e-3
    )


def test_outlines__follow_and_run_lengths_go():
    scaled = annotation_scaled({"bbox": [2, 4, 6, 8], "segmentation": [[2, 4, 6, 8]]}, 0.5, 0.25)
    assert scaled == {"bbox": [1, 1, 3, 2], "segmentation": [[1, 1, 3, 2]]}
    assert "segmentation" not in annotation_scaled({"bbox": [2, 4, 6, 8], "segmentation": {"counts": []}}, 0.5, 0.25)


def test_masks__stay_class_indices(tmp_path):
    root = make_masks(tmp_path)
    out = prepared("image_masks", root, tmp_path / "out", "--side=50")
    for name in ("0", "1", "2", "3"):
        with Image.open(out / f"train/images/{name}.jpg") as image, Image.open(out / f"train/masks/{name}.png") as mask:
            assert image.size == mask.size
            assert min(mask.size) == 50
            assert set(np.unique(np.asarray(mask))) == {0, 1, 2, 255}
    assert asked(f"data=image_masks data.root={out}")["data"]["num_classes"] == 3


made_of = preparation.made_of


def stuck(reached, limit: int, choice: str, root: Path, out: Path, *more: str) -> None:
    """Prepare, but say so and wait when an image more than the limit is asked for."""
    count = iter(range(1000))

    def slow(*args):
        if next(count) >= limit:
            reached.send(True)
            time.sleep(600)
        return made_of(*args)

    preparation.made_of, preparation.AT_ONCE = slow, 1  # in this process alone, which is about to die
    prepared(choice, root, out, *more)


@pytest.mark.parametrize("form", [[], ["--shards", "--shard-images=2"]])
def test_kill_9__costs_nothing_but_time(form, originals, tmp_path, monkeypatch):
    words = ["--side=64", "--workers=1", *form]
    unharmed = prepared("image_folder", originals, tmp_path / "unharmed", *words)
    out = tmp_path / "out"
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=stuck, args=(there, 5, "image_folder", originals, out, *words)
    )
    process.start()
    assert here.recv()  # after the fifth image
    process.kill()
    process.join()
    assert not (out / "prepared.json").exists()
    with pytest.raises(UsageError, match="its preparation is not finished; run the same command again"):
        read_prepared(str(out))
    with (out / "prepared.partial.jsonl").open("a") as journal:
        journal.write('{"key": "train/a/lar')  # a line that was cut short
    done = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".jpg", ".bin")}
    assert len(done) >= 2
    calls = []
    monkeypatch.setattr(preparation, "made_of", lambda *args: (calls.append(args), made_of(*args))[1])
    prepared("image_folder", originals, out, *words)
    assert len(calls) <= 16 - 4
    assert contents(out) == contents(unharmed)
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())


def test_full_disk__says_so_and_goes_on_later(originals, tmp_path, monkeypatch):
    def full(self, name, content):
        if "val/" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, name, content)

    write = preparation.Preparation._write
    monkeypatch.setattr(preparation.Preparation, "_write", full)
    monkeypatch.setattr(preparation, "AT_ONCE", 1)
    with pytest.raises(UsageError, match=r"out: No space left on device; 8 of 16 images are done; make room, then run"):
        prepared("image_folder", originals, tmp_path / "out", "--side=64", "--workers=1")
    monkeypatch.undo()
    prepared("image_folder", originals, tmp_path / "out", "--side=64")
    assert contents(tmp_path / "out") == contents(prepared("image_folder", originals, tmp_path / "b", "--side=64"))


def test_verify__names_what_changed(originals, tmp_path):
    out = prepared("image_folder", originals, tmp_path / "out", "--side=64")
    size = sum(len(content) for name, content in contents(out).items() if "/" in name)
    assert verify(out) == f"{out}: 16 files, {size:,} bytes, all as they were prepared"
    first, second = out / "train/a/large.jpg", out / "val/b/tiny.png"
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    second.unlink()
    shutil.copy(out / "val/b/large.jpg", out / "val/b/another.jpg")
    said = r"3 files are .* \(16\): train/a/large.jpg: its sha256 is .*; val/b/tiny.png: it is missing; "
    said += r"val/b/another.jpg: it was not prepared; copy"
    with pytest.raises(UsageError, match=said):
        verify(out)
    sums = {line.split("  ")[2]: line.split("  ")[0] for line in (out / "prepared.sha256").read_text().splitlines()}
    assert sums["val/a/tiny.png"] == hashlib.sha256((out / "val/a/tiny.png").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data=imagenet", "--out: expected a folder"),
        ("--out X", "data: expected data=CHOICE"),
        ("epochs=3 --out X", "epochs=3: expected data=CHOICE, data.KEY=VALUE or image_size=PIXELS"),
        ("data=cifar10 --out X", "data=cifar10: its images are small and lie in memory"),
        ("data=voc --out X", "data=voc: its photos have 500x375 pixels or less"),
        ("data=image_folder data.root=/none --out X", "data.root=/none: no such folder"),
        ("data=image_folder --quality 0 --out X", "--quality 0: expected a number from 1 to 100"),
        ("data=image_folder --workers 0 --out X", "--workers 0: expected a number above 0"),
        ("data=imagenet data.root=s3://a/b --out X", "data.root=s3://a/b: expected a local folder"),
        ("data=imagenet --out s3://a/b", "--out s3://a/b: expected a local folder; upload it afterwards"),
        ("data=imagenet --out train.py/X", "--out train.py/X: it is a file, or within one; expected a new or an empty"),
        ("data=imagenet --shard-images 5 --out X", "--shard-images 5: expected --shards with it"),
    ],
)
def test_mistakes__are_one_line(words, said, monkeypatch):
    monkeypatch.chdir(REPO)
    with pytest.raises((UsageError, OmegaConfBaseException)) as raised:
        checked(options_of(words.split()))
    line = explain(raised.value)
    assert line is not None
    assert "\n" not in line
    assert said in line


def test_other_settings_and_other_folders__are_refused(originals, tmp_path):
    out = prepared("image_folder", originals, tmp_path / "out", "--side=64")
    with pytest.raises(UsageError, match="prepared with side=64, not 80"):
        prepared("image_folder", originals, out, "--side=80")
    shards = prepared("image_folder", originals, tmp_path / "shards", "--shards", "--shard-images=5")
    with pytest.raises(UsageError, match="prepared with shard_images=5, not 1000"):
        prepared("image_folder", originals, shards, "--shards")
    shutil.copytree(originals, tmp_path / "others")
    (tmp_path / "others/train/a/tiny.png").rename(tmp_path / "others/train/a/other.png")
    with pytest.raises(UsageError, match=r"prepared from \S+/originals, when that held other images than \S+/others"):
        prepared("image_folder", tmp_path / "others", out, "--side=64")
    with pytest.raises(UsageError, match="prepared already, to 64 pixels; expected the originals"):
        prepared("image_folder", out, tmp_path / "again")
    with pytest.raises(UsageError, match="it holds train, val; expected a new or an empty folder"):
        prepared("image_folder", originals, originals)
    for inside in ("out", "train/out"):
        with pytest.raises(UsageError, match=r"it lies among the images of data.root=.*; expected it beside them"):
            prepared("image_folder", originals, originals / inside)
        assert not (originals / inside).exists()
    (out / "train/a/large.jpg").unlink()
    from dotcom.data.checkpoint import data_of

    with pytest.raises(
        UsageError, match=r"7 train images, but 8 were prepared; python -m dotcom.data.prepare --verify"
    ):
        data_of(asked(f"data=image_folder data.root={out}")).setup("fit")


def test_mistake__is_answered_before_torch_is_imported():
    code = "import sys; from dotcom.data.prepare import checked, options_of\ntry: checked(options_of(['data=cifar10', "
    code += "'--out', 'X']))\nexcept ValueError: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


PAGE = (REPO / "conf/data/README.md").read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^python (.*data=.*)$", PAGE, re.M))))
def test_command__of_the_page_works_as_written(command, photos, tmp_path):
    words = re.sub("data.root=[^ ]+", f"data.root={photos}", command).split()
    if words[0] == "train.py":
        assert composed(*words[1:]).task
    else:
        assert words[:2] == ["-m", "dotcom.data.prepare"]
        options = options_of(
            [word.replace("PREPARED", str(tmp_path)).replace("SHARDS", str(tmp_path)) for word in words[2:]]
        )
        assert checked(options)["root"] == str(photos)
