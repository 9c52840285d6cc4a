"""Files are written whole, speed is measured, detections are handed in as COCO wants them, a backbone waits."""

import contextlib
import io
import json
import resource
import time
from functools import partial
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.utils.data import DataLoader

from dotcom.callbacks import CocoResults, FrozenBackbone, Progress, Throughput, WholeFiles
from dotcom.data import coco_format, resize_boxes
from dotcom.optim import constant
from dotcom.tasks import Classification
from files import make_coco
from runs import trainer


def test_whole_files__survive_a_crash_while_saving(tmp_path, monkeypatch):
    path = tmp_path / "run" / "last.ckpt"
    WholeFiles().save_checkpoint({"epoch": 1}, path)

    def full_disk(checkpoint, file):
        file.write(b"half a checkpoint")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        WholeFiles().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_whole_files__outlive_a_full_disk(tmp_path):
    path, io = tmp_path / "last.ckpt", WholeFiles()
    io.save_checkpoint({"epoch": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.warns(UserWarning, match=rf"{path}: not saved, File too large; the one from before is kept"):
            io.save_checkpoint({"epoch": 2, "weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(io.unsaved) == [str(path)]
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    io.save_checkpoint({"epoch": 3}, path)
    assert not io.unsaved


@pytest.mark.parametrize(("images_left", "speed"), [(6, 3.0), (0, 1.5)])  # 6 images in 2 s; else 6 in 4 s, before
def test_throughput__of_a_resumed_epoch_is_that_of_this_process(monkeypatch, images_left, speed):
    clock = iter([10.0, 14.0, 100.0, 102.0])
    monkeypatch.setattr("dotcom.callbacks.throughput.time.perf_counter", lambda: next(clock))
    logged = {}
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    trainer, batch = SimpleNamespace(world_size=1), (torch.zeros(6, 3), None)
    killed, resumed = Throughput(), Throughput()
    killed.on_train_epoch_start(trainer, module)
    killed.on_train_batch_end(trainer, module, None, batch, 0)
    resumed.load_state_dict(killed.state_dict())
    resumed.on_train_start(trainer, module)
    if images_left:
        resumed.on_train_batch_end(trainer, module, None, batch, 1)
    resumed.on_train_epoch_end(trainer, module)
    assert logged == {"images/s": speed}


def test_throughput__is_images_over_seconds(monkeypatch):
    clock = iter([10.0, 11.0, 14.0])
    monkeypatch.setattr("dotcom.callbacks.throughput.time.perf_counter", lambda: next(clock))
    logged = {}
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    trainer, callback = SimpleNamespace(world_size=2), Throughput()
    callback.on_train_epoch_start(trainer, module)
    for _ in range(2):
        callback.on_train_batch_end(trainer, module, None, (torch.zeros(6, 3), None), 0)
    callback.on_train_epoch_end(trainer, module)
    assert logged == {"images/s": 6.0}  # 2 batches x 6 images x 2 processes in 4 seconds


def test_progress__tells_the_time_left(monkeypatch, tmp_path):
    monkeypatch.setattr("dotcom.callbacks.progress.time.perf_counter", lambda: 100.0)
    progress = Progress(str(tmp_path))
    progress.started, progress.first_epoch = 40.0, 2
    trainer = SimpleNamespace(max_epochs=10)
    assert progress.time_left(trainer, 4) == "0:03:00"  # two epochs took a minute, six are left
    assert progress.time_left(trainer, 2) == "-"


def test_progress__is_there_for_programs(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("dotcom.callbacks.progress.PAUSE", 60.0)  # longer than this takes on any machine
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batches = DataLoader(list(zip(images, torch.tensor([0, 1, 2, 0]), strict=True)), batch_size=2)
    task = Classification(classifier, partial(torch.optim.AdamW, lr=1e-2), constant, num_classes=3)
    best = ModelCheckpoint(tmp_path, monitor="val/top1", mode="max")
    states = []

    class Look(L.Callback):
        def on_train_batch_end(self, *args) -> None:
            states.append(json.loads((tmp_path / "progress.json").read_text()))

    run = trainer(tmp_path, max_epochs=2, enable_checkpointing=True, enable_progress_bar=True)
    run.callbacks[:] = [Progress(str(tmp_path)), Look(), best]
    run.fit(task, batches, batches)
    assert [state["epoch"] for state in states] == [0.5, 0.5, 1, 1]  # not more often than that
    assert states[0] | {"updated": 0, "left": 0} == {
        "epoch": 0.5,
        "epochs": 2,
        "step": 1,
        "score": None,
        "left": 0,
        "updated": 0,
    }
    last = json.loads((tmp_path / "progress.json").read_text())
    assert (last["epoch"], last["step"], last["left"]) == (2, 4, 0)
    assert last["score"] == float(best.best_model_score)
    assert abs(last["updated"] - time.time()) < 60


def run_results(callback: CocoResults, dataset, found: list, fn: str) -> None:
    """One validation in two batches, in which ``found`` was detected."""
    data = SimpleNamespace(datasets={"val": dataset})
    trainer = SimpleNamespace(state=SimpleNamespace(fn=fn), datamodule=data, world_size=1, is_global_zero=True)
    callback.on_validation_epoch_start(trainer, None)
    for index, output in enumerate(found):
        callback.on_validation_batch_end(trainer, None, [output], (None, [dataset[index][1]]), index)
    callback.on_validation_epoch_end(trainer, None)


@pytest.fixture
def coco_val(tmp_path):
    """The val split of a COCO file, resized so that a mix-up of resized and original pixels would show."""
    splits = {"train": "train", "val": "val"}
    files = {"train": "train.json", "val": "val.json"}
    root = str(make_coco(tmp_path))
    return coco_format(split="val", transform=resize_boxes(64), root=root, images=splits, annotations=files)


def perfect(target) -> dict[str, torch.Tensor]:
    """What a network that finds every single object, and no crowd, returns."""
    single = target["iscrowd"] == 0
    labels = target["labels"][single]
    return {"boxes": target["original"][single], "labels": labels, "scores": torch.ones(len(labels))}


def test_results__are_what_pycocotools_calls_perfect(tmp_path, coco_val):
    callback = CocoResults(str(tmp_path))
    run_results(callback, coco_val, [perfect(coco_val[index][1]) for index in range(2)], fn="validate")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "coco" / "val.json"))
        judge = COCOeval(truth, truth.loadRes(str(tmp_path / "predictions.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_results__have_the_ids_of_the_file_and_width_and_height(tmp_path, coco_val):
    found = {"boxes": torch.tensor([[1.0, 2.0, 11.0, 32.126]]), "labels": torch.tensor([1])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "scores": torch.zeros(0)}
    callback = CocoResults(str(tmp_path))
    for _ in range(2):  # the second validation starts anew
        run_results(callback, coco_val, [nothing, found | {"scores": torch.tensor([0.123456])}], fn="validate")
    (entry,) = json.loads((tmp_path / "predictions.json").read_text())
    assert entry == {"image_id": 20, "category_id": 7, "bbox": [1, 2, 10, 30.13], "score": 0.12346}


def test_results__are_not_written_while_training(tmp_path, coco_val):
    run_results(CocoResults(str(tmp_path)), coco_val, [perfect(coco_val[0][1])], fn="fit")
    assert not (tmp_path / "predictions.json").exists()


class Watch(L.Callback):
    """Keeps the state of the network after each epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.model.state_dict().items()})


@pytest.mark.parametrize("frozen", [0, 2])
def test_frozen_backbone__keeps_weights_and_statistics_then_lets_go(classifier, tmp_path, frozen):
    begin = {name: value.clone() for name, value in classifier.state_dict().items()}
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batches = DataLoader(list(zip(images, torch.tensor([0, 1, 2, 0]), strict=True)), batch_size=2)
    task = Classification(classifier, partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1), constant, num_classes=3)
    watch = Watch()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[FrozenBackbone(frozen), watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, batches, batches)  # validation in between must not wake the statistics
    for epoch, (before, after) in enumerate(zip([begin, *watch.states], watch.states, strict=False)):
        kept = {name for name in begin if torch.equal(before[name], after[name])}
        backbone = {name for name in begin if name.startswith("backbone.")}
        if epoch < frozen:
            assert backbone == kept, "the head learns, the backbone does not"
        else:
            assert any(name.endswith("running_mean") for name in backbone - kept)
            assert any(name.endswith("weight") for name in backbone - kept)
            assert not {name for name in backbone & kept if name.endswith("running_mean")}
