"""Shards are read as the folder they came from: from this machine or from an object store, to the same bits."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from moto.server import ThreadedMotoServer
from omegaconf.errors import OmegaConfBaseException
from test_prepare import prepared

from dotcom import object_store, stores
from dotcom.annotations import folders
from dotcom.data.checkpoint import data_of
from dotcom.data.preflight import read_image
from dotcom.data.streaming import Shards
from dotcom.errors import UsageError, explain
from files import make_coco, make_masks
from test_checked import asked
from test_resume import run

CHOICES = {"image_folder": None, "coco_format": make_coco, "image_masks": make_masks}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(stores, "PAUSES", (0.01, 0.02))


@pytest.fixture(scope="module")
def sources(tmp_path_factory, make_photos) -> dict[str, Path]:
    """Originals by the choice of data."""
    parent = tmp_path_factory.mktemp("sources")
    return {name: (make or make_photos)(parent) for name, make in CHOICES.items()}


@pytest.fixture(scope="module")
def shards(sources, tmp_path_factory) -> dict[str, Path]:
    """The same as shards of three images."""
    parent = tmp_path_factory.mktemp("shards")
    form = ("--shards", "--shard-images=3")
    prepared("image_folder", sources["image_folder"], parent / "other", *form, "--side=32")
    return {name: prepared(name, root, parent / name, *form, "--side=64") for name, root in sources.items()}


@pytest.fixture(scope="module")
def server():
    """An object store on this machine."""
    settings = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (settings | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
            patch.setenv(name, value)
        object_store._client.cache_clear()
        object_store.client().create_bucket(Bucket="bucket")
        yield
    running.stop()
    object_store._client.cache_clear()


def uploaded(folder: Path, name: str) -> str:
    """The address of a copy."""
    for path in folder.rglob("*"):
        if path.is_file():
            object_store.client().upload_file(str(path), "bucket", f"{name}/{path.relative_to(folder)}")
    return f"s3://bucket/{name}"


def data(choice: str, root: object, **changes):
    """A DataModule, as train.py makes it."""
    config = asked(f"data={choice} image_size=64 hardware=cpu data.batch_size=2 data.root={root}")
    made = data_of(config, **changes)
    made.setup("fit")
    return made


def batches(made, split: str) -> list:
    return list(made.train_dataloader() if split == "train" else made.val_dataloader())


def flat(value) -> list[torch.Tensor]:
    """All tensors in a batch."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for key in sorted(value) for tensor in flat(value[key])]
    return [tensor for part in value for tensor in flat(part)] if isinstance(value, list | tuple) else []


def same(one, other, within: float = 0.0) -> bool:
    pairs = list(zip(flat(one), flat(other), strict=True))
    return all(a.shape == b.shape and torch.allclose(a.double(), b.double(), 0, within) for a, b in pairs)


@pytest.mark.parametrize("choice", CHOICES)
def test_shards__hold_the_samples_of_the_prepared_folder(choice, sources, shards, tmp_path):
    folder = data(choice, prepared(choice, sources[choice], tmp_path / "folder", "--side=64"))
    streams = data(choice, shards[choice])
    assert streams.classes == folder.classes
    assert same(batches(streams, "val"), batches(folder, "val"))
    train = {split.datasets["train"]: split for split in (folder, streams)}
    for dataset in train:
        dataset.transform = lambda *sample: sample if len(sample) > 1 else sample[0]
    kept = [flat(dataset[index]) for dataset in train for index in range(len(dataset))]
    half = len(kept) // 2
    assert all(any(same(one, other, 1e-3) for other in kept[half:]) for one in kept[:half])
    assert len(kept) == 2 * half


def test_litdata__reads_our_shards(shards):
    litdata = pytest.importorskip("litdata")
    found = {item["name"]: item for item in litdata.StreamingDataset(str(shards["image_folder"] / "train"))}
    assert len(found) == 8
    item = found["train/light/0.jpg"]
    assert item["target"] == b"1"
    assert read_image(bytes(item["image"])).shape == (3, 64, 85)


