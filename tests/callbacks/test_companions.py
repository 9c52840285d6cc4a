"""Processes that watch each other: only one that is really silent counts as lost."""

import threading
from types import SimpleNamespace

import pytest

from dotcom.callbacks import Companions, companions
from dotcom.callbacks.companions import SILENCE, Pulse


class Store(dict[str, str]):
    """As that of PyTorch, for a process alone."""

    set = dict.__setitem__

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)

    def multi_get(self, keys: list[str]) -> list[str]:
        return [self[key] for key in keys]


@pytest.fixture
def ended() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_silence__is_counted_from_the_last_sign_of_life(ended):
    store = Store()
    pulse = Pulse(store, 0, 3)
    for number in range(3):
        store |= {"pulse/1": str(number), "pulse/2": str(number)}
        pulse.beat(ended)
        assert [pulse.silent() for _ in range(SILENCE)] == [None] * SILENCE
    store.set("pulse/1", "more")
    pulse.beat(ended)
    assert pulse.silent() == 2


def test_pause_of_all_processes__is_no_silence(ended, monkeypatch):
    pulse = Pulse(Store({"pulse/1": "0"}), 0, 2)
    pulse.beat(ended)
    monkeypatch.setattr("time.monotonic", lambda: 1e9)  # as after hours of suspension
    assert pulse.silent() is None


def test_watch__ends_when_all_have_validated_and_begins_again_with_another_validation(tmp_path, monkeypatch):
    world = SimpleNamespace(get_group_store=lambda: SimpleNamespace(clone=Store))
    monkeypatch.setattr(companions, "dist", SimpleNamespace(group=SimpleNamespace(WORLD=world)))
    monkeypatch.setattr(Companions, "_agree", lambda self, trainer: None)
    heard = []
    callback = Companions(str(tmp_path))
    strategy = SimpleNamespace(barrier=lambda name: heard.append(callback.stopped.is_set()))
    trainer = SimpleNamespace(world_size=2, global_rank=0, is_global_zero=True, strategy=strategy)
    for stage in ("fit", "validate", "validate"):
        callback.setup(trainer, None, stage)
        assert not callback.stopped.is_set()
        callback.teardown(trainer, None, stage)
        assert callback.stopped.is_set() == (stage == "validate")
    assert heard == [False, False]  # nobody falls silent while others are still at work
