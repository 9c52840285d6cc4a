"""W&B never stops a run: without a key or a network it logs offline and says so in one line."""

import socket
import time

import pytest
import wandb

from dotcom import loggers


def nobody_answers(*args, **keywords) -> None:
    time.sleep(10)
    raise OSError("timed out")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    given = {}
    monkeypatch.setattr(loggers, "WandbHistory", lambda **keywords: given.update(keywords))
    return given


def build(tmp_path) -> None:
    loggers.wandb_logger("dotcom", "name", str(tmp_path), "group", "job", ["tag"])


def test_wandb__without_a_key_is_offline(settings, tmp_path, capsys):
    build(tmp_path)
    assert settings["mode"] == "offline"
    said = capsys.readouterr().out
    assert "no API key" in said
    assert f"wandb sync {tmp_path}/wandb/offline-*" in said
    assert said.count("\n") == 1


def test_wandb__without_a_network_is_offline_in_under_three_seconds(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(socket, "create_connection", nobody_answers)
    started = time.monotonic()
    build(tmp_path)
    assert time.monotonic() - started < 3
    assert settings["mode"] == "offline"
    assert "cannot be reached" in capsys.readouterr().out


def test_wandb__with_key_and_network_is_online(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(loggers, "_reachable", lambda *_: True)
    build(tmp_path)
    assert "mode" not in settings
    assert capsys.readouterr().out == ""


def test_wandb__leaves_the_last_word_to_its_own_variable(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    build(tmp_path)
    assert "mode" not in settings
    assert capsys.readouterr().out == ""


def test_wandb__asks_for_the_server_that_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    wandb.teardown()  # it reads its environment once
    try:
        assert loggers.obstacle() == "127.0.0.1 cannot be reached"
    finally:
        monkeypatch.undo()
        wandb.teardown()


def test_wandb__tags_fit_and_come_once(settings, tmp_path):
    long = "data.train_transform.auto_augment=" + "x" * 60
    loggers.wandb_logger("dotcom", "name", str(tmp_path), None, "job", ["a", "seed=1"], arms=[long, "a"])
    assert settings["tags"] == [long[:64], "a", "seed=1"]
    assert settings["config"] == {"arm": f"{long} a"}


@pytest.mark.parametrize(("sweep", "group"), [("mini", "mini"), (None, "co_bias")])
def test_wandb__groups_by_sweep_or_else_by_experiment(settings, tmp_path, sweep, group):
    loggers.wandb_logger("dotcom", "name", str(tmp_path), "co_bias", "job", [], sweep=sweep)
    assert settings["group"] == group
