"""W&B never stops a run: without a key or a network it logs offline and says so in one line."""

import socket
import time

import pytest

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
    monkeypatch.setattr(loggers, "WandbLogger", lambda **keywords: given.update(keywords))
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
