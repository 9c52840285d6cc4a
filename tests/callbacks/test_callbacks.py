"""Files are written whole, speed is measured, pictures show what they say."""

import io
from types import SimpleNamespace

import pytest
import torch

from dotcom.callbacks import PredictionGrid, Progress, Throughput, WholeFiles
from dotcom.callbacks.pictures import draw_grid


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


def test_progress__tells_the_time_left(monkeypatch):
    monkeypatch.setattr("dotcom.callbacks.progress.time.perf_counter", lambda: 100.0)
    progress = Progress()
    progress.started, progress.first_epoch = 40.0, 2
    trainer = SimpleNamespace(max_epochs=10)
    assert progress.time_left(trainer, 4) == "0:03:00"  # two epochs took a minute, six are left
    assert progress.time_left(trainer, 2) == "-"


def test_grid__keeps_the_first_images_with_truth_and_prediction(tmp_path):
    grid = PredictionGrid(str(tmp_path), images=3)
    trainer = SimpleNamespace(is_global_zero=True)
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    for _ in range(2):
        grid.on_validation_batch_end(trainer, None, logits, (torch.zeros(2, 3, 8, 8), torch.tensor([0, 0])), 0)
    assert [(true, guess) for _, true, guess, _ in grid.seen] == [(0, 0), (0, 1), (0, 0)]


def test_grid__writes_predicted_and_true_class_on_the_image():
    seen = [(torch.zeros(3, 8, 8), 0, 0, 0.9), (torch.ones(3, 8, 8), 0, 1, 0.6)]
    figure = draw_grid(seen, ["bag", "coat"], torch.zeros(3), torch.ones(3))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["bag 90%", "coat 60%\nis bag"]
    shades = [axes.images[0].get_array().mean() for axes in figure.axes]
    assert shades == [0.0, 1.0]
    figure.savefig(io.BytesIO())
