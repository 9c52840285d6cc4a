"""A file is looked into without torch, and nothing in it is made or called, whoever wrote it."""

import argparse
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._weights_only_unpickler import _get_allowed_globals

from dotcom.errors import UsageError
from dotcom.models.weights import read_weights
from dotcom.plain_pickle import PlainTensor, check_wanted, read_plain


class Trap:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def test_tensors__are_seen_with_their_shapes(tmp_path):
    content = {
        "plain": torch.zeros(2, 3),
        "parameter": torch.nn.Parameter(torch.zeros(4)),
        "half": torch.zeros((), dtype=torch.float16),
        "view": torch.zeros(5, 6)[:, 1],
    }
    for new in (True, False):
        torch.save(content | {"bytes": b"b", "set": {1}}, tmp_path / "w", _use_new_zipfile_serialization=new)
        found = read_plain("weights", str(tmp_path / "w"))
        shapes = {name: value.shape for name, value in found.items() if isinstance(value, PlainTensor)}
        assert shapes == {name: tuple(value.shape) for name, value in content.items()}


def test_globals__that_torch_reads_are_not_refused():
    check_wanted("weights=w", set(_get_allowed_globals()))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("inside", [None, argparse.Namespace, np.float64])
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (torch.load, "torch.serialization.load"),
        (torch.hub.load, "torch.hub.load"),
        (np.load, "numpy.load"),
        (pickle.loads, "pickle.loads"),
    ],
)
def test_hostile_file__does_nothing_and_is_named(call, named, inside, legacy, tmp_path):
    flag = tmp_path / "flag"
    trap: Any = Trap(call, f"touch {flag}" if call is os.system else f"open({str(flag)!r}, 'w')")
    if inside is argparse.Namespace:
        trap = argparse.Namespace(lr=trap)
    elif inside is np.float64:
        trap = np.array([trap], dtype=object)
    path = str(tmp_path / "w.pt")
    torch.save({"state_dict": {"w": torch.zeros(1)}, "args": trap}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UsageError, match=r"w\.pt") as error:
        read_weights("weights", path)
    assert named in str(error.value)
    assert not flag.exists()


class Attributes:
    """Pickles as a Namespace whose class and methods a file tries to replace."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"__class__": torch.storage.TypedStorage, "__setstate__": torch.device, "x": 1}
        return argparse.Namespace, (), (state, state)


def test_namespace__cannot_be_turned_into_something_else(tmp_path):
    torch.save({"w": torch.zeros(1), "args": Attributes()}, tmp_path / "w.pt")
    args = read_weights("weights", tmp_path / "w.pt")["args"]
    assert type(args).__module__ == "dotcom.plain_pickle"
    assert not vars(args)
    with pytest.raises(pickle.UnpicklingError):  # elsewhere in this process, torch is as strict as before
        torch.load(tmp_path / "w.pt", weights_only=True)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO(b""))


def write_script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))


def write_damaged(path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


OTHERS = {
    "tar": (write_tar, "in the tar format of PyTorch before 0.2, which is not read; load it with an old PyTorch"),
    "program": (write_script, "a program of TorchScript, not a file of weights; save torch.jit.load"),
    "network": (lambda path: torch.save(torch.nn.Linear(1, 1), path), r"holds a whole network \(torch.nn.modules.lin"),
    "protocol": (
        lambda path: torch.save({"w": torch.zeros(1)}, path, pickle_protocol=4),
        "pickled with protocol 4, expected up to 3; load it where you trust it",
    ),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"w": 1})), "no PyTorch checkpoint"),
    "text": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "no PyTorch checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "no PyTorch checkpoint"),
    "damaged": (write_damaged, "no PyTorch checkpoint, or a damaged one"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", OTHERS)
def test_file__of_another_kind_is_named(kind, tmp_path):
    write, said = OTHERS[kind]
    write(tmp_path / "w.pt")
    with pytest.raises(UsageError, match=rf"weights=.*w\.pt: .*{said}"):
        read_weights("weights", tmp_path / "w.pt")
