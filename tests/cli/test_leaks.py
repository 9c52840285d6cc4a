"""A checkpoint of anybody: nothing in it is interpolated, and it leads to no path and no host by itself."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dotcom.inference.other_data import literal
from saved_runs import root_of

SECRET = "a-key-of-the-user"


@pytest.fixture
def host(monkeypatch) -> Iterator[list[str]]:
    """Where an object store would be; what arrives there."""
    heard: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                heard.append(connection.recv(1000).decode(errors="replace"))
                connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same checkpoint with another configuration of its data."""
    saved = torch.load(path, weights_only=True)
    config = json.loads(json.dumps(saved["config"]))
    change(config["data"])
    torch.save({**saved, "config": config}, folder / "changed.ckpt")
    return folder / "changed.ckpt"


@pytest.mark.parametrize("command", [["evaluate"], ["export", "--to", "torch"]])
@pytest.mark.parametrize("root", ["s3://bucket/${oc.env:AWS_SECRET_ACCESS_KEY}", "s3://bucket/photos"])
def test_address_in_a_checkpoint__is_not_contacted(root, command, checkpoints, refused, host, tmp_path):
    path = changed(checkpoints("classification"), tmp_path, lambda data: data.update(root=root))
    name, *options = command
    said = refused(name, path, *options)
    assert said.startswith(
        f"error: data.root: the checkpoint names {root}; a path or an address in a file is used only"
    )
    assert SECRET not in said
    assert host == []


def test_address_that_the_command_repeats__is_contacted(checkpoints, refused, host, tmp_path):
    """So that the test above would notice."""
    address = f"s3://bucket/{tmp_path.name}"  # what an address answered is remembered by a process
    path = changed(checkpoints("classification"), tmp_path, lambda data: data.update(root=address))
    assert f"data.root={address}: " in refused("evaluate", path, f"data.root={address}")
    assert f"/bucket/{tmp_path.name}/prepared.json" in host[0]
    assert SECRET not in "".join(host)


def test_variable_in_a_checkpoint__is_text(checkpoints, refused, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET", SECRET)
    text = "${oc.env:SECRET}"
    path = changed(
        checkpoints("classification"), tmp_path, lambda data: data["val_transform"].update(interpolation=text)
    )
    said = refused("evaluate", path, root_of(path))
    assert f"interpolation={text}: expected bilinear | bicubic" in said
    assert SECRET not in said


def test_path_in_a_checkpoint__is_used_only_if_the_command_repeats_it(checkpoints, answers, refused):
    path = checkpoints("classification")
    said = refused("evaluate", path)
    assert root_of(path) in said
    assert answers("evaluate", path, root_of(path))[0][0]["images"] == 4


def test_path_in_a_checkpoint__does_not_lead_out_of_the_data(checkpoints, refused, tmp_path):
    for outside in ("/etc/passwd", "../../secret.json"):
        path = changed(
            checkpoints("detection"), tmp_path, lambda data, to=outside: data["dataset"]["annotations"].update(val=to)
        )
        said = refused("evaluate", path, root_of(path))
        assert f"data.dataset.annotations.val: the checkpoint names {outside}, outside of data.root" in said


def test_data_that_are_downloaded__have_to_be_named(checkpoints, refused, tmp_path):
    path = changed(
        checkpoints("classification"), tmp_path, lambda data: data["dataset"].update(_target_="dotcom.data.cifar10")
    )
    assert "to allow it, name them: data=cifar10" in refused("evaluate", path, f"data.root={tmp_path}")


@given(st.text(alphabet="\\${}ab:. \n\x1b", max_size=14).filter(lambda text: text != "???"))
@settings(max_examples=200, derandomize=True, database=None, deadline=None)
def test_text_of_a_file__stays_what_it_is(text):
    made = OmegaConf.create({"text": literal(text), "list": literal([text])})
    assert OmegaConf.to_container(made, resolve=True) == {"text": text, "list": [text]}