def test_stream_from_s3__is_that_of_the_folder_and_goes_on_with_other_workers(shards, server, tmp_path):
    local = batches(data("image_folder", shards["image_folder"]), "train")
    root = uploaded(shards["image_folder"], "photos")
    assert same(batches(data("image_folder", root), "train"), local)
    stopped = data("image_folder", root, num_workers=2).train_dataloader()
    first = next(batches_of := iter(stopped))
    resumed = data("image_folder", root, num_workers=1).train_dataloader()
    resumed.load_state_dict(stopped.state_dict())
    assert same([first, *resumed], local)
    del batches_of
    kept = [path for path in (tmp_path / "cache/shards").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(kept) == 3  # of train; those of val were not asked for


def test_run_from_s3__records_what_was_prepared_and_resumes(shards, server, tmp_path, capsys):
    root, folder = uploaded(shards["image_folder"], "run"), tmp_path / "run"

    def line(more: str) -> str:
        return f"data=image_folder data.root={root} image_size=64 hardware=cpu output_dir={folder} {more}"

    run(asked(line("epochs=1 data.batch_size=2")))
    said = capsys.readouterr().out
    assert "4 validation images" in said
    assert "loading with 0 workers, 1 thread to train with; 1 of" in said
    record = json.loads((folder / "run.json").read_text())
    facts = json.loads((shards["image_folder"] / "prepared.json").read_text())
    assert record["config"]["data"]["prepared"] == {
        key: facts[key] for key in ("form", "data", "side", "quality", "images", "digest")
    }
    run(asked(line("epochs=2 data.batch_size=2 data.num_workers=1 resume=true")))
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 1
    other = uploaded(shards["coco_format"].parent / "other", "other")
    with pytest.raises(UsageError, match=r"it holds data.prepared.*add data.root=s3://bucket/run"):
        asked(line("epochs=2 data.batch_size=2 resume=true").replace(root, other))


def test_damaged_shard__is_named_and_tried_again_then_fails(shards, tmp_path):
    root = Path(shutil.copytree(shards["image_folder"], tmp_path / "copy"))
    shard = root / "val/shard-00001.bin"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    said = (
        rf"^{root}/val/shard-00001.bin: its sha256 is .*, not .*, in 3 tries; expected the file that .* wrote; copy it"
    )
    with pytest.warns(UserWarning, match="trying again in 0.0"), pytest.raises(UsageError, match=said):
        batches(data("image_folder", root), "val")
    shard.unlink()
    with pytest.raises(UsageError, match=r"shard-00001.bin: it is missing, in 3 tries") as lost:
        batches(data("image_folder", root, num_workers=1), "val")
    assert "\n" not in str(lost.value)  # though it was a loader process that failed


def test_shard_that_comes_back__is_used(shards, tmp_path, monkeypatch):
    root = Path(shutil.copytree(shards["image_folder"], tmp_path / "copy"))
    shard, aside = root / "val/shard-00000.bin", tmp_path / "aside"
    shard.rename(aside)
    monkeypatch.setattr(stores.time, "sleep", lambda seconds: aside.exists() and aside.rename(shard))
    with pytest.warns(UserWarning, match="shard-00000.bin: it is missing; trying again"):
        assert len(batches(data("image_folder", root), "val")) == 2


def test_damaged_object__is_not_kept(shards, server, tmp_path):
    root = uploaded(shards["image_folder"], "damaged")
    name = Shards(root, "train").shards[0]["name"]
    object_store.client().put_object(Bucket="bucket", Key=f"damaged/{name}", Body=b"half")
    with (
        pytest.warns(UserWarning, match="again"),
        pytest.raises(UsageError, match=rf"{name}: it has 4 bytes, not .*, in 3 tries"),
    ):
        batches(data("image_folder", root), "train")
    facts = Shards(root, "train").shards[0]
    assert not (tmp_path / "cache/shards" / facts["sha256"][:2] / facts["sha256"]).exists()


def test_disk_with_room_for_two_shards__shows_the_whole_set_twice(shards, server, tmp_path, monkeypatch):
    root, kept = uploaded(shards["image_folder"], "small"), tmp_path / "cache/shards"
    sizes = [shard["bytes"] for shard in Shards(root, "train").shards]
    most = 0

    def disk_usage(folder: Path) -> SimpleNamespace:
        nonlocal most
        used = sum(path.stat().st_size for path in kept.glob("*/*"))
        most = max(most, used)
        return SimpleNamespace(free=2 * max(sizes) - used)

    monkeypatch.setattr(stores, "SPARE", 0)
    monkeypatch.setattr(stores.shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(Shards, "ahead", lambda self, shards: None)
    near, far = (Shards(place, "train") for place in (str(shards["image_folder"]), root))
    assert len(sizes) == 3
    for _ in range(2):
        assert [far.item(index) for index in range(len(far))] == [near.item(index) for index in range(len(far))]
    assert 0 < most <= 2 * max(sizes)


def test_disk_without_room_for_one__is_named_and_keeps_what_it_has(shards, server, tmp_path, monkeypatch):
    far = Shards(uploaded(shards["image_folder"], "full"), "train")
    far.item(0)
    before = set((tmp_path / "cache/shards").glob("*/*"))
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda folder: SimpleNamespace(free=-(2**40)))
    with pytest.raises(UsageError, match=rf"^{tmp_path}/cache/shards: no room for train/shard-0000.*XDG_CACHE_HOME"):
        far.item(len(far) - 1)
    assert before <= set((tmp_path / "cache/shards").glob("*/*"))


def refusal(line: str) -> str:
    """The one line that answers a mistake."""
    with pytest.raises((UsageError, OmegaConfBaseException)) as raised:
        asked(line)
    return str(explain(raised.value))


def test_address__without_shards_is_refused_in_one_line(server, sources, tmp_path):
    said = refusal("data=image_folder data.root=s3://bucket/none")
    assert said.startswith("data.root=s3://bucket/none: no prepared.json; expected what python -m dotcom.data.prepare")
    said = refusal("data=imagenet data.root=s3://elsewhere/none")
    assert all(
        part in said for part in ("data.root=s3://elsewhere/none: ", "NoSuchBucket", "AWS_ENDPOINT_URL (http://")
    )
    root = prepared("image_folder", sources["image_folder"], tmp_path / "folder", "--side=64")
    assert "single files, which cannot be streamed" in refusal(f"data=imagenet data.root={uploaded(root, 'folder')}")


def test_shards__of_another_task_are_refused(shards):
    said = r"prepared from data=coco_format and holds boxes; expected data=coco_format"
    with pytest.raises(UsageError, match=said):
        asked(f"data=image_folder data.root={shards['coco_format']}")
