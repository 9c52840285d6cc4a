"""hardware=auto takes the fastest safe settings of what is there."""

import pytest
import torch

from dotcom import hardware

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
