"""hardware=auto takes the fastest safe settings of what is there."""

import mmap
import os
import subprocess
import sys

import pytest
import torch
import train as train_module

from dotcom import hardware
from test_resume import run, settings

FACTS = ("accelerator", "precision", "channels_last", "num_workers")


@pytest.mark.parametrize(
    ("gpus", "system", "machine", "expected"),
    [
        (2, "Linux", "x86_64", ("gpu", "bf16-mixed", True, 7)),
        (0, "Darwin", "arm64", ("mps", "32-true", False, 4)),
        (0, "Linux", "x86_64", ("cpu", "32-true", True, 0)),
    ],
)
def test_found__depends_on_the_machine(monkeypatch, gpus, system, machine, expected):
    monkeypatch.setattr(hardware, "gpus", lambda: gpus)
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    monkeypatch.setattr(hardware.platform, "system", lambda: system)
    monkeypatch.setattr(hardware.platform, "machine", lambda: machine)
    assert tuple(map(hardware.found, FACTS)) == expected


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("2,3", 2)])
def test_gpus__are_those_that_are_visible(monkeypatch, visible, count):
    monkeypatch.setattr(hardware, "torch_has_cuda", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpus() == count


def test_gpus__do_not_count_where_torch_cannot_use_them(monkeypatch):
    monkeypatch.setattr(hardware, "torch_has_cuda", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert hardware.gpus() == 0


def test_torch_has_cuda__agrees_with_torch():
    assert hardware.torch_has_cuda() is (torch.version.cuda is not None)


def test_cores__are_those_this_process_may_use():
    assert hardware.cores() >= 1


@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64, 200])
def test_loading__leaves_threads_and_workers_within_the_cores(cores, processes, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    chosen = hardware.Loading.chosen(hardware.loading_cores(processes), processes=processes, gpu=True)
    assert 0 <= chosen.workers <= 16
    assert chosen.torch_threads >= 1
    if processes <= cores:
        assert processes * (chosen.workers * chosen.worker_threads + chosen.torch_threads) <= cores


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"workers": 0}, "loading with 0 workers, 8 threads to train with; 8 of 8 cores"),
        ({"workers": 0, "most_threads": 1}, "loading with 0 workers, 1 thread to train with; 1 of 8 cores"),
        (
            {"workers": 7, "gpu": True},
            "loading with 7 workers with 1 thread and prefetch 2 each, pinned memory, 1 thread to train with; "
            "8 of 8 cores",
        ),
        (
            {"workers": 1, "gpu": True, "pin_memory": False, "worker_threads": 2},
            "loading with 1 worker with 2 threads and prefetch 4 each, 6 threads to train with; 8 of 8 cores",
        ),
        (
            {"workers": 4, "processes": 2, "prefetch": 3, "pin_memory": True},
            "loading with 4 workers with 1 thread and prefetch 3 each, 1 thread to train with; "
            "5 of 4 cores, more than there are",
        ),
    ],
)
def test_loading__is_said_in_one_line(asked, expected, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    assert str(hardware.Loading.chosen(**asked)) == expected


@pytest.mark.parametrize(("devices", "workers"), [(1, 7), (2, 3), ([0, 3], 3), ("auto", 1), (8, 0)])
def test_loader_processes__share_the_cores_among_the_devices(devices, workers, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    monkeypatch.setattr(hardware, "gpus", lambda: 4)
    assert hardware.loading_cores(devices) == workers
    assert hardware.found("num_workers", devices) == workers


def test_data_module__takes_threads_from_training_for_its_loaders(monkeypatch):
    from dotcom.data import DataModule, crop_and_flip, fashion, resize_and_crop

    monkeypatch.setattr(hardware, "cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    data = DataModule(fashion, crop_and_flip(32), resize_and_crop(32, 32), 10, 8, num_workers=3, prefetch=5)
    data.setup("fit")
    loader = data.train_dataloader()
    assert (taken, loader.num_workers, loader.prefetch_factor, loader.pin_memory) == ([1], 3, 5, False)


FREED = """
import resource
from dotcom.bench.memory import give_back_memory
from dotcom.hardware import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        bytearray(2**26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
kept = keep_memory()
faults()
print(kept, first, faults())
give_back_memory()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
def test_memory__is_kept_unless_the_environment_chooses_otherwise():
    def said(**more: str) -> list[str]:
        command = [sys.executable, "-c", FREED]
        return subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=True).stdout.split()

    pages = 3 * 2**26 // mmap.PAGESIZE
    kept, first, then, given_back = said()
    assert kept == "True"
    assert int(first) > 0.9 * pages  # asked for again each time
    assert int(then) < 0.01 * pages
    assert int(given_back) > 0.9 * pages
    for name in hardware.MEMORY:
        assert said(**{name: "glibc.malloc.tcache_count=7" if name == "GLIBC_TUNABLES" else "100000"})[0] == "False"


def test_run__keeps_memory_where_it_trains_on_the_cpu(monkeypatch, make_photos, tmp_path):
    calls = []
    monkeypatch.setattr(train_module, "keep_memory", lambda: calls.append(True))
    run(settings("classification", make_photos(tmp_path), tmp_path / "run", "epochs=1"))
    assert calls == [True]
