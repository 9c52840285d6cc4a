"""hardware=auto takes the fastest safe settings of what is there."""

import pytest

from dotcom import hardware

FACTS = ("accelerator", "precision", "channels_last", "num_workers")


@pytest.mark.parametrize(
    ("gpus", "system", "machine", "expected"),
    [
        (2, "Linux", "x86_64", ("gpu", "bf16-mixed", True, 8)),
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


def test_gpus__hidden_by_their_variable_do_not_count(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.gpus() == 0


def test_cores__are_those_this_process_may_use():
    assert hardware.cores() >= 1
